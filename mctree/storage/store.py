"""What does one open store hold?  Its directory, index, leases and levels, for one process.

A `Store` is reached through a directory descriptor, so it stays the same store wherever its folder is moved, also
when a compaction puts a new epoch in its place.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress

from mctree.errors import CommitGoneError, CorruptError, MctreeError, NotAStoreError, UsageError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import ArrayState, Commit, Meta, array_layout
from mctree.format.keys import Table, u32
from mctree.format.values import crc32c
from mctree.storage.chunks import GENERATIONS_NAME
from mctree.storage.counters import TELEMETRY_NAME
from mctree.storage.environment import Environment, open_environment
from mctree.storage.files import check_kinds, check_plain, exists, list_names, open_directory, read_small
from mctree.storage.index import Reading
from mctree.storage.leases import LEASES_NAME, Leases, held_commits
from mctree.storage.level import Level
from mctree.storage.lock import LOCK_NAME
from mctree.storage.open_levels import OpenLevels
from mctree.storage.pages import INDEX_NAME
from mctree.storage.probe import check_in_child

__all__ = ["EPOCHS_NAME", "HEAD_NAME", "Store", "compacting_path"]

HEAD_NAME = "head"
EPOCHS_NAME = "epochs"
_FOLDERS = (INDEX_NAME, "text", "gists", "images", GENERATIONS_NAME, LEASES_NAME, EPOCHS_NAME, TELEMETRY_NAME)
_FILES = (HEAD_NAME, LOCK_NAME, "zarr.json")


class Store:
    """One epoch of a store, open in one process.

    Args:
        path: the store's folder.
        writable: whether a writer may ever be opened on it.
        identity: (store id, epoch) that it must have, or None for whichever is there; an epoch that was compacted
            away is looked for among those kept.
        trusted: False has another process read the whole index first, for it may be damaged on purpose.

    Raises:
        NotAStoreError: there is no store of a format that this release reads.
        CommitGoneError: the wanted epoch was compacted away.
        CorruptError: it does not open.
        BusyError: it does not at this moment: this process has too few addresses or descriptors for it, was forked in
            the middle of a look-up, or the places of LMDB's readers are all taken.
    """

    def __init__(
        self,
        path: str,
        *,
        writable: bool = True,
        identity: tuple[bytes, int] | None = None,
        trusted: bool = True,
    ) -> None:
        self.path = os.path.realpath(path)
        at, environment, meta = self._opened(trusted=trusted)
        while identity is not None and identity != (meta.store, meta.epoch):
            environment.release()
            try:
                older = _open_epoch(at, self.path, identity) if identity[0] == meta.store else None
                if older is None and _stands_at(self.path, at):
                    raise CommitGoneError(
                        f"{self.path} no longer holds epoch {identity[1]} of that store; take a new snapshot"
                    )
            finally:
                os.close(at)
            # Where another compaction came in between, it took the older epochs along to the next one.
            at, environment, meta = self._opened(trusted=trusted) if older is None else older
        self._at = at
        self.meta = meta
        self.environment = environment
        self.writable = writable and environment.writable
        self.leases = Leases(at)
        self.pid = os.getpid()
        self._levels = OpenLevels(self)
        self._finalizer = weakref.finalize(self, _close, at, self.leases, environment)

    def _opened(self, *, trusted: bool) -> tuple[int, Environment, Meta]:
        """The descriptor of the directory at the path, its index, and what it says of itself."""
        while True:
            try:
                at = open_directory(self.path)
            except FileNotFoundError:
                raise NotAStoreError(
                    f"{self.path} does not exist, so it is no mctree store; check the path, or use `mctree ingest`"
                ) from None
            except NotADirectoryError:
                raise NotAStoreError(
                    f"{self.path} is no folder, so it is no mctree store; make one by `mctree ingest`"
                ) from None
            try:
                return at, *_open_index(at, self.path, trusted=trusted)
            except BaseException as error:
                try:
                    if not isinstance(error, MctreeError) or _stands_at(self.path, at):
                        raise
                    # A compaction put another epoch there meanwhile, and as nobody held this one it is going.
                finally:
                    os.close(at)

    @property
    def identity(self) -> tuple[bytes, int]:
        """(store id, epoch)."""
        return self.meta.store, self.meta.epoch

    @property
    def at(self) -> int:
        """Descriptor of the store's directory.

        Raises:
            UsageError: the store was closed, and the number may be another file's by now.
        """
        if self.closed:
            raise self._refuse_closed()
        return self._at

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.leases.closed

    @property
    def moved(self) -> bool:
        """Whether another store, such as a newer epoch, or none, now stands at the path."""
        return not _stands_at(self.path, self.at)

    @contextmanager
    def reading(self, commit: int | None = None) -> Iterator[Reading]:
        """Look things up in one short transaction.

        Args:
            commit: one that must still be there, for a reader whom no lease protects.

        Raises:
            CommitGoneError: it was collected.
        """
        if self.closed:
            raise self._refuse_closed()
        with self.environment.reading() as txn:
            index = Reading(txn)
            if commit is not None and not index.holds(commit):
                raise CommitGoneError(
                    f"commit {commit} was collected: in {self.path} this user cannot hold one; take a newer snapshot"
                )
            yield index

    def hold(self, number: int | None) -> Commit:
        """Hold a commit (the newest if no number is given) so that it is not collected, until `unhold`.

        Raises:
            CommitGoneError: it was collected, or never made.
        """
        while True:
            with self.reading() as index:
                commit = index.commit(number)
            if commit is None:
                named = "that commit" if number is None or number.bit_length() > 64 else f"commit {number}"
                raise CommitGoneError(f"{named} of {self.path} was collected or never made; take a newer snapshot")
            self.leases.acquire(commit.number)
            # The lease must stand before the check that counts: from then on no writer frees what the commit needs.
            with self.reading() as index:
                if index.commit(commit.number) is not None:
                    self.follow(commit)
                    return commit
            self.leases.release(commit.number)

    def unhold(self, commit: int) -> None:
        """Let go of a commit taken with `hold`."""
        if not self.closed and self.pid == os.getpid():
            self.leases.release(commit)

    def array(self, number: int, commit: int) -> ArrayLayout:
        """The layout of an array that exists at a commit.

        Raises:
            CorruptError: it is not described, or a link stands on the way to it.
        """
        with self.reading() as index:
            payload = index.version(Table.ARRAY, u32.pack(number), commit)
        if payload is None:
            raise CorruptError(f"array {number} is named by commit {commit} but not described; run `mctree verify`")
        layout = array_layout(payload)
        check_plain(layout.path, self.at)
        return layout

    def level(self, number: int, state: ArrayState, commit: int, *, portable: bool = False) -> Level:
        """The rows of an array as one level, shared by all snapshots that see the same generations.

        Args:
            number: the array's number.
            state: what the commit sees of it.
            commit: a commit that the caller holds.
            portable: do not map files, read them.
        """
        return self._levels.level(number, state, commit, lambda: self.array(number, commit), portable=portable)

    def follow(self, newest: Commit) -> None:
        """Keep levels of the newest commit open between snapshots, and let go of those that only older ones saw."""
        self._levels.follow(newest)

    def _refuse_closed(self) -> UsageError:
        return UsageError(f"{self.path} was closed; open it again")

    def close(self) -> None:
        """Close files and give up leases; arrays already handed out stay readable while somebody refers to them."""
        self._levels.clear()
        self._finalizer()


def compacting_path(path: str) -> str:
    """Where the next epoch of the store at `path` is made, and stands while it changes places with this one."""
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{name}.compacting")


def _open_epoch(at: int, path: str, identity: tuple[bytes, int]) -> tuple[int, Environment, Meta] | None:
    """An older epoch of the store at `path`, wherever a compaction has it that is under way, or was broken off.

    Returns:
        A descriptor of its folder, its index, and what it is; None if it is gone.
    """
    kept, beside = f"{EPOCHS_NAME}/{identity[1]}", os.path.basename(compacting_path(path))
    above = open_directory(os.path.dirname(path))
    try:
        while True:
            there = list_names(EPOCHS_NAME, at), exists(beside, above)
            nested = [(f"{EPOCHS_NAME}/{epoch}/{kept}", at) for epoch in there[0]]
            for name, folder in ((kept, at), (beside, above), (f"{beside}/{kept}", above), *nested):
                # What stands beside the store may be the next epoch, half made, or nobody's.
                with suppress(CorruptError, NotAStoreError) if name == beside else nullcontext():
                    found = _open_epoch_at(name, folder, path, identity)
                    if found is not None:
                        return found
            # Each step on its way from beside the store to where it ends up shows in these.
            if there == (list_names(EPOCHS_NAME, at), exists(beside, above)):
                return None
    finally:
        os.close(above)


def _open_epoch_at(
    name: str, folder: int, path: str, identity: tuple[bytes, int]
) -> tuple[int, Environment, Meta] | None:
    """An epoch as `_open_epoch` gives it, if it stands at a place; nothing if it is about to go."""
    check_plain(name, folder)
    try:
        at = open_directory(name, folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with ExitStack() as undo:
        undo.callback(os.close, at)
        try:
            environment, meta = _open_index(at, path)
        except (CorruptError, NotAStoreError):
            if held_commits(at) == set():
                return None  # an older epoch that nobody holds is taken away, file by file
            raise
        if (meta.store, meta.epoch) != identity:
            environment.release()
            return None
        undo.pop_all()
        return at, environment, meta


def _open_index(at: int, path: str, *, trusted: bool = True) -> tuple[Environment, Meta]:
    check_kinds(_FOLDERS, _FILES, at)
    if not trusted:
        check_in_child(at, path, writable=may_write(at))
    # All handles of a process share the environment, those that write and those that must not.
    environment = open_environment(at, path, writable=may_write(at))
    try:
        # In this order, for a writer elsewhere may commit in between.
        head = _head(at)
        with environment.reading() as txn:
            index = Reading(txn)
            payload, newest = index.get(Table.META), index.commit()
        if payload is None or newest is None:
            raise NotAStoreError(f"the index of {path} holds no store; restore it from a copy")
        if head > newest.number:
            raise CorruptError(
                f"the newest commit of {path} is {newest.number}, but {head} was committed: an older state of the "
                "index stands in its place; restore it from a copy"
            )
        return environment, Meta.decode(payload)
    except BaseException:
        environment.release()
        raise


def _head(at: int) -> int:
    """The newest commit by the store's own note of it; 0 if there is none."""
    try:
        data = read_small(HEAD_NAME, at)
    except FileNotFoundError:
        return 0
    if len(data) != 12 or crc32c(data[:8]) != int.from_bytes(data[8:], "little"):
        return 0  # advisory: a power cut may have torn it
    return int.from_bytes(data[:8], "little")


def may_write(at: int) -> bool:
    """Whether this process may make files in the directory open as `at`, and change the index."""
    try:
        index = f"{INDEX_NAME}/data.mdb"
        allowed = os.access(".", os.W_OK, dir_fd=at) and os.access(index, os.W_OK, dir_fd=at)
        return allowed and not os.fstatvfs(at).f_flag & os.ST_RDONLY
    except OSError as error:
        if error.errno == errno.EROFS:
            return False
        raise


def _stands_at(path: str, at: int) -> bool:
    """Whether an open directory is the one at a path."""
    try:
        there, here = os.stat(path), os.fstat(at)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _close(at: int, leases: Leases, environment: Environment) -> None:
    leases.close()
    environment.release()
    os.close(at)
