"""How does attention move in the benchmark of streaming?  Around places that drift, of which one jumps now and then.

Each place wants the blocks around it at LOD0, and ever coarser nodes the farther away they are; what is far from all of
them is wanted coarse.  So a working context is a fan of levels around each place, which moves with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mctree.focus import Entries
from mctree.geometry import TEXT

__all__ = ["Wandering"]

_DRIFT = 1
_SHARPNESS = 2
_HYSTERESIS = 4


class Wandering:
    """Places of attention, and what they want.

    Args:
        places: how many.
        positions: how many there are to wander over.
        jumps: in every so many steps one of the places jumps.
    """

    def __init__(self, places: int, positions: int, jumps: int = 16) -> None:
        rng = np.random.default_rng(3)
        self._at = np.sort(rng.integers(0, positions, places))
        self._positions = positions
        self._jumps = jumps
        self._rng = rng
        self._step = 0

    def move(self) -> None:
        """A step goes by."""
        self._step += 1
        self._at = (self._at + _DRIFT) % self._positions
        if self._step % self._jumps == 0:
            self._at[self._rng.integers(len(self._at))] = self._rng.integers(self._positions)
        self._at.sort()

    def scores(self, entries: Entries) -> NDArray[np.float64]:
        """How much more or less detail each entry should have: `float64 [n]`."""
        at, start, stop = self._at, entries.start, entries.stop
        behind = np.searchsorted(at, start)
        after = at[np.minimum(behind, len(at) - 1)] - stop + 1
        before = start - at[np.maximum(behind - 1, 0)]
        far = np.where(behind < len(at), np.maximum(after, 0), self._positions)
        far = np.minimum(far, np.where(behind > 0, before, self._positions))
        width = np.asarray(TEXT.width(entries.level))
        right = np.maximum(far, TEXT.block // _SHARPNESS) / _SHARPNESS
        more = np.log2(width / right)
        wanted = np.where(more > 0, 0.3 + more / 64, 0.0)
        return np.where(width * TEXT.block * _HYSTERESIS < right, -0.3 - np.log2(right / width) / 64, wanted)
