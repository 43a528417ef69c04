"""What has to be streamed when a working context changes?  The rows that left it, and those that entered.

A row whose numbers changed, because something under it died, has left and entered again.  Whatever stands before the
first change is as it was: what a model has computed of it stays good.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    def between(
        cls, before: Entries, after: Entries, changes: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    ) -> Diff:
        """The difference of two states.

        Args:
            before: the old one.
            after: the new one.
            changes: how the one became the other, one change after another: which rows left, and which rows those that
                entered have since then, ascending.
        """
        left, entered = changes[0] if len(changes) == 1 else _overall(len(before), changes)
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


def _overall(
    n: int, changes: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `n` rows left, and which rows entered, by changes that follow each other.

    What entered by one and left by a later one is in neither.
    """
    origin = np.arange(n)
    for left, entered in changes:
        kept = np.delete(origin, left)
        stayed = np.ones(len(kept) + len(entered), np.bool_)
        stayed[entered] = False
        origin = np.full(len(stayed), -1)
        origin[stayed] = kept
    new = origin < 0
    return np.delete(np.arange(n), origin[~new]), np.flatnonzero(new)
