"""What can go wrong, as one tree of exceptions, grouped by what a handler would do.

    MctreeError
    ├── UsageError            the caller asked for something that cannot be: change the call
    │   ├── NotFoundError     no such node, document, commit, gist set or source
    │   ├── NotAStoreError    the path holds no mctree store, or one of another format version
    │   ├── StoreExistsError  the path to create is already taken
    │   ├── BudgetTooSmall    not even the coarsest view, or not that detail, fits the budget: raise it
    │   ├── ReadOnlyError     the handle, or the medium, does not allow writing
    │   └── PlaceError        the file system there cannot keep a store's promises: put it on a local disk
    ├── BusyError             somebody else is in the way: wait, or stop them
    │   └── LockedError       another process holds the writer lock; the message names it
    ├── CommitGoneError       the commit was collected: take a newer snapshot
    ├── CorruptError          what is on disk is not what was committed: verify, restore
    ├── WriterFailedError     a write or sync failed: reopen, look at what was committed
    └── SourceError           an input could not be read: mend it, or exclude it

Messages are one line, say what was wrong and what to do, and never hold control characters from outside.
"""

from __future__ import annotations

__all__ = [
    "BudgetTooSmall",
    "BusyError",
    "CommitGoneError",
    "CorruptError",
    "LockedError",
    "MctreeError",
    "NotAStoreError",
    "NotFoundError",
    "PlaceError",
    "ReadOnlyError",
    "SourceError",
    "StoreExistsError",
    "UsageError",
    "WriterFailedError",
]


class MctreeError(Exception):
    """The root of every error that mctree raises on purpose."""


class UsageError(MctreeError, ValueError):
    """The caller asked for something that cannot be."""


class NotFoundError(UsageError, LookupError):
    """No such node, document, commit, gist set or source."""


class NotAStoreError(UsageError):
    """The path holds no mctree store, or one of a format version that this release cannot read."""


class StoreExistsError(UsageError):
    """The path at which a store was to be created is already taken."""


class BudgetTooSmall(UsageError):  # noqa: N818  # it says what is wrong as the others do, and reads as a sentence
    """A working context cannot hold so much within its budget.

    Attributes:
        needed: what the budget would have to be at least.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.needed)


class ReadOnlyError(UsageError):
    """The handle, or the medium below it, does not allow writing."""


class PlaceError(UsageError):
    """The file system there, such as one of a network, cannot keep what a store promises."""


class BusyError(MctreeError):
    """Somebody else is in the way."""


class LockedError(BusyError):
    """Another process holds the writer lock."""


class CommitGoneError(MctreeError):
    """The commit was collected, so a snapshot of it no longer opens."""


class CorruptError(MctreeError):
    """What is on disk is not what was committed."""


class WriterFailedError(MctreeError):
    """A write or a sync failed; the writer refuses further work until the store is opened anew."""


class SourceError(MctreeError):
    """An input could not be read."""
