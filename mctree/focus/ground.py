"""What does a working context stand on?  On what exists at one commit, of the timeline and of images grafted into it.

A ground says which nodes there are, which are whose children, and what each of them costs and where it sits.  An image
takes one block of the timeline, its *slot*: the slot is the image's root, and what it is expanded into lies in an
arena.  Unfinished blocks of open documents stand behind all that was placed, as blocks that are yet to come.

Everything here is for whole arrays of nodes.  What a node holds is for subclasses to say: `SnapshotGround` reads it
from a store, `mctree.testing.PaperGround` makes it up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import Facts, Nodes
from mctree.focus.rows import Integer, Rows
from mctree.geometry import IMAGE, TEXT, Leaves, World, intervals

__all__ = ["BLOCK", "TILE", "Children", "Grafts", "Ground", "Tails", "widths"]

BLOCK, TILE = TEXT.block, IMAGE.block
"""LOD0 positions of a block of the timeline, and of a tile of an arena."""

_ABOVE_ALL = 1 << 62
"""The width of a level that no tree has: no node of it exists."""

_LEVELS = 257
"""Levels that an address can name, and one above."""

_WIDTHS, _SPANS = np.full((2, 2 * _LEVELS), _ABOVE_ALL, np.int64)
_FANOUTS = np.ones(2 * _LEVELS, np.int64)
"""By level, for the timeline and then for arenas: LOD0 positions of a node and of an entry, and into how many entries
one is expanded.  At level 0 an entry is a whole block or tile, which is all that a gist of level 1 has below it."""
for _first, _shape in ((0, TEXT), (_LEVELS, IMAGE)):
    _levels = slice(_first, _first + len(_shape.widths))
    _WIDTHS[_levels] = _SPANS[_levels] = _shape.widths
    _SPANS[_first] = _shape.block
    _FANOUTS[_levels][2:] = [_shape.fanout(_level) for _level in range(1, _shape.max_level)]


class Grafts(Rows):
    """The images of a timeline, in its order: `int64 [k]` each.

    Attributes:
        block: the block that each one takes, ascending.
        space: the arena that its root lies in.
        level: the level of its root, 1 or more.
        index: the index of its root.
    """

    __slots__ = ()

    block = Integer()
    space = Integer()
    level = Integer()
    index = Integer()

    def at(self, block: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which graft takes each of the blocks, -1 where none does: `int64 [n]`."""
        if not len(self.block):
            return np.full(len(block), -1, np.int64)
        found = np.minimum(np.searchsorted(self.block, block), len(self.block) - 1)
        return np.where(self.block[found] == block, found, -1)


class Tails(Rows):
    """The unfinished blocks of open documents, in the order of their documents: `int64 [k]` each.

    Attributes:
        document: their documents.
        tokens: how many tokens each one holds, 1 to 32.
    """

    __slots__ = ()

    document = Integer()
    tokens = Integer()


@dataclass(frozen=True, slots=True)
class Children:
    """What nodes are expanded into.

    Attributes:
        nodes: the children of one after those of the other.
        bounds: where those of each begin, and how many there are in all, `int64 [n + 1]`.
    """

    nodes: Nodes
    bounds: NDArray[np.int64]


def widths(space: NDArray[np.int64], level: NDArray[np.int64]) -> NDArray[np.int64]:
    """LOD0 positions that a node spans: `int64 [n]`; more than any tree has where there is no such level."""
    return _WIDTHS.take(_places(space, level))


def _places(space: NDArray[np.int64], level: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where what is known by level stands."""
    return level + _LEVELS * (space > 0) if np.count_nonzero(space) else level


class Ground(ABC):
    """What exists at one commit, and what is known of it.

    Attributes:
        identity: equal for grounds on which an address means the same node: those of one epoch of one store.
        commit: its number; later ones are larger.
        world: what exists of the timeline.
        tails: what is still to be placed on it.
        grafts: its images.
    """

    identity: Hashable
    commit: int
    world: World
    tails: Tails
    grafts: Grafts

    @abstractmethod
    def arena(self, space: int) -> World:
        """What exists of an arena; `NotFoundError` if there is none of that number."""

    def leaves(self, space: int) -> Leaves | None:
        """Nodes of an arena below which nothing is there, for it was not fetched yet; None if there are none."""
        return None

    @abstractmethod
    def facts(self, nodes: Nodes, document: NDArray[np.int64]) -> Facts:
        """What is known of nodes that exist.

        Args:
            nodes: in any order.
            document: their documents as far as they are known, `UNKNOWN` where they have to be looked up.
        """

    @abstractmethod
    def tokens(self, first: int, stop: int) -> int:
        """Real, living tokens of the blocks [first, stop) of the timeline; the block of an image counts as one."""

    @property
    def end(self) -> int:
        """The position behind all that was placed, tails not included."""
        return self.world.positions

    def spans(self, nodes: Nodes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The LOD0 positions [start, stop) of their spaces that entries span."""
        place = _places(nodes.space, nodes.level)
        # What lies on the timeline stands where it begins.
        start = nodes.index * _WIDTHS.take(place) if len(self.grafts) else nodes.slot
        return start, start + _SPANS.take(place)

    def exist(self, nodes: Nodes) -> NDArray[np.bool_]:
        """Which nodes exist as entries: `bool [n]`; blocks and tiles exist if any of their positions does."""
        found = np.zeros(len(nodes), np.bool_)
        level = np.maximum(nodes.level, 1)
        unit = np.where(nodes.space > 0, TILE, BLOCK)
        index = np.where(nodes.level > 0, nodes.index, nodes.index // unit)
        aligned = (nodes.level > 0) | (nodes.index % unit == 0)
        for space in set(nodes.space.tolist()):
            shape, world = (IMAGE, self.arena(space)) if space else (TEXT, self.world)
            some = np.flatnonzero((nodes.space == space) & aligned & (level <= shape.max_level) & (index >= 0))
            some = some[index[some] < shape.capacity(level[some])]
            found[some] = world.exists(shape, level[some], index[some])
            if space and (leaves := self.leaves(space)) is not None:
                found[some] &= ~leaves.below(nodes.level[some], nodes.index[some])
        if len(self.tails):
            late = (nodes.space == 0) & (nodes.level == 0) & aligned
            found |= late & (nodes.index >= self.end) & (nodes.index < self.end + BLOCK * len(self.tails))
        return found

    def _living(self, nodes: Nodes) -> NDArray[np.bool_] | None:
        """Which nodes are there, where whatever is above them exists: `bool [n]`; None if all are."""
        if not len(self.grafts) and not len(self.world.dead):
            return None
        spaces = set(nodes.space.tolist())
        worlds = [(space, self.arena(space) if space else self.world) for space in spaces]
        leaves = {space: closed for space in spaces if space and (closed := self.leaves(space)) is not None}
        if not leaves and not any(len(world.dead) for _, world in worlds):
            return None
        spans = np.column_stack(self.spans(nodes))
        found = np.ones(len(nodes), np.bool_)
        for space, world in worlds:
            some = nodes.space == space
            found[some] = ~intervals.covers(world.dead, spans[some])
            if space in leaves:
                found[some] &= ~leaves[space].below(nodes.level[some], nodes.index[some])
        return found

    def tail_nodes(self) -> Nodes:
        """The unfinished blocks, as entries that stand behind all others."""
        first = self.end + BLOCK * np.arange(len(self.tails), dtype=np.int64)
        return Nodes.of_timeline(0, first, first)

    def children(self, nodes: Nodes) -> Children:
        """What entries above level 0 are expanded into: all children that exist, in order.

        A block or a tile for one of level 1, and the children of an image's root for its slot.  A leaf has none.
        """
        space, level, index, slot = nodes.space, nodes.level, nodes.index, nodes.slot
        if len(self.grafts):
            graft = np.where((space == 0) & (level == 1), self.grafts.at(index), -1)
            image = graft >= 0
            space, level, index = (
                np.where(image, there[graft], here)
                for there, here in zip(self.grafts.integers[1:], (space, level, index), strict=True)
            )
        place = _places(space, level)
        count, wide = _FANOUTS.take(place), _WIDTHS.take(place - 1)
        bounds = np.zeros(len(nodes) + 1, np.int64)
        bounds[1:] = count.cumsum()
        # A child's number within its level follows from where it begins, also at level 0, whose nodes are positions.
        number = index * (_WIDTHS.take(place) // wide) - bounds[:-1]
        columns = np.array((space, level - 1, number, wide)).repeat(count, axis=1)
        columns[2] += np.arange(columns.shape[1])
        columns[3] *= columns[2]
        if len(self.grafts):
            columns[3] = np.where(columns[0] > 0, slot.repeat(count), columns[3])
        made = Nodes(columns, np.empty((0, columns.shape[1])))
        exist = self._living(made)
        if exist is None or exist.all():
            return Children(made, bounds)
        before = np.concatenate(([0], np.cumsum(exist)))
        return Children(made.take(exist), before[bounds])
