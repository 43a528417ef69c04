"""How does one writer change a store?  It holds the lock, appends rows, and makes commits in the one safe order.

    rows → fdatasync of the files touched → commit of one LMDB transaction → publish new generations → advisory files

The transaction's records are put while the rows, if they are many, are on their way to the disk; it is committed once
they are there.
Until the transaction is durable nobody sees anything of it; after it everybody does.  If any step before it fails, or
its outcome is unknown, the session refuses all further work: what was committed is on disk, and whoever opens the
store anew finds out what that is.  A failed sync is never tried again, for the kernel may have dropped the pages it
could not write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

import lmdb
import numpy as np
from numpy.typing import NDArray

from mctree.errors import BusyError, CorruptError, ReadOnlyError, UsageError, WriterFailedError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import ArrayState, Commit
from mctree.format.keys import Table, commit_key, u32, u64
from mctree.storage.chunks import (
    ArrayWriter,
    generation_name,
    misplaced,
    open_generation,
    publish,
    read_chunk,
    row_sums,
)
from mctree.storage.creation import describe_arrays
from mctree.storage.environment import MapFull
from mctree.storage.files import exists, list_names, remove_tree, sync_directory, telling
from mctree.storage.hints import Hints
from mctree.storage.index import Reading, Writing
from mctree.storage.lock import WriterLock
from mctree.storage.pages import DATA_NAME
from mctree.storage.recovery import check_free, recover
from mctree.storage.store import Store
from mctree.storage.sums import RowSums, committed_sums, put_sums

__all__ = ["Session"]

_WORTH_STARTING = 1 << 16
"""Bytes on their way to the disk: of fewer, their being written interrupts the work that is done meanwhile for longer
than their sync would take."""

_NO_SUMS: Mapping[int, NDArray[np.uint32]] = {}


class Session:
    """The one writer of a store, from construction to `close`.

    Args:
        store: the store, open in this process; it must outlive the session.

    Raises:
        LockedError: somebody else is writing.
        BusyError: the store no longer stands at its path, so that what is written would be lost.
        ReadOnlyError: the store may not be written to.
        WriterFailedError: what a crash has left could not be put in order.
        CorruptError: it cannot be, as the index has lost a record that says how.
    """

    def __init__(self, store: Store) -> None:
        if not store.writable:
            raise ReadOnlyError(f"{store.path} was opened for reading, or cannot be written to")
        self.store = store
        with telling(f"beginning to write to {store.path}"):
            self._begin()

    def _begin(self) -> None:
        store = self.store
        try:
            self._lock = WriterLock(store.at, store.path)
        except FileNotFoundError:
            raise BusyError(f"{store.path} was removed or compacted meanwhile; open it again") from None
        if store.moved:
            self._lock.release()
            raise BusyError(f"{store.path} was moved or compacted meanwhile; open it again")
        if (names := os.stat(DATA_NAME, dir_fd=store.at).st_nlink) > 1:
            self._lock.release()
            raise ReadOnlyError(
                f"the index of {store.path} has {names} names (hard links): writing to it would change another store; "
                "copy it with `mctree backup` or `cp -r`, and write to the copy"
            )
        self._failed: str | None = None
        self._arrays: dict[int, ArrayWriter] = {}
        self._touched: dict[int, ArrayWriter] = {}  # those with something for the next commit
        self._staged: dict[tuple[int, int], int] = {}
        self._sums: list[RowSums] = []
        self._folders: dict[str, None] = {}  # whose entries the next commit relies on: those of new arrays
        self._hints = Hints(store.at)
        self._transaction = -1  # the last one of this session that was committed
        try:
            # Before anything is taken for left over: it may be of a commit that nobody has seen yet.
            store.environment.settle()
            with store.reading() as index:
                newest = index.commit()
            assert newest is not None, "a store has a commit from its creation on"
            self.newest = newest
            self._published = recover(store, newest)
            store.environment.reader_check()
        except BaseException:
            self._lock.release()
            raise

    @property
    def number(self) -> int:
        """The number that the next commit will have."""
        return self.newest.number + 1

    def array(self, number: int) -> ArrayWriter:
        """The writer of an array that the newest commit knows, or that was added since."""
        writer = self._arrays.get(number)
        if writer is None:
            layout = self.store.array(number, self.newest.number)
            writer = self._arrays[number] = ArrayWriter(self.store.at, number, layout, self.newest.arrays[number].rows)
        return writer

    def add_arrays(self, layouts: Mapping[int, ArrayLayout]) -> None:
        """Make new, empty arrays; the caller's commit records them.

        Args:
            layouts: of the arrays, by their numbers.

        Raises:
            CorruptError: one would take the place of an array that the index no longer leads to.
        """
        self.check()
        with self.whole("making arrays"):
            check_free(self.store, self.newest, layouts.values())
            self._folders.update(dict.fromkeys(describe_arrays(self.store.at, list(layouts.values()))))
        for number, layout in layouts.items():
            self._arrays[number] = self._touched[number] = ArrayWriter(self.store.at, number, layout, 0)

    def drop_array(self, number: int) -> None:
        """Append no more to an array: the caller's commit ends it."""
        writer = self._arrays.pop(number, None)
        self._touched.pop(number, None)
        if writer is not None:
            writer.close()

    def free_name(self, folder: str, name: str, taken: set[str]) -> str:
        """A name that nothing in a folder of the store has yet: `name`, or that with a number behind it.

        Args:
            folder: the folder.
            name: the wished name.
            taken: names, in lower case, that are promised to others though they are not on disk yet.
        """
        candidate, n = name, 1
        while candidate.lower() in taken or exists(f"{folder}/{candidate}", self.store.at):
            n += 1
            candidate = f"{name}.{n}"
        return candidate

    def append(
        self,
        rows: Mapping[int, NDArray[np.generic]],
        *,
        summed: bool = False,
        sums: Mapping[int, NDArray[np.uint32]] = _NO_SUMS,
    ) -> None:
        """Append rows to arrays; they become visible with the next commit.

        Args:
            rows: `[n, *row]` for each array, by its number.
            summed: also record each row's checksum, for arrays whose rows no other record covers.
            sums: these checksums, `uint32 [n]`, of arrays whose rows were summed up when they were made.
        """
        self.check()
        with self.whole("writing rows"):
            for number, values in rows.items():
                writer = self._touched[number] = self._arrays.get(number) or self.array(number)
                if summed:
                    known = sums.get(number)
                    known = row_sums(np.asarray(values, writer.layout.numpy)) if known is None else known
                    self._sums.append(RowSums(number, writer.rows, known))
                if len(values) and writer.reopens is not None:  # rows go where those who read them will look
                    self._published_generation(number, writer.layout, writer.reopens)
                writer.append(values)

    def read_committed(self, number: int, chunk: int) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
        """The committed rows of one chunk of an array whose rows have checksums, copied.

        Returns:
            The rows, and which of them (counted from the chunk's first) are not those that were committed.
        """
        writer = self.array(number)
        per_chunk = writer.layout.rows_per_chunk
        rows = min(self.newest.arrays[number].rows - chunk * per_chunk, per_chunk)
        values = self._read(number, chunk, rows)
        with self.store.reading() as index:
            every = chunk * per_chunk + np.arange(rows)
            sums = committed_sums(index, number, writer.layout, every, self.newest.number)
        return values, np.flatnonzero(row_sums(values) != sums)

    def _read(self, number: int, chunk: int, rows: int) -> NDArray[np.generic]:
        """The first rows of a committed chunk, copied; those that were appended since the last commit among them."""
        layout = self.array(number).layout
        fd = open_generation(self.store.at, number, layout, chunk, self._generation(number, chunk))
        try:
            return read_chunk(fd, layout, rows)
        finally:
            os.close(fd)

    def replace_chunk(self, number: int, chunk: int, rows: NDArray[np.generic]) -> None:
        """Give the committed rows of a chunk new content: a new generation, which the next commit makes current.

        Rows that were appended to the chunk since the last commit are kept; none may be appended to it before the next.
        """
        self.check()
        writer = self._touched[number] = self.array(number)
        with self.whole("writing a new generation"):
            old = self._published_generation(number, writer.layout, chunk)
            per_chunk = writer.layout.rows_per_chunk
            every = min(writer.rows - chunk * per_chunk, per_chunk)
            if every > len(rows):  # they lie in the file that this one takes the place of
                rows = np.concatenate([rows, self._read(number, chunk, every)[len(rows) :]])
            writer.stage(chunk, self.number, rows)
        self._sums.append(RowSums(number, chunk * writer.layout.rows_per_chunk, row_sums(rows)))
        self._staged[number, chunk] = old

    def commit(self, record: Callable[[Writing], Commit]) -> Commit:
        """Make one commit of everything appended and replaced since the last.

        Args:
            record: puts the commit's facts and returns its record, whose arrays and tables are those of what it is
                given: they are filled up here.  It may be called again if the index had to grow, so it must not change
                anything but what it is given.

        Returns:
            The commit, durable and visible.

        Raises:
            WriterFailedError: it could not be made; reopen the store.
        """
        self.check()
        try:
            for writer in self._touched.values():
                if writer.unsynced >= _WORTH_STARTING:
                    writer.start_sync()
            commit = self._transact(record)
            former, self.newest = self.newest, commit
            # Of arrays that only grew there is nothing to publish, and every level goes on.
            if self._staged or self._published or commit.arrays.keys() != former.arrays.keys():
                self._publish()
            self._sums.clear()
            for writer in self._touched.values():
                writer.created.clear()
            self._touched.clear()
            self._advise()
        except OSError as error:
            self._fail(error)
        except WriterFailedError as error:
            self._failed = str(error)
            raise
        except BaseException as error:
            # Whatever a caller's record raised, rows may be half counted: nothing of this session can be trusted.
            self._failed = f"an earlier commit was broken off ({type(error).__name__})"
            raise
        return commit

    def jot(self, record: Callable[[Writing], None]) -> None:
        """Change plain records, which no commit depends on, without making one.

        Args:
            record: puts them; it may be called again if the index had to grow.

        Raises:
            WriterFailedError: they could not be made durable; reopen the store.
        """
        self.check()
        while True:
            try:
                with self.store.environment.writing() as txn:
                    self._check_newest(txn)
                    record(Writing(txn, self.number, {}))
            except MapFull:
                self.store.environment.grow()
            except OSError as error:
                self._fail(error)
            except WriterFailedError as error:
                self._failed = str(error)
                raise
            else:
                return

    def remove(self, generations: list[tuple[int, int, int]], arrays: list[str]) -> None:
        """Remove files that the newest commit freed; what a crash leaves here the next session removes.

        Args:
            generations: (array, chunk, generation) of chunks.
            arrays: paths of arrays, without their chunks still being needed.
        """
        for generation in generations:
            with suppress(OSError):
                os.unlink(generation_name(*generation), dir_fd=self.store.at)
        for path in arrays:
            # Also where somebody has put a link in their place: the commit is durable, whatever stays.
            with suppress(OSError, CorruptError):
                remove_tree(path, self.store.at)
                # A gist set whose last level went leaves groups behind that hold nothing but their own metadata.
                folder = path.rpartition("/")[0]
                while folder.count("/") and list_names(folder, self.store.at) == ["zarr.json"]:
                    remove_tree(folder, self.store.at)
                    folder = folder.rpartition("/")[0]

    def whole(self, what: str) -> _Whole:
        """Let what is done in a `with` block be done as a whole, or nothing be done with this session any more."""
        return _Whole(self, what)

    def check(self) -> None:
        """Refuse work after a failure, after `close`, and in a forked child."""
        if self._failed is not None:
            raise self._refusal()
        if not self._lock.held:
            raise UsageError("this writer was closed, or belongs to another process; open a new one")
        if self.store.closed:
            raise UsageError(f"{self.store.path} was closed; open it again")

    def close(self) -> None:
        """Give the lock back; what was not committed is forgotten."""
        if self._lock.held:
            try:
                for writer in self._arrays.values():
                    writer.close()
                if self._failed is None and not self.store.closed:
                    self._advise(every=True)
                    with suppress(OSError):
                        self.store.environment.fill_out(self.store.at)
            finally:
                self._hints.close()
                self._lock.release()

    def _transact(self, record: Callable[[Writing], Commit]) -> Commit:
        while True:
            try:
                with self.store.environment.writing() as txn:
                    # LMDB numbers transactions as they are committed: behind this session's own nobody has made one.
                    if (number := txn.id()) != self._transaction + 1:
                        self._check_newest(txn)
                    index = Writing(txn, self.newest.number + 1, self.newest.tables, self.newest.arrays)
                    commit = record(index)
                    self._put_rows(index)
                    index.put(commit_key(Table.COMMIT, commit.number), commit.encode())
                    for writer in self._touched.values():
                        writer.sync()
                    for folder in self._folders:  # the first waits for the file system's journal, the others hardly
                        sync_directory(folder, self.store.at)
                    self._folders.clear()
                self._transaction = number
                return commit
            except MapFull:
                self.store.environment.grow()

    def _publish(self) -> None:
        """Let others find the generations that the newest commit made current, and let go of levels that it ended."""
        for (number, chunk), old in self._staged.items():
            publish(self.store.at, number, self.array(number).layout, chunk, old, self.newest.number)
        self._published = set(self._staged)
        self._staged.clear()
        self.store.follow(self.newest)

    def _check_newest(self, txn: lmdb.Transaction) -> None:
        """Refuse to go on behind a commit that is not of this session."""
        if Reading(txn).newest() != self.newest.number:
            raise WriterFailedError(f"somebody else has written to {self.store.path} without holding its lock")

    def _put_rows(self, index: Writing) -> None:
        """Record what was appended and replaced, and what the commit sees of these arrays."""
        arrays = index.arrays
        for number, writer in self._touched.items():
            for chunk in writer.created:
                index.put(Table.CHUNK + u32.pack(number) + u64.pack(chunk) + u64.pack(self.number), b"\x01")
            arrays[number] = ArrayState(writer.rows, arrays[number].refreshed if number in arrays else 0)
        for number, chunk in self._staged:
            key = u32.pack(number) + u64.pack(chunk)
            index.put_version(Table.CHUNK, key, b"\x01")
            index.put(Table.PUBLISH + key, u64.pack(self.number))
            arrays[number] = ArrayState(arrays[number].rows, self.number)
        # Of a chunk that is replaced all rows come first, and then once more those that were appended to it.
        for sums in sorted(self._sums, key=lambda sums: (sums.array, sums.first)):
            put_sums(index, sums, self.array(sums.array).layout, self.number)
        if self._published:
            for number, chunk in self._published - self._staged.keys():
                index.delete(Table.PUBLISH + u32.pack(number) + u64.pack(chunk))

    def _published_generation(self, number: int, layout: ArrayLayout, chunk: int) -> int:
        """The generation of a committed chunk that is in use, which stands under the chunk's key.

        Raises:
            CorruptError: it does not: what does is a generation whose record is lost, or was not published because one
                is.
        """
        generation = self._generation(number, chunk)
        if exists(generation_name(number, chunk, generation), self.store.at):
            raise misplaced(layout, chunk)
        return generation

    def _generation(self, number: int, chunk: int) -> int:
        with self.store.reading() as index:
            found = index.floor(Table.CHUNK + u32.pack(number) + u64.pack(chunk), u64.pack(self.newest.number))
        if found is None:
            raise CorruptError(f"chunk {chunk} of array {number} is not in the index; run `mctree verify`")
        return int(u64.unpack(found[0])[0])

    def _advise(self, *, every: bool = False) -> None:
        """Leave hints for others."""
        self._hints.leave(self.newest, self._arrays, every=every)

    def _refusal(self) -> WriterFailedError:
        return WriterFailedError(f"{self._failed}; open {self.store.path} again to go on from the last commit")

    def _fail(self, error: OSError) -> None:
        self._failed = f"writing failed: {error.strerror or error}"
        raise self._refusal() from error


class _Whole:
    """Lets an error within a `with` block end the session; one of I/O becomes a `WriterFailedError`."""

    __slots__ = ("_session", "_what")

    def __init__(self, session: Session, what: str) -> None:
        self._session = session
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            self._session._fail(error)
        elif error is not None:
            self._session._failed = self._session._failed or f"{self._what} was broken off ({type(error).__name__})"
