"""How did entries come to be what they are, and when?  What the allocator has to remember so that it does not waver."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.focus.rows import Integer, Real, Rows

__all__ = ["ARRIVED", "COLLAPSED", "EXPANDED", "NEVER", "History"]

ARRIVED: Final = 0
EXPANDED: Final = 1
COLLAPSED: Final = -1
"""How an entry came to be one: it was there at first or is new, its parent was expanded, its children collapsed."""

NEVER: Final = -(1 << 62)
"""A step before all others."""


class History(Rows):
    """What happened to entries, one row each.

    Attributes:
        born: the step in which the entry came to be one, `int64 [n]`.
        edit: `ARRIVED`, `EXPANDED` or `COLLAPSED`, `int64 [n]`.
        opened: the step in which the node above was expanded, `NEVER` if it was not; of what was collapsed the last
            one among its children's, so that it is not earlier than its own, `int64 [n]`.
        heat: the last score, in [-1, 1]; of what was expanded or collapsed since, that of where it came from; 0 for
            what has just arrived, `float64 [n]`.
    """

    __slots__ = ()

    born = Integer()
    edit = Integer()
    opened = Integer()
    heat = Real()

    @classmethod
    def new(cls, n: int, step: int) -> History:
        """That of entries which come in a step, and were no others before."""
        return cls.made(n, born=step, edit=ARRIVED, opened=NEVER, heat=0.0)

    def scored(self, heat: NDArray[np.float64]) -> History:
        """The same with other scores."""
        return History(self.stored_integers, heat[None, :])
