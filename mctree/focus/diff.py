"""What has to be streamed when a working context changes?  The rows that left it, and those that entered.

A row whose numbers changed, because something under it died, has left and entered again.  Whatever stands before the
first change is as it was: what a model has computed of it stays good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import Entries

__all__ = ["Diff"]


@dataclass(frozen=True, eq=False, slots=True)
class Diff:
    """The difference between two states of a working context.

    Attributes:
        left: the entries that are gone, in order.
        left_at: which rows of the old state these were, ascending, `int64 [l]`.
        entered: the entries that have come, in order.
        entered_at: which rows of the new state these are, ascending, `int64 [e]`.
    """

    left: Entries
    left_at: NDArray[np.int64]
    entered: Entries
    entered_at: NDArray[np.int64]

    @classmethod
    def between(cls, before: Entries, after: Entries, origin: NDArray[np.int64]) -> Diff:
        """The difference of two states.

        Args:
            before: the old one.
            after: the new one.
            origin: which row of the old one each row of the new one is, ascending, -1 where it has come: `int64 [n]`.
        """
        gone = np.ones(len(before), np.bool_)
        gone[origin[origin >= 0]] = False
        left, entered = np.flatnonzero(gone), np.flatnonzero(origin < 0)
        return cls(before.take(left), left, after.take(entered), entered)

    def __bool__(self) -> bool:
        return bool(len(self.left_at) or len(self.entered_at))

    @property
    def first(self) -> int | None:
        """The first row that is not as it was, None if all are: what was computed of the rows before it stays good."""
        bounds = [int(rows[0]) for rows in (self.left_at, self.entered_at) if len(rows)]
        return min(bounds, default=None)

    def apply(self, before: Entries) -> Entries:
        """The new state, made of the old one."""
        after = Entries.joined([before.take(np.delete(np.arange(len(before)), self.left_at)), self.entered])
        kept = np.delete(np.arange(len(after)), self.entered_at)
        order = np.empty(len(after), np.int64)
        order[kept] = np.arange(len(kept))
        order[self.entered_at] = len(kept) + np.arange(len(self.entered_at))
        return after.take(order)
