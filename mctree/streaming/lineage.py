"""Who stands in for a node that is not there yet?  Its ancestors: those on the timeline, and those within its image.

The parent of a node follows by division.  Two things have to be known of the tree: where the timeline ends, because a
node above level 1 exists only if its whole span was placed, and at which block each image stands, because the parent of
what an image's root was expanded into is that block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE, TEXT, World, cover
from mctree.streaming.nodes import Columns, Nodes

__all__ = ["Family", "Ground", "Lineage", "roots"]


class _Grafts(Protocol):
    @property
    def block(self) -> NDArray[np.int64]: ...
    @property
    def level(self) -> NDArray[np.int64]: ...


class Family(Protocol):
    """What nodes are expanded into: the children of one after those of the other, cut at `bounds`."""

    @property
    def nodes(self) -> Columns:
        """The children."""
        ...

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Where those of each node begin, and how many there are in all: `int64 [n + 1]`."""
        ...


class Ground(Protocol):
    """What a working context stands on, as far as streaming asks about it: see `mctree.focus.Ground`."""

    @property
    def world(self) -> World:
        """What exists of the timeline."""
        ...

    @property
    def grafts(self) -> _Grafts:
        """The images of the timeline: the block that each takes, ascending, and the level of its root."""
        ...

    def tail_nodes(self) -> Columns:
        """Unfinished blocks, behind all others."""
        ...

    def children(self, nodes: Any) -> Family:
        """What entries above level 0 are expanded into: all children that exist, in order."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Lineage:
    """Who is whose parent, at one commit.

    Attributes:
        end: the position behind all that was placed on the timeline.
        block: the blocks that images take, ascending: `int64 [k]`.
        root: the levels of their roots: `int64 [k]`.
    """

    end: int
    block: NDArray[np.int64]
    root: NDArray[np.int64]

    @classmethod
    def of(cls, ground: Ground) -> Lineage:
        """That of a ground."""
        return cls(ground.world.positions, ground.grafts.block, ground.grafts.level)

    def parents(self, nodes: Nodes) -> tuple[Nodes, NDArray[np.bool_]]:
        """The parent of each node, and which have one; what is said of the others means nothing.

        The parent of an unfinished block, and of a node whose parent was not wholly placed, is none.
        """
        arena = nodes.space > 0
        level = nodes.level + 1
        space = nodes.space
        index = nodes.index // TEXT.block
        if arena.any():
            index = np.where(arena, nodes.index // np.where(nodes.level > 0, IMAGE.fanout(1), IMAGE.block), index)
            block = nodes.slot // TEXT.block
            root = arena & (level == self._root_at(block))
            space, level = np.where(root, 0, space), np.where(root, 1, level)
            index = np.where(root, block, index)
            arena = space > 0
        width = Nodes(space, level, index, nodes.slot).widths()
        # Divided, not multiplied: what ends beyond all trees must not overflow.
        placed = arena | (index < self.end // width)
        has = placed & (level <= np.where(arena, IMAGE.max_level, TEXT.max_level))
        return Nodes(space, level, index, np.where(arena, nodes.slot, index * width)), has

    def _root_at(self, block: NDArray[np.int64]) -> NDArray[np.int64]:
        """The level of the root of the image at each block, -1 where there is none: `int64 [n]`."""
        if not len(self.block):
            return np.full(len(block), -1, np.int64)
        found = np.minimum(np.searchsorted(self.block, block), len(self.block) - 1)
        return np.where(self.block[found] == block, self.root[found], -1)


def roots(ground: Ground) -> Nodes:
    """The coarsest nodes that cover everything, unfinished blocks included: what exists is one or lies below one."""
    cut = cover(TEXT, 0, world=ground.world)
    level, index = cut.level.astype(np.int64), cut.index.astype(np.int64)
    top = Nodes(np.zeros(len(level), np.int64), level, index, index * np.asarray(TEXT.width(level)))
    return Nodes.joined([top, Nodes.of(ground.tail_nodes())])
