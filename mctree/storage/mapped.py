"""How are rows read without copying files into memory first?  Through chunk files mapped into one region.

`MappedLevel` gives every chunk a slot of its own, in order: then a level *is* one flat array, a row's number is its
place, and a gather is one `take`, however many chunks it touches.  `mctree.storage.pooled` shares slots instead; both
are a `RegionLevel`.  Chunks are mapped when first needed, so opening costs the same for any number of them.

Where data is expected to stay in memory, the first touch of a page brings 2 MiB; where not, the kernel is told which
pages a call needs before they are touched, for as long as that leads to reads from disk.

It assumes what `mctree.storage.region` does: files keep their size.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.arrays import ArrayLayout
from mctree.storage.region import Region, page_runs
from mctree.storage.rows import Level, OpenChunk, distinct

if sys.platform == "linux":
    import resource

__all__ = ["MappedLevel", "RegionLevel"]

_MOST_HINTED_CHUNKS = 1024  # a hint must not cost more than the wait that it saves
_MOST_HINTED_BYTES = 64 << 20
_READ_AHEAD_BYTES = 16 << 20  # how far ahead of a copy of a stretch the kernel reads
_STEP_BYTES = 256 << 10  # how much of a stretch is copied at first before looking whether it came from disk
_VIEWED_BYTES = 1 << 20  # how much of the start of a view the kernel is asked for
_WIDEST_RUN = 64  # rows that are taken as one wide row, at most
_LONG_RUN = 128  # pieces from which on one copy per run is cheaper than taking its pieces
_NEVER = 1 << 62


def _disk_reads() -> int:
    """How often this thread has had to read from disk."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_inblock + usage.ru_majflt


class RegionLevel(Level):
    """What both mapped levels share: a region, a flat array over it, and what is known of absent chunks."""

    def __init__(
        self, layout: ArrayLayout, open_chunk: OpenChunk, capacity_rows: int, slots: int, *, resident: bool
    ) -> None:
        super().__init__(layout, open_chunk, capacity_rows)
        self._slots = slots
        region = Region(slots, layout.chunk_bytes, self._fill.tobytes(), resident=resident)
        self._region: Region | None = region
        self._flat: NDArray[Any] | None = region.array(self._dtype, slots * self._rows_per_chunk, self._row)
        self._huge = region.huge
        self._resident = resident
        self._most_hinted = _MOST_HINTED_CHUNKS
        self._warm = False  # the last copy had nothing to read from disk
        # Mapped chunks that were absent → how many rows were visible when that was found.  Up to the limit `_sure`,
        # all of them are known to be absent still.
        self._absent: dict[int, int] = {}
        self._sure = _NEVER

    def refresh(self, chunks: range | None = None) -> None:
        """Ask again for chunks (all, if not given) that were absent when last needed; see `Level.refresh`."""
        with self._guarded():
            self._forget([c for c in self._absent if chunks is None or c in chunks])

    @abstractmethod
    def _unready(self, chunk: int) -> None:
        """Let the chunk be mapped anew when next needed.  With the lock held."""

    def _drop(self) -> None:
        if self._region is not None:
            self._region.close()
        self._flat = self._region = None  # arrays that show the region keep it

    def _array(self) -> NDArray[Any]:
        flat = self._flat
        if flat is None:
            raise self._refuse_closed()
        return flat

    def _space(self) -> Region:
        region = self._region
        if region is None:
            raise self._refuse_closed()
        return region

    def _install(self, slot: int, chunk: int, limit: int) -> None:
        """Map a chunk into a slot.  With the lock held."""
        region = self._space()
        file = self._chunk_file(chunk, self.layout.chunk_bytes)
        if file is None:
            region.map_fill(slot)
            self._absent[chunk] = limit
            if limit < self._end(chunk):
                self._sure = min(self._sure, limit)
            return
        try:
            region.map_file(slot, file[0])
        finally:
            os.close(file[0])
        self._absent.pop(chunk, None)

    def _end(self, chunk: int) -> int:
        return (chunk + 1) * self._rows_per_chunk

    def _doubt(self, limit: int) -> None:
        """Forget absent chunks of which more rows are visible now.  With the lock held."""
        if limit > self._sure:
            self._forget([c for c, seen in self._absent.items() if seen < min(limit, self._end(c))])

    def _forget(self, chunks: list[int]) -> None:
        for chunk in chunks:
            self._unready(chunk)
            del self._absent[chunk]
        self._sure = min((seen for c, seen in self._absent.items() if seen < self._end(c)), default=_NEVER)

    def _advise(self, places: NDArray[np.int64], length: int) -> None:
        row_bytes = self.layout.row_bytes
        self._space().will_need(page_runs(places * row_bytes, length * row_bytes))

    def _take(self, flat: NDArray[Any], places: NDArray[np.int64], out: NDArray[Any]) -> None:
        # Bounds were checked, so that nothing is ever clipped: "raise" would copy through a buffer.
        if self._resident:
            flat.take(places, axis=0, out=out, mode="clip")
            return
        before = _disk_reads()
        if not self._warm:
            self._advise(places, 1)
        flat.take(places, axis=0, out=out, mode="clip")
        self._warm = _disk_reads() == before

    def _take_runs(self, flat: NDArray[Any], places: NDArray[np.int64], length: int, out: NDArray[Any]) -> None:
        """Copy runs that begin at these places of the flat array into `out [n, length, *row]`."""
        before = 0 if self._resident else _disk_reads()
        if not self._resident and not self._warm:
            self._advise(places, length)
        bits = int(np.bitwise_or.reduce(places)) | length | _WIDEST_RUN
        wide = bits & -bits  # the largest power of two that divides them all
        if length // wide >= _LONG_RUN:
            for target, place in zip(out, places.tolist(), strict=True):
                target[...] = flat[place : place + length]
        else:
            count = len(flat) // wide
            pieces = flat[: count * wide].reshape(count, wide, *self._row)
            index = (places // wide)[:, None] + np.arange(length // wide)
            target = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
            pieces.take(index.ravel(), axis=0, out=target.reshape(-1, wide, *self._row), mode="clip")
            if target is not out:
                out[...] = target
        self._warm = not self._resident and _disk_reads() == before

    def _copy(self, flat: NDArray[Any], place: int, out: NDArray[Any]) -> None:
        """Copy a stretch of the flat array; where data is cold, the kernel reads ahead of the copy."""
        if self._resident:
            np.copyto(out, flat[place : place + len(out)])
            return
        smallest, ahead = (max(1, size // self.layout.row_bytes) for size in (_STEP_BYTES, _READ_AHEAD_BYTES))
        step = smallest
        at = asked = 0
        while at < len(out):
            before = _disk_reads()
            observed = self._warm  # a step whose pages were asked for earlier tells nothing
            if not self._warm and asked - at < min(len(out) - at, ahead // 2):
                start, asked = max(at, asked), min(len(out), at + ahead)
                self._advise(np.array([place + start]), asked - start)
                observed = True
            part = out[at : at + step]
            np.copyto(part, flat[place + at : place + at + len(part)])
            at += len(part)
            if observed:
                self._warm = _disk_reads() == before
                # Trust grows with what was copied without reading: a wrong guess costs no more than that.
                step = 2 * step if self._warm else smallest

    def _prefetch(self, rows: NDArray[np.int64] | range, limit: int) -> None:
        page, row_bytes = os.sysconf("SC_PAGESIZE"), self.layout.row_bytes
        most = _MOST_HINTED_BYTES // max(page, row_bytes)
        if isinstance(rows, range):  # a row of each page, and the last one
            step = max(1, page // row_bytes)
            stop = min(rows.stop, rows.start + most * step)
            wanted = np.append(np.arange(rows.start, stop, step), stop - 1)
        else:
            wanted = rows[:most]
        chunks = wanted // self._rows_per_chunk
        order = distinct(chunks)
        most = self._most_hinted
        self._hint(wanted if order.size <= most else wanted[chunks < order[most]], limit)

    @abstractmethod
    def _hint(self, rows: NDArray[np.int64], limit: int) -> None: ...


class MappedLevel(RegionLevel):
    """A level in which every chunk has its own slot: row numbers are places of the flat array."""

    def __init__(
        self, layout: ArrayLayout, open_chunk: OpenChunk, capacity_rows: int, slots: int, *, resident: bool
    ) -> None:
        super().__init__(layout, open_chunk, capacity_rows, slots, resident=resident)
        self._ready = np.zeros(slots + 1, np.bool_)  # which chunks are mapped; the last is a sentinel, never set
        self._first_gap = 0  # all chunks before it are mapped
        self._complete = 0  # up to this limit nothing needs to be checked

    def _gather(self, rows: NDArray[np.int64], out: NDArray[Any], limit: int) -> None:
        flat = self._array()
        if limit > self._complete:
            self._ensure(rows // self._rows_per_chunk, limit)
        self._take(flat, rows, out)

    def _runs(self, starts: NDArray[np.int64], length: int, out: NDArray[Any], limit: int) -> None:
        self._take_runs(self._meeting(starts, length, limit), starts, length, out)

    def _flat_of(self, starts: NDArray[np.int64], length: int, limit: int) -> NDArray[Any] | None:
        return self._meeting(starts, length, limit)[:limit] if self._resident else None

    def _read(self, start: int, stop: int, out: NDArray[Any], limit: int) -> None:
        self._copy(self._stretch(start, stop, limit), start, out)

    def _view(self, start: int, stop: int, limit: int) -> NDArray[Any]:
        flat = self._stretch(start, stop, limit)
        if not self._resident:
            self._advise(np.array([start]), min(stop - start, max(1, _VIEWED_BYTES // self.layout.row_bytes)))
        return flat[start:stop]

    def _hint(self, rows: NDArray[np.int64], limit: int) -> None:
        self._ensure(rows // self._rows_per_chunk, limit)
        if not self._huge:
            self._advise(rows, 1)

    def _unready(self, chunk: int) -> None:
        self._ready[chunk] = False
        self._first_gap = min(self._first_gap, chunk)
        self._complete = min(self._complete, chunk * self._rows_per_chunk)

    def _forget_threads(self) -> None:
        pass  # a chunk is marked as mapped only once it is; one that was not yet marked is mapped again

    def _meeting(self, starts: NDArray[np.int64], length: int, limit: int) -> NDArray[Any]:
        """The flat array, all chunks that these runs meet being mapped."""
        flat = self._array()
        if limit > self._complete:
            first = starts // self._rows_per_chunk
            last = (starts + (length - 1)) // self._rows_per_chunk
            most = int((last - first).max())
            self._ensure(np.minimum(first[:, None] + np.arange(most + 1), last[:, None]).ravel(), limit)
        return flat

    def _stretch(self, start: int, stop: int, limit: int) -> NDArray[Any]:
        flat = self._array()
        if limit > self._complete:
            chunks = np.arange(start // self._rows_per_chunk, self.layout.chunks(stop))
            self._ensure(chunks, limit)
        return flat

    def _ensure(self, chunks: NDArray[np.int64], limit: int) -> None:
        """Map those chunks that are not."""
        ready = self._ready.take(chunks)
        # In this order: whoever finds a chunk absent lowers `_sure` before it marks the chunk as mapped.
        if np.count_nonzero(ready) == ready.size and limit <= self._sure:
            return
        with self._guarded():
            self._doubt(limit)
            for chunk in distinct(chunks[~self._ready.take(chunks)]).tolist():
                self._install(chunk, chunk, limit)
                self._ready[chunk] = True
            self._first_gap += int(self._ready[self._first_gap :].argmin())
            self._complete = min(self._first_gap * self._rows_per_chunk, self._sure)
