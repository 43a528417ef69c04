"""What does a node look like before its pixels were read?  As in the smaller versions of the image that a source has.

A version that is `f` times smaller shows a node of level `1 + log2 f` as a *tile* of 8 × 8 patches: so it is read, cut
and encoded as any other tile is (`patches.paint`).  What it cannot know is how many pixels the node has, and where:
each pixel of the version is taken for a square of `f × f` like pixels, without what would lie outside the image.  Sums
over these are what the node's statistics say until they are made of what lies below it.

Of the versions that show a node in full, the coarsest is taken, and a finer one where that shows nothing.  Where it is
finer than the node needs (a source has no version between), all that it shows below the node comes along with it.

Everything is a function of a source and a place: whoever looks, writer or reader, finds the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mctree.errors import SourceError
from mctree.geometry import PATCH, Raster, morton
from mctree.sources.images import Box, ImageSource, Pixels
from mctree.sources.images.protocol import Watching, copies_read_cheaply
from mctree.tree.images.asking import may_show, read_pixels
from mctree.tree.images.blocks import blocks_from
from mctree.tree.images.patches import BLOCK_LEVEL, TILE_PIXELS, Block, Coder, paint

__all__ = ["Part", "Version", "Views", "codes", "own_level", "version_for"]

_AREA = TILE_PIXELS**2
_MOST_BLOCKS = 1 << 6
"""Blocks that are read for one node, which is made of 4,096 tiles of a version at most."""


def own_level(factor: int) -> int:
    """The level whose nodes are the tiles of a version that is so much smaller."""
    return factor.bit_length()


def version_for(source: ImageSource, level: int) -> int:
    """The coarsest of a source's versions that shows nodes of a level, 1 or more, in full: an index into `levels`."""
    return max(k for k, factor in enumerate(source.levels) if own_level(factor) <= level)


def codes(box: Box, side: int) -> NDArray[np.int64]:
    """The Z-order codes, ascending, of the squares of a side that meet a box, counted from the image's first."""
    x, y = np.meshgrid(np.arange(box.x0 // side, -(-box.x1 // side)), np.arange(box.y0 // side, -(-box.y1 // side)))
    return np.sort(morton.encode(x.ravel(), y.ravel()))


class Version:
    """One of the sizes in which a source has an image.

    Args:
        source: has it.
        k: which: an index into `source.levels`.
    """

    def __init__(self, source: ImageSource, k: int) -> None:
        self.factor = source.levels[k]
        self.height, self.width = -(-source.height // self.factor), -(-source.width // self.factor)
        self._source, self._k = source, k

    @property
    def box(self) -> Box:
        """All of it."""
        return Box(0, 0, self.width, self.height)

    def inside(self, region: Box) -> Box:
        """The pixels of this version that meet a region of the image."""
        f = self.factor
        return Box(region.x0 // f, region.y0 // f, -(-region.x1 // f), -(-region.y1 // f))

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """All of a box, in pixels of this version, if it or a finer one may show something there."""
        for k in range(self._k, -1, -1):
            scale = self.factor // self._source.levels[k]
            finer = Box(*(scale * edge for edge in (box.x0, box.y0, box.x1, box.y1)))
            some = finer.common(Version(self._source, k).box)
            if some is not None and may_show(self._source, some, k):
                yield box
                return

    @property
    def copies(self) -> bool:
        """Whether a copy in another process, if it can be pickled, reads boxes for what they cost here."""
        return copies_read_cheaply(self._source)

    def read(self, box: Box) -> Pixels:
        """The pixels of a box of this version."""
        return read_pixels(self._source, box, self._k)

    def was_read(self, box: Box) -> None:
        """A copy of it has read a box."""
        if isinstance(self._source, Watching):
            self._source.was_read(box, self._k)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


@dataclass(frozen=True, slots=True)
class Part:
    """What some pixels of a version have become.

    Attributes:
        level: that of its tiles.
        box: which pixels, of the version.
        block: the rows.
        overview: whether what lies below the tiles is not there; else they are of level 1, and their patches are.
    """

    level: int
    box: Box
    block: Block
    overview: bool

    @property
    def every(self) -> NDArray[np.int64]:
        """The tiles that it speaks of, whether there is something in them or not."""
        return codes(self.box, TILE_PIXELS)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What pixels of a version become: a function of these alone, for any thread or process.

    Attributes:
        raster: of the image.
        factor: by how much the version is smaller.
        coders: the gist sets that are to have gists of it.
        keep: whether to compress the pixels.
        whole: of the image itself, with its patches.
    """

    raster: Raster
    factor: int
    coders: tuple[Coder, ...]
    keep: bool
    whole: bool

    def __call__(self, box: Box, pixels: Pixels) -> Part:
        """Of the pixels of a box, in pixels of the version, which begins at a multiple of a tile."""
        block = paint(box, pixels, self.coders, keep=self.keep)
        if self.factor > 1:
            statistics = _statistics(self.raster, self.factor, box, pixels, block.tiles.index)
            block = replace(block, tiles=replace(block.tiles, statistics=statistics))
        # Made here, where there may be others to make them.
        patches = block.patches.summed() if self.whole else block.patches
        block = replace(block, patches=patches, tiles=block.tiles.summed())
        return Part(own_level(self.factor), box, block, overview=not self.whole)


class Views:
    """An image as its source shows it, from any distance.

    Args:
        source: of its pixels.
        coders: the gist sets that are to have gists of it.
        keep: whether to compress pixels that are read at full size.
    """

    def __init__(self, source: ImageSource, coders: Sequence[Coder], *, keep: bool) -> None:
        self.source = source
        self.full = Version(source, 0)
        self.raster = Raster(source.height, source.width)
        self._coders = tuple(coders)
        self._keep = keep

    def node(self, level: int, code: int) -> list[Part]:
        """What shows a node: parts that between them hold all that is seen of it, the node's own row left out.

        Args:
            level: the node's, 1 or more.
            code: its number, counted from the image's first of that level.

        Raises:
            SourceError: it cannot be read, or not without reading more than a node is worth.
        """
        k = version_for(self.source, level)
        return list(self._parts(k, level, code, whole=k == 0 and level <= BLOCK_LEVEL))

    def children(self, level: int, code: int) -> list[Part]:
        """What shows the children of a node of level 2 or more: the same, read in one go.

        Raises:
            SourceError: as `node`.
        """
        k = version_for(self.source, level - 1)
        return list(self._parts(k, level, code, whole=k == 0 and level - 1 <= BLOCK_LEVEL))

    def leaf(self, level: int, code: int) -> Part:
        """What showed a node that has nothing below it, when it was made.

        Raises:
            SourceError: the source has no version that shows it, or none that still does.
        """
        k = version_for(self.source, level)
        version = Version(self.source, k)
        box = _tile(code).common(version.box) if own_level(version.factor) == level else None
        part = None if box is None else self.part(k, box)
        if part is None or not len(part.block.tiles.index):
            raise SourceError(f"{self.source.uri!r:.200} does not show a node of level {level} any more that it showed")
        return part

    def part(self, k: int, box: Box, *, whole: bool = False) -> Part:
        """What a box of a version becomes.

        Args:
            k: which version: an index into the source's `levels`.
            box: in pixels of it; begins at a multiple of a tile.
            whole: of the image itself, with its patches.
        """
        return self.recipe(k, whole=whole)(box, read_pixels(self.source, box, k))

    def recipe(self, k: int, *, whole: bool = False) -> Recipe:
        """How pixels of a version become what `part` gives, once they were read."""
        return Recipe(self.raster, self.source.levels[k], self._coders, self._keep and whole, whole)

    def rest(self, k: int, part: Part) -> Iterator[Part]:
        """What finer versions show of the tiles of a part of version `k` of which that shows nothing."""
        if k:
            for code in np.setdiff1d(part.every, part.block.tiles.index, assume_unique=True).tolist():
                yield from self._parts(k - 1, part.level, code, whole=k == 1 and part.level <= BLOCK_LEVEL)

    def _parts(self, k: int, level: int, code: int, *, whole: bool) -> Iterator[Part]:
        """What version `k` shows of a node, and finer ones where that shows nothing.

        Patches take 64 times the room of tiles: they come along (`whole`) where no more is read than some blocks.
        """
        version = Version(self.source, k)
        x, y = morton.decode(code)
        side = TILE_PIXELS << (level - own_level(version.factor))
        box = Box(x * side, y * side, (x + 1) * side, (y + 1) * side).common(version.box)
        if box is None:
            return
        blocks = list(islice(blocks_from(version, box, "z", 0), _MOST_BLOCKS + 1))
        if len(blocks) > _MOST_BLOCKS:
            raise SourceError(
                f"{self.source.uri!r:.200} has no version between 1 : {version.factor} and 1 : {1 << level - 1}: "
                f"too much would have to be read for a node of level {level}; begin with a finer level"
            )
        for _, some in blocks:
            part = self.part(k, some, whole=whole)
            yield part
            yield from self.rest(k, part)


def _tile(code: int) -> Box:
    """A tile of a version, by its number."""
    x, y = (int(axis) * TILE_PIXELS for axis in morton.decode(code))
    return Box(x, y, x + TILE_PIXELS, y + TILE_PIXELS)


def _statistics(raster: Raster, factor: int, box: Box, pixels: Pixels, tiles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows of statistics of nodes that are tiles of a smaller version: `float64 [n, columns]`.

    Each row is summed by itself, in one order, so that it does not depend on what else was read.
    """
    x, y = (axis * TILE_PIXELS for axis in morton.decode(tiles))
    real = _squares(pixels.real()[..., None], box, x, y)[:, 0].astype(np.bool_)
    values = _squares(pixels.values, box, x, y).astype(np.float64)
    across, down = _lengths(x, factor, raster.width), _lengths(y, factor, raster.height)
    weight = np.where(real, down[:, :, None] * across[:, None, :], 0.0)
    weighed = values * weight[:, None]
    n, channels = values.shape[:2]
    sums = weighed.reshape(n, channels, _AREA).sum(axis=2)
    squares = (weighed * values).reshape(n, channels, _AREA).sum(axis=2)
    count = weight.reshape(n, _AREA).sum(axis=1)
    rows: NDArray[np.float64] = np.column_stack([count, _places(raster, factor, x, y, real), sums, squares])
    return rows


def _squares(values: NDArray[np.generic], box: Box, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.generic]:
    """The tiles of a box that begin at some pixels of the version, filled up with 0: `[n, channels, 128, 128]`."""
    found = np.zeros((len(x), values.shape[2], TILE_PIXELS, TILE_PIXELS), values.dtype)
    for tile, left, top in zip(found, (x - box.x0).tolist(), (y - box.y0).tolist(), strict=True):
        part = values[top : top + TILE_PIXELS, left : left + TILE_PIXELS]
        tile[:, : part.shape[0], : part.shape[1]] = np.moveaxis(part, 2, 0)
    return found


def _lengths(first: NDArray[np.int64], factor: int, size: int) -> NDArray[np.float64]:
    """Of 128 pixels of a version from each on, how many pixels of the image they are long: `float64 [n, 128]`."""
    at = (first[:, None] + np.arange(TILE_PIXELS)) * factor
    lengths: NDArray[np.float64] = np.clip(size - at, 0, factor).astype(np.float64)
    return lengths


def _places(
    raster: Raster, factor: int, x: NDArray[np.int64], y: NDArray[np.int64], real: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How many patches real pixels of a version lie in, sums of their columns and rows, and the box of them."""
    n, step = len(x), max(PATCH // factor, 1)
    cells = TILE_PIXELS // step
    there = np.logical_or.reduce(real.reshape(n, cells, step, cells, step), axis=(2, 4)).astype(np.float64)
    rows, columns = raster.grid(0)
    (left, wide), (top, high) = (
        _patches(x // step, cells, factor, columns),
        _patches(y // step, cells, factor, rows),
    )
    along, beside = (there * wide[:, None]).sum(axis=2), (there * (wide * (left + (wide - 1) / 2))[:, None]).sum(axis=2)
    count, column = (along * high).sum(axis=1), (beside * high).sum(axis=1)
    row = (along * (high * (top + (high - 1) / 2))).sum(axis=1)
    some = there > 0
    x_some, y_some = some.any(axis=1), some.any(axis=2)
    reach = [
        np.where(x_some, left, np.inf).min(axis=1),
        np.where(y_some, top, np.inf).min(axis=1),
        np.where(x_some, left + wide, 0).max(axis=1),
        np.where(y_some, top + high, 0).max(axis=1),
    ]
    places: NDArray[np.float64] = np.column_stack([count, column, row, *reach])
    return places


def _patches(
    first: NDArray[np.int64], cells: int, factor: int, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first patch of each of so many cells of a tile, and how many patches it is wide: `float64 [n, cells]`."""
    wide = max(factor // PATCH, 1)
    start = (first[:, None] + np.arange(cells)) * wide
    return start.astype(np.float64), np.clip(size - start, 0, wide).astype(np.float64)
