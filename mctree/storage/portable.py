"""How are rows read where chunks cannot be mapped?  From whole chunks, read and decoded into a cache of bounded size.

Serves platforms and chunk sizes that cannot be mapped, and arrays whose chunks are stored compressed.  Chunks that were
used last are kept; one that several threads need at once is read once.

A chunk file may still grow in place at the end of its level, so a decoded chunk is good for the rows that were visible
when it was read, and is read again for a caller who sees more of it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, MctreeError
from mctree.format.arrays import ArrayLayout
from mctree.storage.rows import Level, OpenChunk, distinct

__all__ = ["PortableLevel"]

_CACHE_BYTES = 256 << 20
_MOST_HINTED_CHUNKS = 64
_PATIENCE = 1.0  # seconds: who was to wake others may have been interrupted
_MOST_CHUNKS = 1 << 16  # absent chunks cost no bytes, but an entry each
_ENCODED_SLACK = 1 << 16  # a codec may make a chunk that does not compress a little longer


class _Chunk(NamedTuple):
    """A decoded chunk: its rows, how many of the level's rows were visible when it was read, what it costs."""

    rows: NDArray[Any]
    seen: int
    bytes: int


class PortableLevel(Level):
    """A level served from a cache of decoded chunks."""

    def __init__(
        self,
        layout: ArrayLayout,
        open_chunk: OpenChunk,
        *,
        capacity_rows: int,
        decode: Callable[[bytes], bytes] | None = None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        """Open a level; reads nothing.

        Args:
            layout: how the rows lie in chunks.
            open_chunk: gives the file of a chunk.
            capacity_rows: the most rows that any caller will see.
            decode: makes a file's bytes the chunk's; None if they are.  Must bound what it allocates by itself;
                whatever it raises means that the file is corrupt.
            cache_bytes: the most bytes of decoded chunks to keep.  A chunk in use is held beyond that.

        Raises:
            CorruptError: the fill value does not fit the element type.
        """
        super().__init__(layout, open_chunk, capacity_rows)
        self._decode = decode
        self._cache_bytes = cache_bytes
        self._cached = 0
        self._chunks: OrderedDict[int, _Chunk] = OrderedDict()  # least recently used first
        self._loading: set[int] = set()
        self._absent = np.broadcast_to(self._fill, (layout.rows_per_chunk, *layout.row))

    def refresh(self, chunks: range | None = None) -> None:
        """Ask again for chunks (all, if not given) that were absent when last needed; see `Level.refresh`."""
        with self._guarded():
            for chunk in [c for c, found in self._chunks.items() if found.rows is self._absent]:
                if chunks is None or chunk in chunks:
                    self._evict(chunk)

    def _gather(self, rows: NDArray[np.int64], out: NDArray[Any], limit: int) -> None:
        chunks, places = np.divmod(rows, self._rows_per_chunk)
        order = np.argsort(chunks, kind="stable")
        wanted = distinct(chunks)
        starts = np.searchsorted(chunks[order], wanted)
        for chunk, part in zip(wanted.tolist(), np.split(order, starts[1:]), strict=True):
            found = self._chunk(chunk, limit)
            # Of what is broadcast, `take` would make a whole chunk first.
            out[part] = self._fill if found is self._absent else found.take(places[part], axis=0, mode="clip")

    def _runs(self, starts: NDArray[np.int64], length: int, out: NDArray[Any], limit: int) -> None:
        for target, start in zip(out, starts.tolist(), strict=True):
            self._read(start, start + length, target, limit)

    def _read(self, start: int, stop: int, out: NDArray[Any], limit: int) -> None:
        size = self._rows_per_chunk
        for chunk in range(start // size, self.layout.chunks(stop)):
            first, last = max(start, chunk * size), min(stop, (chunk + 1) * size)
            part = self._chunk(chunk, limit)[first - chunk * size : last - chunk * size]
            out[first - start : last - start] = part

    def _view(self, start: int, stop: int, limit: int) -> NDArray[Any]:
        rows = np.empty((stop - start, *self._row), self._dtype)
        self._read(start, stop, rows, limit)
        rows.flags.writeable = False
        return rows

    def _prefetch(self, rows: NDArray[np.int64] | range, limit: int) -> None:
        if not hasattr(os, "posix_fadvise"):
            return
        size = self._rows_per_chunk
        if isinstance(rows, range):
            wanted = list(range(rows.start // size, self.layout.chunks(rows.stop)))[:_MOST_HINTED_CHUNKS]
        else:
            wanted = distinct(rows // size)[:_MOST_HINTED_CHUNKS].tolist()
        for chunk in wanted:
            if chunk in self._chunks:
                continue
            file = self._chunk_file(chunk, None)
            if file is not None:
                try:
                    os.posix_fadvise(file[0], 0, 0, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(file[0])

    def _drop(self) -> None:
        self._chunks.clear()
        self._cached = 0

    def _forget_threads(self) -> None:
        self._loading.clear()
        self._cached = sum(found.bytes for found in self._chunks.values())

    def _chunk(self, chunk: int, limit: int) -> NDArray[Any]:
        """A decoded chunk that holds at least the rows below the limit."""
        needed = min(limit, (chunk + 1) * self._rows_per_chunk)
        lock = self._guarded()
        mine = False
        try:
            with lock:
                while True:
                    if self._closed:
                        raise self._refuse_closed()
                    found = self._chunks.get(chunk)
                    if found is not None and found.seen >= needed:
                        self._chunks.move_to_end(chunk)
                        return found.rows
                    if chunk not in self._loading:
                        break
                    self._changed.wait(_PATIENCE)
                mine = True
                self._loading.add(chunk)
            rows = self._load(chunk)
            with lock:
                self._evict(chunk)
                size = 0 if rows is self._absent else self.layout.chunk_bytes
                if not self._closed:
                    self._chunks[chunk] = _Chunk(rows, limit, size)
                    self._cached += size
                    while self._cached > self._cache_bytes or len(self._chunks) > _MOST_CHUNKS:
                        self._evict(next(iter(self._chunks)))
            return rows
        finally:
            if mine:  # first of all, and without the lock: else an interrupt would leave others waiting for it for ever
                self._loading.discard(chunk)
                with lock:
                    self._changed.notify_all()

    def _evict(self, chunk: int) -> None:
        found = self._chunks.get(chunk)
        if found is not None:
            self._cached -= found.bytes
            del self._chunks[chunk]

    def _load(self, chunk: int) -> NDArray[Any]:
        size = self.layout.chunk_bytes
        file = self._chunk_file(chunk, size if self._decode is None else None)
        if file is None:
            return self._absent
        fd, length = file
        try:
            if length > 2 * size + _ENCODED_SLACK:
                raise self._corrupt(chunk, f"has {length} bytes, too many for a chunk of {size}")
            data = bytearray(length)
            if _read_into(fd, memoryview(data)) != length:
                raise self._corrupt(chunk, "became shorter while it was read")
        finally:
            os.close(fd)
        if self._decode is None:
            rows = np.frombuffer(data, self._dtype)
        else:
            try:
                decoded = self._decode(bytes(data))
            except (MctreeError, MemoryError):
                raise
            except Exception as error:
                raise self._corrupt(chunk, f"does not decode ({type(error).__name__})") from error
            if len(decoded) != size:
                raise self._corrupt(chunk, f"decodes to {len(decoded)} bytes instead of {size}")
            rows = np.frombuffer(decoded, self._dtype)
        return rows.reshape(self._rows_per_chunk, *self._row)

    def _corrupt(self, chunk: int, what: str) -> CorruptError:
        return CorruptError(f"array {self.layout.path!r}: the file of chunk {chunk} {what}: restore it")


def _read_into(fd: int, buffer: memoryview) -> int:
    """Fill the buffer from the start of a file, with the interpreter lock released; how many bytes there were."""
    done = 0
    while done < len(buffer):
        if hasattr(os, "preadv"):
            count = os.preadv(fd, [buffer[done:]], done)
        else:
            part = os.read(fd, min(len(buffer) - done, 1 << 20))
            buffer[done : done + len(part)] = part
            count = len(part)
        if count == 0:
            break
        done += count
    return done
