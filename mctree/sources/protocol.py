"""What does a source hand over?  Items, their documents, and what was skipped and why.

A *source* is iterated for *items* (a file, standard input); an item is asked for its *documents*: one if it is plain
text, many if it is a *container* (JSONL, Parquet); a document is read as bytes.  Each step is lazy and does no more
than it must, so that an item whose `stamp` is known to the caller costs one `stat` and is never opened.

What a caller may rely on:

* Names are bytes, stable from run to run, and not interpreted.  Two documents of one run can bear the same name only
  if a container repeats an id, or a file is called like a document of a container (`a.jsonl#1`); the caller decides.
* `Skipped` comes from the source for what a `stat` tells (FIFOs, links …), and from `Item.documents` for what opening
  tells (unreadable, binary, bad lines …).
* `SourceError` raised by `Item.documents` or `RawDocument.read` takes back what the item gave so far: it changed
  under the reader's hands or turned out to be damaged, and its stamp does not describe the bytes that were read.
* Bytes are the document's own, of whatever encoding; nothing is transcoded, normalised, or checked to be UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mctree.sources.pieces import PIECE, cut_pieces

__all__ = ["Item", "RawDocument", "Root", "Skipped", "Source", "Stamp"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Cheap evidence that a file is unchanged: equal stamps of one path mean equal bytes.

    Attributes:
        size: bytes.
        mtime_ns: time of last modification, nanoseconds since 1970.
        inode: the file's number in its file system; a file replaced by renaming gets another.
        ctime_ns: time of last change of the inode, nanoseconds since 1970; no program can set it back.
    """

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not handed over, and why.

    Attributes:
        name: what it would have been called.
        reason: one line of printable text.
        certain: whether it is known that there is nothing to read (a FIFO, a binary file).  If not (no permission,
            changed while it was read), what is stored under this name is still the best that is known of it, and
            `Source.covers` says so.
    """

    name: bytes
    reason: str
    certain: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class RawDocument:
    """One document, not yet read.

    Attributes:
        name: within the store.
        locator: where it lies in its item: `line`, `offset`, `length` for JSONL (the line counted from 1, the
            JSON text's first byte and number of bytes), `row` for Parquet (counted from 1), nothing for plain files.
    """

    name: bytes
    locator: dict[str, int | str]
    _chunks: Callable[[], Iterator[bytes]] = field(repr=False)

    def read(self, piece: int = PIECE) -> Iterator[bytes]:
        """The exact bytes, in pieces of at most `piece` bytes that are cut as `cut_pieces` says.

        Files and container documents can be read any number of times, also after their item's iterator went on;
        standard input only once.

        Raises:
            SourceError: it cannot be opened any more, or changed while it was read; forget the pieces.
        """
        return cut_pieces(self._chunks(), piece)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A file, or standard input.

    Attributes:
        name: within the store.
        stamp: what a `stat` told, or None where there is none (standard input).
        container: False: at most one document, which is named as the item; True: any number of them.
    """

    name: bytes
    stamp: Stamp | None
    container: bool
    _documents: Callable[[], Iterator[RawDocument | Skipped]] = field(repr=False)

    def documents(self) -> Iterator[RawDocument | Skipped]:
        """The documents in the item's order, lazily.

        Raises:
            SourceError: the container is damaged, changed while it was read, or lacks the wanted column.
            UsageError: what reads this format is not installed.
        """
        return self._documents()


@dataclass(frozen=True, slots=True)
class Root:
    """One of the paths that a source was opened with.

    Attributes:
        name: the first part of the names of everything below it.
        path: absolute; None for standard input.
    """

    name: bytes
    path: bytes | None


@runtime_checkable
class Source(Protocol):
    """Where documents come from.  Anything with these three members can be ingested."""

    @property
    def roots(self) -> tuple[Root, ...]:
        """What the source was opened with, in that order."""
        ...

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Find everything, anew each time: the roots as given, and each in bytewise order of the names."""
        ...

    def covers(self, name: bytes) -> bool:
        """Whether a document of this name would have been handed over if it still existed.

        Speaks of the latest iteration, of names that it did not hand over, and is False until that iteration and
        the documents of the containers in question came to their end.
        """
        ...
