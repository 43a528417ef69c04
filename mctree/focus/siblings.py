"""Which entries can be collapsed into one?  All children of a node, where every one of them is an entry.

Entries cover what exists, in order and once.  So all that is needed is a look at neighbours: a run of entries of one
level under one node are all of its children, unless the entry before the run, or the one behind it, lies under that
node as well and is of another level.  Nothing is assumed about how entries came to be where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import SEVERAL, Entries, Nodes
from mctree.focus.ground import BLOCK, Grafts, widths

__all__ = ["Siblings", "siblings"]


@dataclass(frozen=True, eq=False, slots=True)
class Siblings:
    """Runs of entries that are all children of a node, in order.

    Attributes:
        first: the first entry of each run, `int64 [g]`.
        stop: the entry behind its last, `int64 [g]`.
        start: the first LOD0 position of the node above, in its own space, `int64 [g]`.
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def none(cls) -> Siblings:
        """No runs."""
        return cls(*(np.empty(0, np.int64) for _ in range(3)))

    def take(self, which: NDArray[np.integer[Any]]) -> Siblings:
        """Some of them."""
        return Siblings(self.first[which], self.stop[which], self.start[which])

    def warmest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest of the values of each run's entries: `float64 [g]`."""
        return self._reduced(np.maximum, values)

    def last(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """The last of the steps of each run's entries: `int64 [g]`."""
        return self._reduced(np.maximum, steps)

    def document(self, entries: Entries) -> NDArray[np.int64]:
        """The document of the node above each run: `SEVERAL` unless all entries have the same: `int64 [g]`."""
        least, most = (self._reduced(pick, entries.document) for pick in (np.minimum, np.maximum))
        return np.where(least == most, least, SEVERAL)

    def reach(self, entries: Entries) -> NDArray[np.int64]:
        """The position of the timeline behind each run: `int64 [g]`."""
        last = self.stop - 1
        return np.where(entries.space[last] > 0, entries.slot[last] + BLOCK, entries.stop[last])

    def _reduced(self, pick: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        if not len(self):
            return values[:0]
        # What lies between two runs is reduced as well, and left out; behind the last one nothing need be.
        bounds = np.empty(2 * len(self), np.int64)
        bounds[::2], bounds[1::2] = self.first, self.stop
        found: NDArray[Any] = pick.reduceat(values, bounds[:-1] if bounds[-1] == len(values) else bounds)[::2]
        return found

    def gain(self, entries: Entries) -> NDArray[np.int64]:
        """By how much collapsing each would lower the cost: `int64 [g]`."""
        return self._reduced(np.add, entries.cost) - 1

    def nodes(self, entries: Entries, grafts: Grafts) -> Nodes:
        """The nodes above: an image's slot for all that its root was expanded into."""
        space, slot = entries.space[self.first], entries.slot[self.first]
        level = entries.level[self.first] + 1
        index = self.start // widths(space, level)
        root = _under_root(grafts, space, level, slot)
        timeline = space == 0
        return Nodes.made(
            len(self),
            space=np.where(root, 0, space),
            level=np.where(root, 1, level),
            index=np.where(root, slot // BLOCK, index),
            slot=np.where(timeline, self.start, slot),
        )


def siblings(entries: Entries, end: int, grafts: Grafts) -> Siblings:
    """All runs that can be collapsed.

    Args:
        entries: a cut of all that exists.
        end: the position behind all that was placed on the timeline.
        grafts: the images of the timeline.
    """
    space, level, slot, start = entries.space, entries.level, entries.slot, entries.start
    if not len(entries):
        return Siblings.none()
    wide = widths(space, level + 1)
    above = start & -wide
    arena = bool(space.any())
    apart = (above[1:] != above[:-1]) | (level[1:] != level[:-1])
    if arena:
        # What an image's root was expanded into belongs together by its slot, and to the timeline.
        apart |= (space[1:] != space[:-1]) | ((space[1:] > 0) & (slot[1:] != slot[:-1]))
    breaks = np.flatnonzero(apart) + 1
    first, stop = np.concatenate(([0], breaks)), np.append(breaks, len(entries))
    before, behind = np.maximum(first - 1, 0), np.minimum(stop, len(entries) - 1)
    begin, end_above = above[first], above[first] + wide[first]
    whole = (end_above <= end) | (space[first] > 0)
    whole &= (first == 0) | (slot[before] < begin)
    whole &= (stop == len(entries)) | (slot[behind] >= end_above)
    if arena:
        whole = np.where(space[first] > 0, _whole_in_arena(entries, first, stop, begin, end_above), whole)
    kept = np.flatnonzero(whole)
    return Siblings(first[kept], stop[kept], begin[kept])


def _whole_in_arena(
    entries: Entries,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether runs are all children of a node of an arena, by their neighbours in the same image."""
    slot, start = entries.slot, entries.start
    before, behind = np.maximum(first - 1, 0), np.minimum(stop, len(entries) - 1)
    whole: NDArray[np.bool_] = (first == 0) | (slot[before] != slot[first]) | (start[before] < begin)
    whole &= (stop == len(entries)) | (slot[behind] != slot[first]) | (start[behind] >= end)
    return whole


def _under_root(
    grafts: Grafts, space: NDArray[np.int64], level: NDArray[np.int64], slot: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where the node of this level above entries that stand at `slot` is the root of an image."""
    root = np.zeros(len(space), np.bool_)
    if not len(grafts):
        return root
    graft = np.where(space > 0, grafts.at(slot // BLOCK), -1)
    inside = np.flatnonzero(graft >= 0)
    root[inside] = grafts.level[graft[inside]] == level[inside]
    return root
