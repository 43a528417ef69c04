"""How is a store copied while somebody writes to it?  As one transaction of its index sees it, file by file.

What a commit sees never changes, and goes only when nobody holds the commit.  So all commits that open are held first,
as a snapshot holds one; then the index is read in a single transaction; and then every file that it names is there for
as long as the copying takes, however much is appended, refreshed or compacted meanwhile.

The copy is made anew rather than file by file as it lies there: the index record by record, each compared with its
checksum; of each chunk the rows that are committed, in whichever generation, with holes where there is nothing but
zeros; and what other Zarr readers go by.  What is half done in the store (rows that nobody committed, generations that
are not published) does not come along.  Whether rows are what their checksums say is not looked at here: whoever makes
the copy verifies it as a whole before it gets its name (`mctree.tree.backup`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import lmdb
import numpy as np

from mctree.errors import CommitGoneError, CorruptError, WriterFailedError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import Commit, array_layout
from mctree.format.keys import Table, commit_key, u32, u64
from mctree.format.values import crc32c, unframe
from mctree.format.zarr import root_metadata
from mctree.storage.chunks import GENERATIONS_NAME, generation_name, open_generation
from mctree.storage.creation import describe_arrays, write_array_rows
from mctree.storage.files import make_directory, opened, pwrite_all, replace_file
from mctree.storage.gate import MAX_READERS, preallocate_locks
from mctree.storage.index import Reading, Writing
from mctree.storage.leases import LEASES_NAME
from mctree.storage.pages import INDEX_NAME
from mctree.storage.store import HEAD_NAME, Store

__all__ = ["copied_bytes", "copy_store", "held_still"]

_BATCH_BYTES = 16 << 20
"""How much of the index is put down in one transaction."""
_STEP_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 16
_ZEROS = bytes(_BLOCK_BYTES)
_TRIES = 100


@contextmanager
def held_still(store: Store) -> Iterator[Reading]:
    """The index in one transaction, with every commit that opens in it held: what they need stays until the block ends.

    Raises:
        CommitGoneError: commits are made faster than they can be held.
    """
    held: set[int] = set()
    try:
        for _ in range(_TRIES):
            with store.reading() as index:
                numbers = set(index.commit_numbers())
                # A lease that stood before its commit was seen to open keeps what that needs.
                if numbers <= held:
                    yield index
                    if not store.leases.writable:
                        _check_still_there(store, sorted(numbers))
                    return
            new = numbers - held
            store.leases.acquire(*new)
            held |= new
        raise CommitGoneError(f"commits are made in {store.path} faster than they can be held; copy it again")
    finally:
        store.leases.release(*held)


def _check_still_there(store: Store, numbers: list[int]) -> None:
    """Make sure that nobody collected commits that could not be held, for want of the right to write a lease."""
    with store.reading() as index:
        for number in numbers:
            if not index.holds(number):
                raise CommitGoneError(
                    f"commit {number} of {store.path} was collected while it was copied, and this user cannot hold "
                    "one; keep more commits, or copy as a user that may write there"
                )


def copied_bytes(store: Store, index: Reading) -> int:
    """About how many bytes are read to copy all that a transaction sees."""
    layouts, rows = _layouts(index), _rows(index)
    return store.environment.size() + sum(one.bytes for one in _chunks(index, layouts, rows))


def copy_store(
    store: Store,
    index: Reading,
    at: int,
    folder: str,
    tidy: Callable[[Writing], None],
    advanced: Callable[[int], None],
) -> None:
    """Copy all that a transaction sees into an empty folder; durable only once that is synced.

    Args:
        store: the store.
        index: the transaction, with all commits that it sees held.
        at: descriptor of the folder.
        folder: its path.
        tidy: takes out of the copy, in the newest commit's name, what only commits need that open no more.
        advanced: told how many more bytes were read.

    Raises:
        CorruptError: a record is damaged, or a file is missing or has another size.
        WriterFailedError: the index of the copy could not be written.
    """
    place = os.path.join(folder, INDEX_NAME)
    os.mkdir(place)
    preallocate_locks(at)
    room = 2 * store.environment.size() + (1 << 30)
    with (
        _writing(folder),
        closing(lmdb.open(place, map_size=room, max_dbs=0, max_readers=MAX_READERS, sync=False)) as copy,
    ):
        records = _sound_records(index, advanced)
        while batch := _batch(records):
            with copy.begin(write=True) as txn, txn.cursor() as cursor:
                cursor.putmulti(batch, append=True)
        with copy.begin(write=True) as txn:
            newest = Reading(txn).commit()
            assert newest is not None, "a store has a commit from its creation on"
            writing = Writing(txn, newest.number, newest.tables)
            tidy(writing)
            writing.put(commit_key(Table.COMMIT, newest.number), newest._replace(tables=writing.tables).encode())
        copy.sync(True)
        with copy.begin() as txn:
            _copy_files(store, Reading(txn), at, advanced)


@contextmanager
def _writing(folder: str) -> Iterator[None]:
    """Let what LMDB says within a `with` block be said of the copy in a folder, not of what is copied."""
    try:
        yield
    except lmdb.Error as error:
        raise WriterFailedError(f"the index of {folder} could not be written ({error})") from error


def _sound_records(index: Reading, advanced: Callable[[int], None]) -> Iterator[tuple[bytes, bytes]]:
    """All records but those of generations that wait to be published, which in a copy they are."""
    for key, value in index.raw():
        unframe(key, value)
        advanced(len(key) + len(value))
        if key[:1] != Table.PUBLISH:
            yield key, value


def _batch(records: Iterator[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    batch: list[tuple[bytes, bytes]] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record[1])
        if size >= _BATCH_BYTES:
            break
    return batch


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A generation of a chunk, and how many of its rows are committed."""

    array: int
    layout: ArrayLayout
    chunk: int
    generation: int
    rows: int
    newest: bool

    @property
    def bytes(self) -> int:
        return self.rows * self.layout.row_bytes


def _copy_files(store: Store, index: Reading, at: int, advanced: Callable[[int], None]) -> None:
    """Make all of a copy but its index, which is given."""
    newest = index.commit()
    assert newest is not None, "it was just copied"
    for folder in (GENERATIONS_NAME, LEASES_NAME):
        make_directory(folder, at)
    replace_file("zarr.json", root_metadata(*store.identity, store.meta.format), at, sync=False)
    layouts, rows = _layouts(index), _rows(index)
    describe_arrays(at, list(layouts.values()), sync=False)
    for number, layout in layouts.items():
        write_array_rows(at, layout, _shown(newest, number, rows))
    for one in _chunks(index, layouts, rows):
        _copy_chunk(store, one, at, advanced)
    body = newest.number.to_bytes(8, "little")
    replace_file(HEAD_NAME, body + crc32c(body).to_bytes(4, "little"), at, sync=False)


def _layouts(index: Reading) -> dict[int, ArrayLayout]:
    """Every array that some commit sees."""
    return {u32.unpack(key[:4])[0]: array_layout(payload) for key, payload in index.scan(Table.ARRAY) if payload}


def _rows(index: Reading) -> dict[int, int]:
    """The most rows that a commit sees of each array."""
    rows: dict[int, int] = {}
    for number in index.commit_numbers():
        commit = index.commit(number)
        assert commit is not None, "its number was just read"
        for array, state in commit.arrays.items():
            rows[array] = max(rows.get(array, 0), state.rows)
    return rows


def _shown(newest: Commit, number: int, rows: dict[int, int]) -> int:
    """How many rows of an array other readers are shown: what the newest commit sees, if it sees the array."""
    return newest.arrays[number].rows if number in newest.arrays else rows.get(number, 0)


def _chunks(index: Reading, layouts: dict[int, ArrayLayout], rows: dict[int, int]) -> Iterator[_Chunk]:
    """Every generation of every chunk that some commit needs."""
    found: list[tuple[int, int, int]] = []
    for key, payload in index.scan(Table.CHUNK):
        if payload:
            found.append((u32.unpack(key[:4])[0], u64.unpack(key[4:12])[0], u64.unpack(key[12:])[0]))
    newest = {(array, chunk): generation for array, chunk, generation in found}
    for array, chunk, generation in found:
        if array not in layouts:
            raise CorruptError(f"chunks of array {array} are in the index, but not what it is; run `mctree verify`")
        per_chunk = layouts[array].rows_per_chunk
        count = min(max(rows.get(array, 0) - chunk * per_chunk, 0), per_chunk)
        yield _Chunk(array, layouts[array], chunk, generation, count, newest[array, chunk] == generation)


def _copy_chunk(store: Store, one: _Chunk, at: int, advanced: Callable[[int], None]) -> None:
    """Copy the committed rows of a generation of a chunk to where readers of the copy look for it."""
    layout = one.layout
    if one.newest:
        name = f"{layout.path}/{layout.chunk_key(one.chunk)}"
    else:
        name = generation_name(one.array, one.chunk, one.generation)
    source = open_generation(store.at, one.array, layout, one.chunk, one.generation)
    try:
        with opened(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, at) as target:
            os.ftruncate(target, layout.chunk_bytes)
            for offset in range(0, one.bytes, _STEP_BYTES):
                data = os.pread(source, min(_STEP_BYTES, one.bytes - offset), offset)
                _write_sparsely(target, data, offset)
                advanced(len(data))
            if layout.fill:
                unwritten = (layout.chunk_bytes - one.bytes) // layout.numpy.itemsize
                pwrite_all(target, np.full(unwritten, layout.fill, layout.numpy).tobytes(), one.bytes)
    finally:
        os.close(source)


def _write_sparsely(fd: int, data: bytes, offset: int) -> None:
    """Write data, but for blocks of zeros: the file is new, so that they stay holes."""
    for start in range(0, len(data), _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        if block != _ZEROS[: len(block)]:
            pwrite_all(fd, block, offset + start)
