"""Where do the rows of one image go while it is worked on?  Into the arrays of its statistics and of its gist sets.

Whatever shows a part of an image (a block of its pixels, or of a smaller version) is put down here, and what stands
above is made of it.  A node that was looked at and has no pixels is known to be empty from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.errors import SourceError
from mctree.format.images import ImageRecord
from mctree.geometry import IMAGE, PATCH, Raster
from mctree.sources.images import Box
from mctree.storage.rows import distinct
from mctree.tree.images.book import Book
from mctree.tree.images.closed import closed_nodes
from mctree.tree.images.families import Family
from mctree.tree.images.merging import raise_changed, raise_levels
from mctree.tree.images.overviews import Part, codes
from mctree.tree.images.pages import Located
from mctree.tree.images.patches import TILE_PIXELS, Block, Coder

__all__ = ["Canvas", "Changed"]

_ABOVE = IMAGE.fanout(1)

Changed = dict[int, list[NDArray[np.int64]]]
"""Nodes that were put down, in the arena, by their level."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """One image that is worked on.

    Attributes:
        book: what the next commit says of images.
        record: of the image.
        statistics: the arrays of its statistics.
        coders: the gist sets that are to have gists of it, and their arrays.
        unknown: the arrays of other sets, which may have gists of it that cannot be made here and now.
        block: the block of the timeline that it takes, if it has one already.
    """

    book: Book
    record: ImageRecord
    statistics: Family
    coders: tuple[tuple[Coder, Family], ...]
    unknown: tuple[Family, ...] = ()
    block: int | None = None

    def first(self, level: int) -> int:
        """The index in the arena of the image's first node of a level."""
        return self.record.base // IMAGE.width(level)

    def put(self, box: Box, block: Block) -> NDArray[np.int64]:
        """Put down the rows of a block of pixels; its tiles, in the arena."""
        every = codes(box, TILE_PIXELS)
        gone = np.setdiff1d(every, block.tiles.index, assume_unique=True)
        patches = codes(box, PATCH)
        patches = patches[np.isin(patches // IMAGE.block, block.tiles.index)]
        missing = np.setdiff1d(patches, block.patches.index, assume_unique=True)
        tile, patch, book = self.first(1), self.record.base, self.book
        for family, (lower, lower_sums), (upper, upper_sums) in zip(
            self._families(), block.patches.rows(), block.tiles.rows(), strict=True
        ):
            arrays = book.array(family, 0), book.array(family, 1)
            left = self._left(arrays[0], gone + tile)
            absent = np.sort(np.concatenate([missing + patch, left]))
            book.put(arrays[0], block.patches.index + patch, lower, absent, sums=lower_sums)
            book.put(arrays[1], block.tiles.index + tile, upper, gone + tile, sums=upper_sums)
        if self.record.kept:
            book.keep(block.tiles.index + tile, block.pieces, gone + tile)
        return every + tile

    def put_part(self, part: Part, changed: Changed) -> None:
        """Put down what a version shows of some nodes, and note these."""
        if not part.overview:
            changed.setdefault(1, []).append(self.put(part.box, part.block))
            return
        first, tiles, book = self.first(part.level), part.block.tiles, self.book
        every = part.every
        gone = np.setdiff1d(every, tiles.index, assume_unique=True) + first
        overview = np.ones(len(tiles.index), np.bool_)
        for family, (rows, sums) in zip(self._families(), tiles.rows(), strict=True):
            array = book.array(family, part.level)
            book.put(array, tiles.index + first, rows, gone, overview=overview, sums=sums)
        changed.setdefault(part.level, []).append(every + first)

    def raise_changed(self, changed: Changed, top: int | None = None) -> None:
        """Make anew what is above nodes that were put down, up to a level; up to the root if None."""
        nodes = {level: distinct(np.concatenate(parts)) for level, parts in changed.items()}
        raise_changed(self.book, self.record, self.statistics, self.coders, nodes, top=top)
        if top is None:
            for family in self.unknown:
                self._mark_stale(family, nodes)
            if self.block is not None and any("text" in coder.record.modalities for coder, _ in self.coders):
                self.book.slots_changed.add(self.block)

    def raise_levels(self, lowest: int, checkpoint: Callable[[], None]) -> None:
        """Make what is above all nodes of a level."""
        raise_levels(self.book, self.record, self.statistics, self.coders, checkpoint, lowest=lowest)

    def require_root(self) -> None:
        """Make sure that the image has a root.

        Raises:
            SourceError: it has none.
        """
        level, levels = self.record.level, self.statistics.numbers
        root = np.array([self.first(level)])
        if len(levels) <= level or not self.book.find(levels[level], root).present[0]:
            looked = Box(*self.record.region)
            where = "" if looked.area == self.record.height * self.record.width else f" in {looked}"
            raise SourceError(f"the image has no pixels{where}: there is nothing to show")

    def closed(self, within: Box) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The closed nodes of the image that meet a box of its pixels: see `closed_nodes`."""

        def find(level: int, index: NDArray[np.int64]) -> Located:
            return self.book.find(self.book.array(self.statistics, level), index)

        raster = Raster(self.record.height, self.record.width)
        return closed_nodes(find, self.record.base, self.record.level, (raster, within))

    def _families(self) -> Iterator[Family]:
        """The arrays of the statistics, then those of each set."""
        yield self.statistics
        yield from (family for _, family in self.coders)

    def _mark_stale(self, family: Family, changed: Mapping[int, NDArray[np.int64]]) -> None:
        """Let the gists of nodes that were put down, and of what is above and below them, be stale."""
        nodes = np.empty(0, np.int64)
        for level in range(1, min(self.record.level + 1, len(family.numbers))):
            fresh = changed.get(level, nodes[:0])
            fanout = IMAGE.fanout(level - 1)
            self.book.mark_stale(family.numbers[level - 1], (fresh[:, None] * fanout + np.arange(fanout)).reshape(-1))
            nodes = distinct(np.concatenate([nodes, fresh]))
            self.book.mark_stale(family.numbers[level], nodes)
            nodes = distinct(nodes // _ABOVE)

    def _left(self, array: int, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """The patches of tiles that had some, and have none any more."""
        below = (tiles[:, None] * IMAGE.block + np.arange(IMAGE.block)).reshape(-1)
        return below[self.book.find(array, below).present] if len(below) else below
