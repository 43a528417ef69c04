"""What is the tree?  Nothing but its fan-outs: who is above, below, and what a node spans follow by division.

Level 0 holds the positions of the timeline (tokens) or of an arena (patches in Z-order).  Node `i` of level `l`
stands for the positions `[i * width(l), (i + 1) * width(l))`, so a subtree is one interval of positions, in one
dimension and in two alike, and no pointer is ever stored.

Nothing is assumed about what is stored: a shape is the endless tree, and which of its nodes exist is a matter for
`mctree.geometry.cut`.  Fan-outs need not be powers of two.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, repeat, takewhile
from typing import overload

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.geometry.integers import LIMIT, Integers, Level, Whole, like, whole

__all__ = ["IMAGE", "TEXT", "Shape"]


@dataclass(frozen=True)
class Shape:
    """An implicit tree.

    All methods take Python integers or arrays (`int64`, `uint64`) and answer in kind; an array of levels broadcasts
    against an array of indices.  All raise `UsageError` on negative numbers, on a level above `max_level`, and on a
    node whose span would end beyond 2**63 - 1.

    Attributes:
        fanouts: entry `l` is the number of nodes of level `l` under one of level `l + 1`; the last entry repeats
            for ever.  Repetitions of it are dropped, so that equal trees are equal.
    """

    fanouts: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            fanouts = [operator.index(fanout) for fanout in self.fanouts]
        except TypeError:
            raise UsageError("the fan-outs of a tree must be integers") from None
        if not fanouts or min(fanouts) < 2:
            raise UsageError(f"every fan-out of a tree must be at least 2, not {fanouts}")
        while fanouts[-1:] == fanouts[-2:-1]:
            fanouts.pop()
        object.__setattr__(self, "fanouts", tuple(fanouts))
        if self.max_level < len(fanouts):
            raise UsageError(f"fan-outs {fanouts} multiply to more than 63 bits hold")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """LOD0 positions under one node, by level, for as many levels as stay below 2**63."""
        endless = chain(self.fanouts, repeat(self.fanouts[-1]))
        return tuple(takewhile(LIMIT.__ge__, accumulate(endless, operator.mul, initial=1)))

    @cached_property
    def _widths(self) -> NDArray[np.int64]:
        return np.array(self.widths, dtype=np.int64)

    @cached_property
    def _capacities(self) -> NDArray[np.int64]:
        return LIMIT // self._widths

    @property
    def max_level(self) -> int:
        """The highest level: that of the widest node which 63 bits can span."""
        return len(self.widths) - 1

    @property
    def block(self) -> int:
        """The positions of one LOD1 node: a block of tokens, a tile of patches."""
        return self.fanouts[0]

    def fanout(self, level: int) -> int:
        """How many nodes of `level` one node of `level + 1` has below it."""
        return self.fanouts[min(int(whole(level, "level", self.max_level)), len(self.fanouts) - 1)]

    @overload
    def width(self, level: int) -> int: ...
    @overload
    def width(self, level: Level) -> Whole: ...
    def width(self, level: Level) -> Whole:
        """How many LOD0 positions one node of `level` spans (an `int64` array for an array of levels)."""
        checked = whole(level, "level", len(self.widths))
        if isinstance(checked, int):
            return self.widths[checked]
        return self._widths[checked]

    @overload
    def capacity(self, level: int) -> int: ...
    @overload
    def capacity(self, level: Level) -> Whole: ...
    def capacity(self, level: Level) -> Whole:
        """How many nodes of `level` end at or below 2**63 - 1; legal indices are below it."""
        checked = whole(level, "level", len(self.widths))
        if isinstance(checked, int):
            return LIMIT // self.widths[checked]
        return self._capacities[checked]

    def ancestor(self, level: Level, index: Integers, to_level: Level) -> Integers:
        """Index at `to_level` of the node that contains node `(level, index)`, itself where the levels are equal."""
        if np.any(to_level < level):
            raise UsageError(f"an ancestor of level {to_level} cannot stand above level {level}")
        return like(self._index(level, index) // (self.width(to_level) // self.width(level)), index)

    def parent(self, level: Level, index: Integers) -> Integers:
        """Index at `level + 1` of the node that contains node `(level, index)`."""
        return self.ancestor(level, index, level + 1)

    def descendants(self, level: Level, index: Integers, to_level: Level) -> tuple[Integers, Integers]:
        """Indices `(first, stop)` of the run of nodes of `to_level` that make up node `(level, index)`."""
        if np.any(to_level > level):
            raise UsageError(f"descendants of level {to_level} cannot stand below level {level}")
        run = self.width(level) // self.width(to_level)
        first = self._index(level, index) * run
        return like(first, index), like(first + run, index)

    def children(self, level: Level, index: Integers) -> tuple[Integers, Integers]:
        """Indices `(first, stop)` at `level - 1` of the children of node `(level, index)`."""
        if np.any(level == 0):
            raise UsageError("a node of level 0 has no children")
        return self.descendants(level, index, level - 1)

    def span(self, level: Level, index: Integers) -> tuple[Integers, Integers]:
        """The LOD0 positions `(start, stop)` that node `(level, index)` stands for."""
        width = self.width(level)
        start = self._index(level, index) * width
        return like(start, index), like(start + width, index)

    def node_at(self, level: Level, position: Integers) -> Integers:
        """Index of the node of `level` whose span holds `position`."""
        return like(whole(position, "position") // self.width(level), position)

    def complete(self, level: Level, positions: Integers) -> Integers:
        """How many nodes of `level` have their whole span in `[0, positions)`."""
        return like(whole(positions, "number of positions") // self.width(level), positions)

    def top(self, positions: Integers) -> Integers:
        """The highest level that has a complete node in `[0, positions)`; 0 if none has."""
        placed = whole(positions, "number of positions")
        level = np.maximum(np.searchsorted(self._widths, placed, side="right") - 1, 0)
        return like(int(level) if isinstance(placed, int) else level.astype(np.int64), positions)

    def _index(self, level: Level, index: Integers) -> Whole:
        return whole(index, "index", self.capacity(level))


TEXT = Shape((32,))
"""The text timeline: a block is 32 tokens, every node above has 32 children."""

IMAGE = Shape((64, 4))
"""An arena of patches in Z-order: a tile is 8 × 8 patches, every node above is 2 × 2 of those below it."""
