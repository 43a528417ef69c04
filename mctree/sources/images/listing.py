"""Which of the pieces of a grid are there?  Their numbers, sorted, 8 bytes each, once listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_LISTED", "Listing", "listed"]

MOST_LISTED = 1 << 26
"""Pieces of one listing: half a gigabyte."""

_LINES_AT_ONCE = 1 << 12


class Listing:
    """Pieces that are numbered twice, by their line and by their place in it.

    Args:
        codes: `int64 [n]`, ascending: the line times 2**32, plus the place.
    """

    def __init__(self, codes: NDArray[np.int64]) -> None:
        self._codes = codes
        self._lines = np.unique(codes >> 32)

    def runs(self, line0: int, line1: int, place0: int, place1: int) -> Iterator[tuple[int, int, int]]:
        """The pieces of lines `[line0, line1)` with places in `[place0, place1)`: a line, and `[start, stop)` in it."""
        first, last = np.searchsorted(self._lines, (line0, line1))
        for start in range(first, last, _LINES_AT_ONCE):
            lines = self._lines[start : min(start + _LINES_AT_ONCE, last)] << 32
            starts = np.searchsorted(self._codes, lines + place0)
            stops = np.searchsorted(self._codes, lines + place1)
            for found in np.flatnonzero(starts < stops):
                places = self._codes[starts[found] : stops[found]] & 0xFFFFFFFF
                for run in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
                    yield int(lines[found]) >> 32, int(run[0]), int(run[-1]) + 1


def listed(lines: Iterable[tuple[int, Iterable[int]]]) -> Listing:
    """List pieces by line; a line may come more than once, and so may a piece.

    Raises:
        ValueError: there are more than `MOST_LISTED`.
    """
    held: list[NDArray[np.int64]] = []
    total = 0
    for line, places in lines:
        codes = (line << 32) + np.fromiter(places, np.int64)
        held.append(codes)
        total += len(codes)
        if total > MOST_LISTED:
            raise ValueError(f"there are more than {MOST_LISTED} pieces")
    return Listing(np.unique(np.concatenate(held)) if held else np.zeros(0, np.int64))
