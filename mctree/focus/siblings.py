"""Which entries can be collapsed into one?  All children of a node, where every one of them is an entry.

Entries cover what exists, in order and once.  So all that is needed is a look at neighbours: a run of entries of one
level under one node is all of its children, unless the entry before the run, or the one behind it, lies
under that node as well and is of another level.  Nothing is assumed about how entries came to be where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import SEVERAL, Entries, Nodes
from mctree.focus.ground import BLOCK, Grafts, parents, widths

__all__ = ["Siblings", "siblings"]

Value = TypeVar("Value", np.int64, np.float64)


@dataclass(frozen=True, eq=False)
class Siblings:
    """Runs of entries that are all children of a node, each; ascending where something is asked of their entries.

    Attributes:
        first: the first entry of each run, `int64 [g]`.
        stop: the entry behind its last, `int64 [g]`.
        above: the index of the node above, within its level, `int64 [g]`.
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    above: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def none(cls) -> Siblings:
        """No runs."""
        return cls(*(np.empty(0, np.int64) for _ in range(3)))

    def take(self, which: NDArray[np.integer[Any]]) -> Siblings:
        """Some of them."""
        return Siblings(self.first[which], self.stop[which], self.above[which])

    @property
    def rows(self) -> NDArray[np.int64]:
        """All entries of all runs, run by run."""
        lengths = self.stop - self.first
        behind = lengths.cumsum()
        return np.repeat(self.stop - behind, lengths) + np.arange(lengths.sum())

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """Where each run begins, and where what lies between it and the next one does, by turns."""
        return np.column_stack((self.first, self.stop)).ravel()[:-1]

    def most(self, values: NDArray[Value]) -> NDArray[Value]:
        """The largest of the values of each run's entries: `[g]`."""
        return self._reduced(np.maximum, values)

    def document(self, entries: Entries) -> NDArray[np.int64]:
        """The document of the node above each run: `SEVERAL` unless all entries have the same: `int64 [g]`."""
        least, most = (self._reduced(pick, entries.document) for pick in (np.minimum, np.maximum))
        return np.where(least == most, least, SEVERAL)

    def gain(self, entries: Entries) -> NDArray[np.int64]:
        """By how much collapsing each would lower the cost: `int64 [g]`."""
        return self._reduced(np.add, entries.cost) - 1

    def reach(self, entries: Entries) -> NDArray[np.int64]:
        """The position of the timeline behind each run: `int64 [g]`."""
        last = self.stop - 1
        return np.where(entries.space[last] > 0, entries.slot[last] + BLOCK, entries.stop[last])

    def nodes(self, entries: Entries, grafts: Grafts) -> Nodes:
        """The nodes above: an image's slot for all that its root was expanded into."""
        space, slot = entries.space[self.first], entries.slot[self.first]
        level, index = entries.level[self.first] + 1, self.above
        if len(grafts):
            graft = np.where(space > 0, grafts.at(slot // BLOCK), -1)
            root = (graft >= 0) & (grafts.level[graft] == level)
            space, level = np.where(root, 0, space), np.where(root, 1, level)
            index = np.where(root, slot // BLOCK, index)
        return Nodes.made(
            len(self),
            space=space,
            level=level,
            index=index,
            slot=np.where(space == 0, index * widths(space, level), slot),
        )

    def _reduced(self, pick: np.ufunc, values: NDArray[Value]) -> NDArray[Value]:
        if not len(self):
            return values[:0]
        # One pass reduces what lies between runs as well, and costs less than to gather what does not.
        found: NDArray[Value] = pick.reduceat(values[: self.stop[-1]], self._bounds)[::2]
        return found


def siblings(entries: Entries, end: int, rows: NDArray[np.int64] | None = None) -> Siblings:
    """All runs that can be collapsed.

    Args:
        entries: a cut of all that exists.
        end: the position behind all that was placed on the timeline.
        rows: which entries to look at, ascending; a run with an entry that is none of these is left out.  All if None.
    """
    n = len(entries)
    rows = np.arange(n) if rows is None else rows
    space, level, index = (column.take(rows) for column in (entries.space, entries.level, entries.index))
    above = parents(space, level, index)
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (above[1:] != above[:-1]) | (level[1:] != level[:-1]) | (rows[1:] != rows[:-1] + 1)
    slot, start, arena = entries.slot, entries.start, bool(space.any())
    if arena:
        # What an image's root was expanded into belongs together by its slot, and to the timeline.
        place = slot[rows]
        begins[1:] |= (space[1:] != space[:-1]) | ((space[1:] > 0) & (place[1:] != place[:-1]))
    at = begins.nonzero()[0]
    first, stop = rows[at], rows[np.append(at, len(rows))[1:] - 1] + 1
    space, above = space[at], above[at]
    wide = widths(space, level[at] + 1)
    begin = above * wide
    behind = begin + wide
    before, after = np.maximum(first - 1, 0), np.minimum(stop, n - 1)
    leads, ends = first == 0, stop == n
    whole = (behind <= end) & (leads | (slot[before] < begin)) & (ends | (slot[after] >= behind))
    if arena:
        # Within an image, by neighbours in the same image.
        leads |= (slot[before] != slot[first]) | (start[before] < begin)
        ends |= (slot[after] != slot[first]) | (start[after] >= behind)
        whole = np.where(space > 0, leads & ends, whole)
    return Siblings(first, stop, above).take(whole.nonzero()[0])
