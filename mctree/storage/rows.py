"""What may be asked of a level, whatever serves it?  Rows: many at random, runs of them, or a stretch.

A level is an append-only array of rows cut into chunk files of one size.  `Level` checks what is asked (rows exist,
buffers fit) once, for every implementation; `mctree.storage.mapped` and `mctree.storage.portable` answer.

A level does not know how many rows are committed: each call says its `limit`, the number of rows that the caller's
snapshot sees, and rows at or past it are refused.  It does not know names either: an opener turns a chunk number into
an open file.  A level belongs to one generation of its chunks: where a chunk was replaced, open another level.
"""

from __future__ import annotations

import math
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, MctreeError, NotFoundError, UsageError
from mctree.format.arrays import ArrayLayout

__all__ = ["Level", "OpenChunk", "distinct"]

OpenChunk = Callable[[int], int | None]
"""Chunk number → descriptor opened for reading, which the level closes; None: never written, so it reads as fill.

May be called with the level's lock held, from any thread: it must not call back into the level.  Errors pass through.
"""

_Whole = TypeVar("_Whole", np.int64, np.uint32)
_PLACES = np.dtype(np.int64)

_ALIGNMENT, _ALIGNED_FROM = 64, 1 << 16

_fork_guard = threading.Lock()
_forks = 0


def _count_fork() -> None:
    global _fork_guard, _forks  # noqa: PLW0603 - a child has one thread and needs a fresh guard
    _fork_guard = threading.Lock()
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


def distinct(values: NDArray[_Whole]) -> NDArray[_Whole]:
    """The different values, ascending.

    `np.unique` imports a module when first called; a child forked at that moment by another thread would wait for the
    import for ever.
    """
    values = np.sort(values)
    keep = np.ones(values.size, np.bool_)
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return values[keep]


class Level(ABC):
    """Rows of one array, read by any number of threads, and by forked children.

    Arrays that a level returned stay valid after `close`, and after the level is gone.

    Attributes:
        layout: how the rows lie in chunks.
        capacity_rows: no `limit` may exceed this; open another level when the array outgrows it.
    """

    def __init__(self, layout: ArrayLayout, open_chunk: OpenChunk, capacity_rows: int) -> None:
        self.layout = layout
        self.capacity_rows = capacity_rows
        self._dtype = layout.numpy
        self._row = layout.row
        self._rows_per_chunk = layout.rows_per_chunk
        self._open_chunk = open_chunk
        self._closed = False
        self._fork = _forks
        self._renew_lock()
        self._fill = np.full((), layout.fill, self._dtype)

    def gather(self, rows: NDArray[np.integer[Any]], out: NDArray[Any] | None = None, *, limit: int) -> NDArray[Any]:
        """Copy rows, in the order given.

        Args:
            rows: integers `[n]`, any order, duplicates allowed, all below `limit`.
            out: where to put them, of the level's element type, `[n, *row]`; made anew if not given.
            limit: how many rows the caller may see.

        Returns:
            `out`.

        Raises:
            NotFoundError: a row is negative, or at or past `limit`; the message names it.
            UsageError: `rows` or `out` do not fit, `limit` exceeds the capacity, or the level is closed.
            CorruptError: a chunk file has the wrong size.
        """
        rows = self._checked_rows(rows, limit)
        out = self._checked_out(out, (rows.size, *self._row))
        if rows.size:
            self._gather(rows, out, limit)
        return out

    def runs(
        self,
        starts: NDArray[np.integer[Any]],
        length: int,
        out: NDArray[Any] | None = None,
        *,
        limit: int,
    ) -> NDArray[Any]:
        """Copy runs of consecutive rows, all equally long: children of nodes, or windows of tokens.

        Args:
            starts: first row of each run, integers `[n]`, any order; runs may overlap.
            length: rows in each run, at least 1.  Fastest if starts and length are multiples of 32 or 64.
            out: where to put them, `[n, length, *row]`, best at an address that is a multiple of 64; made anew if not
                given.
            limit: how many rows the caller may see.

        Returns:
            `out`.

        Raises:
            NotFoundError, UsageError, CorruptError: as `gather` does.
        """
        starts = self._checked_starts(starts, length, limit)
        out = self._checked_out(out, (starts.size, length, *self._row))
        if starts.size:
            self._runs(starts, length, out, limit)
        return out

    def flat(self, starts: NDArray[np.integer[Any]], length: int, *, limit: int) -> NDArray[Any] | None:
        """The level as one array, for who copies runs of consecutive rows himself, as into other types.

        Args:
            starts: first row of each run, as for `runs`.
            length: rows in each run, at least 1.
            limit: how many rows the caller may see.

        Returns:
            `[limit, *row]`, read-only, of which these runs may be read and nothing else: other memory may not be there.
            None where `runs` does better: chunks share slots, are decoded, or may lie on disk.

        Raises:
            NotFoundError, UsageError, CorruptError: as `gather` does.
        """
        starts = self._checked_starts(starts, length, limit)
        return self._flat_of(starts, length, limit) if starts.size else None

    def read(self, start: int, stop: int, out: NDArray[Any] | None = None, *, limit: int) -> NDArray[Any]:
        """Copy the rows `start` … `stop - 1`, across chunks.

        Returns:
            `out`, `[stop - start, *row]`.

        Raises:
            NotFoundError, UsageError, CorruptError: as `gather` does.
        """
        self._check_span(start, stop, limit)
        out = self._checked_out(out, (stop - start, *self._row))
        if start < stop:
            self._read(start, stop, out, limit)
        return out

    def view(self, start: int, stop: int, *, limit: int) -> NDArray[Any]:
        """The rows `start` … `stop - 1` as a read-only array `[stop - start, *row]`.

        Without copying where the level is mapped as a whole; a copy where its chunks share slots, or are decoded.

        Raises:
            NotFoundError, UsageError, CorruptError: as `gather` does.
        """
        self._check_span(start, stop, limit)
        if start == stop:
            rows = np.empty((0, *self._row), self._dtype)
            rows.flags.writeable = False
            return rows
        return self._view(start, stop, limit)

    def prefetch(self, rows: NDArray[np.integer[Any]] | range, *, limit: int) -> None:
        """Say that these rows will be asked for soon.  Does not wait for them to arrive.

        Raises:
            NotFoundError, UsageError, CorruptError: as `gather` does.
        """
        if isinstance(rows, range):
            if rows.step != 1:
                raise UsageError(f"cannot prefetch {rows}: give a range of step 1, or an array of rows")
            self._check_span(rows.start, max(rows.start, rows.stop), limit)
        else:
            rows = self._checked_rows(rows, limit)
        if len(rows):
            self._prefetch(rows, limit)

    @abstractmethod
    def refresh(self, chunks: range | None = None) -> None:
        """Ask again for chunks (all, if not given) that were absent when last needed.

        A chunk that was absent is remembered as absent for as long as no caller sees more rows of it than were
        visible then: growth at the end of a level is noticed without help.  What this is for is a chunk in the middle
        that was written since.  Views made before may show either.
        """

    def close(self) -> None:
        """Let go of files and memory, save what arrays still show.  Later calls are refused."""
        with self._guarded():
            self._closed = True
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _flat_of(self, starts: NDArray[np.int64], length: int, limit: int) -> NDArray[Any] | None:
        return None

    @abstractmethod
    def _gather(self, rows: NDArray[np.int64], out: NDArray[Any], limit: int) -> None: ...
    @abstractmethod
    def _runs(self, starts: NDArray[np.int64], length: int, out: NDArray[Any], limit: int) -> None: ...
    @abstractmethod
    def _read(self, start: int, stop: int, out: NDArray[Any], limit: int) -> None: ...
    @abstractmethod
    def _view(self, start: int, stop: int, limit: int) -> NDArray[Any]: ...
    @abstractmethod
    def _prefetch(self, rows: NDArray[np.int64] | range, limit: int) -> None: ...
    @abstractmethod
    def _drop(self) -> None: ...
    @abstractmethod
    def _forget_threads(self) -> None:
        """In a forked child: drop what other threads of the parent were in the middle of."""

    def _renew_lock(self) -> None:
        # Taken by its own name and never by that of the condition, whose methods are Python's: an interrupt between the
        # steps of these would leave it taken.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def _guarded(self) -> threading.Lock:
        """The level's lock, fit for this process: in a forked child, a fresh one, and `_changed` with it."""
        if self._fork != _forks:
            with _fork_guard:
                if self._fork != _forks:
                    self._renew_lock()
                    self._forget_threads()
                    self._fork = _forks
        return self._lock

    def _chunk_file(self, chunk: int, size: int | None) -> tuple[int, int] | None:
        """Open a chunk's file: descriptor and size, the former for the caller to close; None if never written.

        Raises:
            CorruptError: it is no plain file, or not of exactly `size` bytes (if that is given).
        """
        fd = self._open_chunk(chunk)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or size not in (None, status.st_size):
                raise CorruptError(
                    f"array {self.layout.path!r}: the file of chunk {chunk} has {status.st_size} bytes instead of "
                    f"{size}: run a verification, and restore it"
                )
        except BaseException:
            os.close(fd)
            raise
        return fd, status.st_size

    def _refuse_closed(self) -> MctreeError:
        return UsageError(f"array {self.layout.path!r} is closed: open the store again")

    def _check_limit(self, limit: int) -> None:
        if not 0 <= limit <= self.capacity_rows:
            raise UsageError(
                f"array {self.layout.path!r} was opened for {self.capacity_rows} rows, not {limit}: open it anew"
            )
        if self._closed:
            raise self._refuse_closed()

    def _check_span(self, start: int, stop: int, limit: int) -> None:
        self._check_limit(limit)
        if start > stop:
            raise UsageError(f"array {self.layout.path!r}: rows {start} to {stop} are no stretch of rows")
        if start < 0 or stop > limit:
            self._refuse_row(start if start < 0 else max(start, limit), limit)

    def _checked_rows(self, rows: NDArray[np.integer[Any]], limit: int, length: int = 1) -> NDArray[np.int64]:
        self._check_limit(limit)
        # Between two gathers of megabytes the processor's caches forget what is done here: each function of NumPy that
        # is called costs microseconds, the same one once more next to nothing.
        as_they_are = type(rows) is np.ndarray and rows.dtype is _PLACES
        places = cast("NDArray[np.int64]", rows) if as_they_are else self._as_places(rows)
        if places.ndim != 1:
            self._refuse_rows(places)
        most = limit - length
        if places.size and (places.item(places.argmax()) > most or places.item(places.argmin()) < 0):
            wrong = next(row for row in np.asarray(rows).tolist() if not 0 <= row <= most)
            self._refuse_row(wrong if wrong < 0 else max(wrong, limit), limit)
        return places

    def _checked_starts(self, starts: NDArray[np.integer[Any]], length: int, limit: int) -> NDArray[np.int64]:
        if length < 1:
            raise UsageError(f"runs of {length} rows: ask for at least 1")
        return self._checked_rows(starts, limit, length)

    def _as_places(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Any integers as `int64`; those that are too large for it become negative."""
        rows = np.asarray(rows)
        if rows.dtype.kind not in "iu":
            self._refuse_rows(rows)
        return rows.astype(_PLACES)

    def _refuse_rows(self, rows: NDArray[np.integer[Any]]) -> NoReturn:
        raise UsageError(f"array {self.layout.path!r}: rows must be integers [n], not {rows.dtype} {list(rows.shape)}")

    def _refuse_row(self, row: int, limit: int) -> None:
        raise NotFoundError(f"array {self.layout.path!r} has no row {row}: it has {limit} rows in this snapshot")

    def _empty(self, shape: tuple[int, ...]) -> NDArray[Any]:
        size = self._dtype.itemsize * math.prod(shape)
        if size < _ALIGNED_FROM:
            return np.empty(shape, self._dtype)
        # Large blocks begin 16 bytes into a page, and chunks at its start: of all distances, the one at which a store
        # delays the loads that follow it most (by a third, when runs of 24 KiB were copied).
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        skip = -int(memory.__array_interface__["data"][0]) % _ALIGNMENT
        return memory[skip : skip + size].view(self._dtype).reshape(shape)

    def _checked_out(self, out: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[Any]:
        if out is None:
            return self._empty(shape)
        if not isinstance(out, np.ndarray) or out.dtype != self._dtype or out.shape != shape:
            found = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
            raise UsageError(f"array {self.layout.path!r}: out must be {self._dtype} {list(shape)}, not {found}")
        if not out.flags.writeable:
            raise UsageError(f"array {self.layout.path!r}: out is read-only")
        return out
