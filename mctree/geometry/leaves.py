"""Below which nodes is nothing, though positions there exist?  Leaves above level 0, which stand for all under them.

A tree may be known only so far: a node is there and its children are not.  In a cut it stands for its whole span, and
cannot be expanded.  Leaves do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mctree.geometry.intervals import Intervals
from mctree.geometry.shape import Shape

__all__ = ["Leaves"]


@dataclass(frozen=True, eq=False, slots=True)
class Leaves:
    """Nodes, none of which lies below another one.

    Attributes:
        shape: the tree that they are of.
        start: the first LOD0 position of each, ascending, `int64 [k]`.
        level: `int64 [k]`.
    """

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # arrays have none

    shape: Shape
    start: NDArray[np.int64]
    level: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def spans(self) -> Intervals:
        """The positions that they stand for, `int64 [k, 2]`."""
        return np.column_stack((self.start, self.start + np.array(self.shape.widths, np.int64)[self.level]))

    def below(self, level: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some nodes, in any order, lie below a leaf: `bool [n]`; a leaf does not lie below itself."""
        if not len(self):
            return np.zeros(len(index), np.bool_)
        widths = np.array(self.shape.widths, np.int64)
        first = index * widths[level]
        at = np.maximum(np.searchsorted(self.start, first, side="right") - 1, 0)
        start, above = self.start[at], self.level[at]
        found: NDArray[np.bool_] = (start <= first) & (first < start + widths[above]) & (level < above)
        return found
