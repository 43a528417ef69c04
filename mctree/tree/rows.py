"""How does a commit see an array?  As a level cut to the rows that the commit holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.arrays import ArrayLayout
from mctree.storage.level import Level

__all__ = ["Rows"]


class Rows:
    """The committed rows of one array.

    Attributes:
        count: how many there are.
    """

    def __init__(self, level: Level, count: int) -> None:
        self._level = level
        self.count = count

    def __len__(self) -> int:
        return self.count

    @property
    def layout(self) -> ArrayLayout:
        """How the rows lie in chunk files."""
        return self._level.layout

    def gather(self, rows: NDArray[np.integer[Any]], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Copy rows in any order, into `out` if given: `[n, *row]`.  Releases the interpreter lock while copying."""
        return self._level.gather(rows, out, limit=self.count)

    def runs(self, starts: NDArray[np.integer[Any]], length: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Copy runs of `length` rows from each of `starts`: `[n, length, *row]`."""
        return self._level.runs(starts, length, out, limit=self.count)

    def flat(self, starts: NDArray[np.integer[Any]], length: int) -> NDArray[Any] | None:
        """All rows as one read-only array, of which runs of `length` rows from each of `starts` may be read.

        None where `runs` does better: the level is not mapped as a whole, or may lie on disk.
        """
        return self._level.flat(starts, length, limit=self.count)

    def read(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Copy rows [start, stop)."""
        return self._level.read(start, stop, out, limit=self.count)

    def view(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows [start, stop) without copying where the level is mapped as a whole; read-only."""
        return self._level.view(start, self.count if stop is None else stop, limit=self.count)

    def prefetch(self, rows: NDArray[np.integer[Any]] | range) -> None:
        """Ask the kernel to have rows in memory soon; returns at once."""
        self._level.prefetch(rows, limit=self.count)
