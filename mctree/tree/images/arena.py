"""What exists of the arena, and what does each of its nodes hold?  Answers for whole arrays of nodes at once.

A tile exists if one of its patches does: whoever shows an image in parts shows whole tiles.  So what exists is one run
of positions for each stretch of tiles along the Z-curve, read from the pages of level 1: a record for every 64 × 64
tiles in which something is, once for a snapshot, when it is first asked for.

A closed node, which was made from an overview and has nothing below it, stands for all positions under it: these exist,
and no node below it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError
from mctree.format.images import ARENA
from mctree.geometry import IMAGE, Address, Leaves, World, intervals, morton
from mctree.tree.images.closed import closed_nodes
from mctree.tree.images.pages import Located, PageReader, set_bits
from mctree.tree.images.places import Places
from mctree.tree.rows import Rows

__all__ = ["Arena", "ArenaExtents"]


@dataclass(frozen=True, slots=True)
class ArenaExtents:
    """What nodes of images hold.

    Attributes:
        patches: patches with a real pixel, `int64 [n]`.
        x: their mean column, counted in patches from the image's first, `float64 [n]`.
        y: their mean row, `float64 [n]`.
        width: columns that they reach over, `int64 [n]`.
        height: rows, `int64 [n]`.
        children: nodes below that exist, `int64 [n]`; of a tile, its patches; of a closed node, none.
        document: the documents of their images, `int64 [n]`.
    """

    patches: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    children: NDArray[np.int64]
    document: NDArray[np.int64]


class Arena:
    """The arena as one snapshot sees it; made by `Gallery.arena`.

    Args:
        places: its images.
        pages: which nodes exist.
        positions: how many positions were given to images.
        statistics: the arrays of statistics by number of channels, from LOD0 on.
        rows: gives the rows of an array.
    """

    def __init__(
        self,
        places: Places,
        pages: PageReader,
        positions: int,
        statistics: dict[int, tuple[int, ...]],
        rows: dict[int, Rows],
    ) -> None:
        self._places = places
        self._pages = pages
        self._positions = positions
        self._statistics = statistics
        self._rows = rows

    @cached_property
    def closed(self) -> Leaves:
        """The closed nodes of all images."""
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for root, arrays, bases in self._coarse():

            def find(level: int, index: NDArray[np.int64], arrays: tuple[int, ...] = arrays) -> Located:
                return self._pages.find(arrays[level], index)

            for base in bases:
                for level, index in closed_nodes(find, base, root):
                    found.append((index * IMAGE.width(level), np.full(len(index), level)))
        start, level_of = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(start)
        return Leaves(IMAGE, start[order], level_of[order])

    def _coarse(self) -> Iterator[tuple[int, tuple[int, ...], list[int]]]:
        """Images of which something was made from overviews: the level of the root, their arrays, and their bases."""
        grafts = self._places.grafts
        for channels, root in sorted(set(zip(grafts["channels"].tolist(), grafts["level"].tolist(), strict=True))):
            arrays = self._statistics[channels]
            if root < len(arrays):
                some = grafts[(grafts["channels"] == channels) & (grafts["level"] == root)]
                bases = some["base"].astype(np.int64)
                coarse = self._pages.find(arrays[root], bases // IMAGE.width(root)).overview
                yield root, arrays, bases[coarse].tolist()

    @cached_property
    def world(self) -> World:
        """What exists, in whole tiles and closed nodes."""
        parts = [np.empty(0, np.int64)]
        for arrays in self._statistics.values():
            for pages in self._pages.pages(arrays[1], 0, -(-self._positions // IMAGE.block)):
                tiles = set_bits(pages["page"].astype(np.int64), np.ascontiguousarray(pages["present"]))
                parts.append(tiles[self._places.at(tiles * IMAGE.block) >= 0])
        tiles = np.sort(np.concatenate(parts))
        there = intervals.normalise(
            np.concatenate([np.column_stack([tiles, tiles + 1]) * IMAGE.block, self.closed.spans])
        )
        return World(self._positions, intervals.complement(there, 0, self._positions))

    def extents(self, level: NDArray[np.int64], index: NDArray[np.int64]) -> ArenaExtents:
        """What nodes of levels from 1 up hold, which must exist, in any order.

        Raises:
            NotFoundError: one does not exist.
        """
        n = len(level)
        width = np.array(IMAGE.widths, np.int64)[level]
        which = self._places.at(index * width)
        made = np.zeros((7, n))
        children = np.zeros(n, np.int64)
        for depth, mine, arrays in self._groups(level, which):
            found = self._pages.find(arrays[depth], index[mine]) if depth < len(arrays) else None
            if found is None or not found.present.all():
                missing = mine if found is None else mine[~found.present]
                raise NotFoundError(f"node {Address(ARENA, depth, int(index[missing[0]]))} does not exist")
            made[:, mine] = self._rows[arrays[depth]].gather(found.row)[:, 1:8].T
            children[mine] = made[0, mine] if depth == 1 else self._children(arrays, depth, index[mine])
            if depth == 1 and found.overview.any():
                children[mine] = np.where(found.overview, 0, children[mine])  # a tile with patches is complete
        patches = made[0].astype(np.int64)
        reach = made[3:7].astype(np.int64)
        return ArenaExtents(
            patches,
            made[1] / patches,
            made[2] / patches,
            reach[2] - reach[0],
            reach[3] - reach[1],
            children,
            self._places.grafts["document"][which].astype(np.int64),
        )

    def patches(self, tiles: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The patches that exist in tiles, of one tile after the other: their indices, columns and rows: `int64 [m]`.

        Args:
            tiles: the indices of tiles that exist, `int64 [n]`.

        Raises:
            NotFoundError: one lies in no image.
        """
        index = (tiles[:, None] * IMAGE.block + np.arange(IMAGE.block)).reshape(-1)
        which = self._places.at(index)
        there = np.zeros(len(index), np.bool_)
        for _, mine, arrays in self._groups(np.zeros_like(index), which):
            there[mine] = self._pages.find(arrays[0], index[mine]).present
        found = index[there]
        x, y = morton.decode(found - self._places.grafts["base"][which[there]].astype(np.int64))
        return found, x, y

    def _groups(
        self, level: NDArray[np.int64], which: NDArray[np.intp]
    ) -> Iterator[tuple[int, NDArray[np.intp], tuple[int, ...]]]:
        """Nodes that lie in the same array: their level, which of them, and the arrays of their statistics."""
        if len(which) and int(which.min()) < 0:
            raise NotFoundError("some nodes of the arena belong to no image that lives")
        channels = self._places.grafts["channels"][which].astype(np.int64)
        for depth, kind in sorted(set(zip(level.tolist(), channels.tolist(), strict=True))):
            yield depth, np.flatnonzero((level == depth) & (channels == kind)), self._statistics[kind]

    def _children(self, arrays: tuple[int, ...], level: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        fanout = IMAGE.fanout(level - 1)
        below: Located = self._pages.find(arrays[level - 1], (index[:, None] * fanout + np.arange(fanout)).reshape(-1))
        count: NDArray[np.int64] = np.add.reduce(below.present.reshape(-1, fanout), axis=1, dtype=np.int64)
        return count
