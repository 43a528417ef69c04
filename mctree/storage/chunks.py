"""How do rows get into chunk files, and which file holds a generation of a chunk?

Rows are appended past the committed length, where nobody reads, and synced before the commit that makes them visible.
A committed row never changes; what must change is a new *generation*: a whole new file, numbered by the commit that
makes it current.  The newest published generation stands under the chunk's Zarr key; all others are in
`generations/`:

    staged     generations/ARRAY.CHUNK.GEN     written and synced before its commit
    published  ARRAY PATH/c.CHUNK              renamed there after its commit, the former one linked back first
    kept       generations/ARRAY.CHUNK.GEN     until no commit that sees it is left

A reader that wants generation g looks in `generations/`, then under the key, then in `generations/` once more: if the
file was replaced under the key meanwhile, it had been linked back before.  A crash between the steps leaves a state
in which the same look-up is right, and the next writer finishes the work.
"""

from __future__ import annotations

import errno
import os

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.arrays import CHUNK_ALIGNMENT, HUGE_PAGE, ArrayLayout
from mctree.format.values import crc32c
from mctree.storage.files import (
    exists,
    make_directory,
    open_file,
    opened,
    pwrite_all,
    replace_file,
    start_writing,
    sync_directory,
)

__all__ = [
    "GENERATIONS_NAME",
    "ArrayWriter",
    "generation_name",
    "misplaced",
    "open_generation",
    "publish",
    "read_chunk",
    "row_sums",
]

GENERATIONS_NAME = "generations"
_SUM = np.dtype("<u4")


def generation_name(array: int, chunk: int, generation: int) -> str:
    """Where a generation that is not (or no longer) published stands."""
    return f"{GENERATIONS_NAME}/{array}.{chunk}.{generation}"


def open_generation(at: int, array: int, layout: ArrayLayout, chunk: int, generation: int) -> int:
    """Open the file that holds `generation` of a chunk, for reading; the caller closes it.

    Raises:
        CorruptError: a chunk that was committed is missing, or has another size.
    """
    kept = generation_name(array, chunk, generation)
    fd = _try_open(kept, at)
    if fd is None:
        fd = _try_open(f"{layout.path}/{layout.chunk_key(chunk)}", at)
        moved = _try_open(kept, at)
        if moved is not None:
            if fd is not None:
                os.close(fd)
            fd = moved
    where = f"chunk {chunk} of {layout.path} (generation {generation})"
    if fd is None:
        raise CorruptError(f"{where} was committed but its file is missing; run `mctree verify`")
    size = os.fstat(fd).st_size
    if size != layout.chunk_bytes:
        os.close(fd)
        raise CorruptError(f"{where} has {size} bytes, not {layout.chunk_bytes}; run `mctree verify`")
    return fd


def _try_open(name: str, at: int) -> int | None:
    try:
        return open_file(name, os.O_RDONLY, at)
    except FileNotFoundError:
        return None


def read_chunk(fd: int, layout: ArrayLayout, stop: int, start: int = 0) -> NDArray[np.generic]:
    """Rows [start, stop) of an open chunk, copied: of a truncated file a map would make a signal."""
    offset, end = start * layout.row_bytes, stop * layout.row_bytes
    parts = []
    while offset < end:
        part = os.pread(fd, min(end - offset, 1 << 30), offset)
        if not part:
            raise CorruptError(f"a chunk of {layout.path} ends after {offset} bytes; run `mctree verify`")
        parts.append(part)
        offset += len(part)
    return np.frombuffer(b"".join(parts), layout.numpy).reshape(stop - start, *layout.row)


def row_sums(rows: NDArray[np.generic]) -> NDArray[np.uint32]:
    """The crc32c of each row's bytes as stored: `uint32 [n]`."""
    if not rows.size:
        return np.full(len(rows), crc32c(b""), _SUM)
    if len(rows) == 1:
        return np.array([crc32c(rows.tobytes())], _SUM)
    flat = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
    each = flat.view(np.dtype((np.void, len(flat) // len(rows)))).tolist()
    return np.fromiter(map(crc32c, each), _SUM, len(rows))


class ArrayWriter:
    """Appends rows to one array and stages new generations of its chunks; the owner syncs, commits and publishes.

    Args:
        at: descriptor of the store's directory.
        number: the array's number.
        layout: where its rows lie.
        rows: how many rows the newest commit sees; what lies behind them is overwritten.

    Attributes:
        number: the same.
        layout: the same.
        rows: how many there are, those that no commit sees included.
        created: chunks made since the owner cleared it.
        unsynced: bytes written since the last sync.
    """

    def __init__(self, at: int, number: int, layout: ArrayLayout, rows: int) -> None:
        self.number = number
        self.layout = layout
        self.rows = rows
        self.created: list[int] = []
        self.unsynced = 0
        self._dtype = layout.numpy
        self._per_chunk = layout.rows_per_chunk
        self._row_bytes = layout.row_bytes
        self._unwritten = np.full(layout.row, layout.fill, layout.numpy).tobytes()  # a row that was never written
        self._at = at
        self._fd: int | None = None
        self._chunk = -1
        self._ready = 0  # bytes of the open chunk, beyond the last row, that hold allocated fill
        self._dirty: list[int] = []
        self._new_entries: set[str] = set()

    @property
    def reopens(self) -> int | None:
        """The committed chunk whose file the next row opens; None if its file is open, or is yet to be made."""
        chunk, inside = divmod(self.rows, self._per_chunk)
        return chunk if inside and chunk != self._chunk else None

    def append(self, values: NDArray[np.generic]) -> None:
        """Write rows behind the last one; visible to nobody before `sync` and a commit.

        Args:
            values: `[n, *row]`, of the array's element type.
        """
        values = np.ascontiguousarray(values, self._dtype)
        while n := len(values):
            chunk, inside = divmod(self.rows, self._per_chunk)
            if chunk != self._chunk:
                self._open(chunk, inside)
            n = min(n, self._per_chunk - inside)
            self._write(values[:n], inside)
            self.rows += n
            values = values[n:]

    def start_sync(self) -> None:
        """Let what `sync` will wait for be on its way to the disk."""
        for fd in self._dirty:
            start_writing(fd)

    def sync(self) -> None:
        """Make all appended rows, and the names of new files, durable."""
        self.unsynced = 0
        while self._dirty:
            os.fdatasync(self._dirty[-1])
            fd = self._dirty.pop()
            if fd != self._fd:
                os.close(fd)
        while self._new_entries:
            folder = min(self._new_entries)
            sync_directory(folder, self._at)
            self._new_entries.remove(folder)

    def stage(self, chunk: int, generation: int, values: NDArray[np.generic]) -> None:
        """Write a whole new generation of a committed chunk where no reader looks before its commit; then `sync`.

        Args:
            chunk: which chunk.
            generation: the number of the commit that will make it current.
            values: its committed rows, `[n, *row]`; the rest holds the fill value.
        """
        name = generation_name(self.number, chunk, generation)
        data = np.ascontiguousarray(values, self.layout.numpy).tobytes()
        if self.layout.fill:
            data += _filled(self.layout, self.layout.chunk_bytes - len(data))
        # The folder may be missing: some ways of copying leave empty ones out.
        self._new_entries.update([*make_directory(GENERATIONS_NAME, self._at), GENERATIONS_NAME])
        with opened(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, self._at) as fd:
            os.ftruncate(fd, self.layout.chunk_bytes)
            pwrite_all(fd, data, 0)
            os.fsync(fd)
        if chunk == self._chunk:
            self.close()

    def close(self) -> None:
        """Close files; rows not synced may be lost, and nobody was promised them."""
        for fd in {*self._dirty, *([] if self._fd is None else [self._fd])}:
            os.close(fd)
        self._dirty.clear()
        self._fd, self._chunk = None, -1

    def _open(self, chunk: int, inside: int) -> None:
        if self._fd is not None and self._fd not in self._dirty:
            os.close(self._fd)
        self._fd, self._chunk = None, -1
        name = f"{self.layout.path}/{self.layout.chunk_key(chunk)}"
        fresh = inside == 0
        if not fresh:
            self._fd = open_file(name, os.O_WRONLY, self._at)
            if (size := os.fstat(self._fd).st_size) != self.layout.chunk_bytes:
                raise CorruptError(f"{name!r} has {size} bytes, not {self.layout.chunk_bytes}; run `mctree verify`")
        else:
            # What a crash may have left under the name was never committed: nobody has it open.
            self._new_entries.update(make_directory(self.layout.path, self._at))
            self._fd = open_file(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, self._at)
            os.ftruncate(self._fd, self.layout.chunk_bytes)
            self._new_entries.add(self.layout.path)
            self.created.append(chunk)
            # An array that has outgrown its first chunk gets whole files at once: the page cache then keeps them in
            # huge pages, and appends allocate nothing.  A small store stays sparse.
            if self.layout.fill or chunk:
                _fill(self._fd, self.layout)
                self.unsynced += self.layout.chunk_bytes
            # Even if no row other than the fill value follows: the file itself is what the commit relies on.
            self._dirty.append(self._fd)
        self._chunk = chunk
        self._ready = self.layout.chunk_bytes if fresh and (self.layout.fill or chunk) else 0

    def _write(self, values: NDArray[np.generic], inside: int) -> None:
        assert self._fd is not None
        start = inside * self._row_bytes
        data = values.tobytes()
        stop = start + len(data)
        if stop <= self._ready and self.layout.fill and data == self._unwritten * len(values):
            return  # this session wrote the fill value there, and has written nothing over it
        if stop > self._ready:
            # Small appends allocate 64 KiB at a time: a sync that allocates nothing costs half of one that does.
            self._ready = min(-(-stop // CHUNK_ALIGNMENT) * CHUNK_ALIGNMENT, self.layout.chunk_bytes)
            data += _filled(self.layout, self._ready - stop)
        pwrite_all(self._fd, data, start)
        self.unsynced += len(data)
        if self._fd not in self._dirty:
            self._dirty.append(self._fd)


def publish(at: int, array: int, layout: ArrayLayout, chunk: int, old: int, new: int) -> None:
    """Let the committed generation `new` of a chunk stand under its Zarr key, keeping `old` for those who need it.

    Safe to repeat: it does what of the work a crash left undone.

    Raises:
        CorruptError: `old` is kept already, and is not what stands under the key: that is a generation whose record is
            lost, and would be dropped.
    """
    staged = generation_name(array, chunk, new)
    kept = generation_name(array, chunk, old)
    key = f"{layout.path}/{layout.chunk_key(chunk)}"
    try:
        os.stat(staged, dir_fd=at)
    except FileNotFoundError:
        # Done by a session that may have died before the new names were durable.
        sync_directory(layout.path, at)
        sync_directory(GENERATIONS_NAME, at)
        return
    if not exists(kept, at):
        try:
            os.link(key, kept, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK):
                raise
            with opened(key, os.O_RDONLY, at) as fd:
                replace_file(kept, read_chunk(fd, layout, layout.rows_per_chunk).tobytes(), at)
    elif not _are_same(key, kept, layout, at):
        raise misplaced(layout, chunk)
    sync_directory(GENERATIONS_NAME, at)
    os.rename(staged, key, src_dir_fd=at, dst_dir_fd=at)
    sync_directory(layout.path, at)
    sync_directory(GENERATIONS_NAME, at)


def misplaced(layout: ArrayLayout, chunk: int) -> CorruptError:
    """What is said of a chunk whose file is of another generation than the one in use: the record of one is lost."""
    where = f"chunk {chunk} of {layout.path}"
    return CorruptError(f"{where} is not in the generation that the index has; run `mctree verify`")


def _are_same(one: str, other: str, layout: ArrayLayout, at: int) -> bool:
    """Whether two names are of one file, or of a file and its copy."""
    with opened(one, os.O_RDONLY, at) as first, opened(other, os.O_RDONLY, at) as second:
        if os.path.sameopenfile(first, second):
            return True
        rows = layout.rows_per_chunk
        return read_chunk(first, layout, rows).tobytes() == read_chunk(second, layout, rows).tobytes()


def _fill(fd: int, layout: ArrayLayout) -> None:
    """Let all of a file hold rows that were never written."""
    # From memory that is touched but once: fresh memory for all of it would cost more than the writing does.
    part = memoryview(_filled(layout, min(layout.chunk_bytes, HUGE_PAGE)))
    for start in range(0, layout.chunk_bytes, len(part)):
        pwrite_all(fd, part[: layout.chunk_bytes - start], start)


def _filled(layout: ArrayLayout, size: int) -> bytes:
    """`size` bytes of rows that were never written."""
    return np.full(size // layout.numpy.itemsize, layout.fill, layout.numpy).tobytes()
