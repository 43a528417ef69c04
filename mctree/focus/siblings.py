"""Which entries can be collapsed into one?  All children of a node, where every one of them is an entry.

Entries cover what exists, in order and once.  So all that is needed is a look at neighbours: a run of entries of one
level under one node is all of its children, unless the entry before the run, or the one behind it, lies
under that node as well and is of another level.  Nothing is assumed about how entries came to be where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import Entries, Nodes
from mctree.focus.ground import BLOCK, TILE, Grafts, widths
from mctree.focus.runs import Runs
from mctree.geometry import IMAGE

__all__ = ["Siblings", "siblings"]

_BLOCK_BITS = BLOCK.bit_length() - 1
"""A shift by these divides by 32, in a third of the time."""


@dataclass(frozen=True, eq=False, slots=True)
class Siblings(Runs):
    """Runs of entries that are all children of a node, each.

    Attributes:
        above: the index of the node above, within its level, `int64 [g]`.
    """

    above: NDArray[np.int64]

    @classmethod
    def none(cls) -> Siblings:
        """No runs."""
        return cls(np.empty((0, 2), np.int64), np.empty(0, np.int64))

    def take(self, which: NDArray[np.integer[Any]]) -> Siblings:
        """Some of them, ascending."""
        return Siblings(self.bounds.take(which, axis=0), self.above.take(which))

    def gain(self, entries: Entries) -> NDArray[np.int64]:
        """By how much collapsing each would lower the cost: `int64 [g]`."""
        return self.total(entries.cost) - 1

    def reach(self, entries: Entries) -> NDArray[np.int64]:
        """The position of the timeline behind each run: `int64 [g]`."""
        last = self.stop - 1
        return np.where(entries.space[last] > 0, entries.slot[last] + BLOCK, entries.stop[last])

    def nodes(self, entries: Entries, grafts: Grafts) -> Nodes:
        """The nodes above: an image's slot for all that its root was expanded into."""
        first = self.first
        space, level, index = entries.space[first], entries.level[first] + 1, self.above
        if not len(grafts):
            return Nodes.of_timeline(level, index, index * widths(space, level))
        slot = entries.slot[first]
        graft = np.where(space > 0, grafts.at(slot // BLOCK), -1)
        root = (graft >= 0) & (grafts.level[graft] == level)
        space, level = np.where(root, 0, space), np.where(root, 1, level)
        index = np.where(root, slot // BLOCK, index)
        slot = np.where(space == 0, index * widths(space, level), slot)
        return Nodes.made(len(self), space=space, level=level, index=index, slot=slot)


def siblings(entries: Entries, end: int) -> Siblings:
    """All runs that can be collapsed.

    Args:
        entries: a cut of all that exists.
        end: the position behind all that was placed on the timeline.
    """
    n = len(entries)
    if not n:
        return Siblings.none()
    space, level, slot = entries.space, entries.level, entries.slot
    arena = np.count_nonzero(space) > 0
    above = entries.index >> _BLOCK_BITS  # of the timeline, where a node of any level has that many children
    if arena:
        above = np.where(space > 0, entries.index // np.where(level > 0, IMAGE.fanout(1), TILE), above)
    begins = np.empty(n, np.bool_)
    begins[0] = True
    np.not_equal(above[1:], above[:-1], out=begins[1:])
    begins[1:] |= level[1:] != level[:-1]
    if arena:
        # What an image's root was expanded into belongs together by its slot, and to the timeline.
        begins[1:] |= (space[1:] != space[:-1]) | ((space[1:] > 0) & (slot[1:] != slot[:-1]))
    first = begins.nonzero()[0]
    space, above, place = space.take(first), above.take(first), slot.take(first)
    wide = widths(space, level.take(first) + 1)
    begin = above * wide
    behind = begin + wide
    # A run that is next to another one lies under that one's parent with all of its entries, or with none.
    whole = behind <= end
    whole[1:] &= place[:-1] < begin[1:]
    whole[:-1] &= place[1:] >= behind[:-1]
    if arena:
        # Within an image, by neighbours in the same image.
        start = entries.start.take(first)
        apart = place[1:] != place[:-1]
        alone = np.ones(len(first), np.bool_)
        alone[1:] &= apart | (start[:-1] < begin[1:])
        alone[:-1] &= apart | (start[1:] >= behind[:-1])
        whole = np.where(space > 0, alone, whole)
    bounds = np.empty((len(first), 2), np.int64)
    bounds[:, 0], bounds[:-1, 1], bounds[-1, 1] = first, first[1:], n
    return Siblings(bounds, above).take(whole.nonzero()[0])
