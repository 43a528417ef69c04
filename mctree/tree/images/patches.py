"""What does a block of pixels become?  Rows of its patches and of its tiles: statistics, and gists of each set.

A *block* is what is read, encoded and committed at once: 8 × 8 tiles, 1024 pixels square, cut at the image's edges.
What it becomes is a function of its pixels and of its place alone: so blocks may be made in any order, by any number of
threads, and come out the same.  A patch without a real pixel does not exist, and neither does a tile without a patch.

Statistics are sums, in float64: exact for whole numbers up to 2^53, which a sum of squares of 16-bit pixels reaches at
a tile of 2 million pixels square, and rounded in the last place above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.patches import cut
from mctree.encoders.statistics import of_patches
from mctree.encoders.visual import VisualEncoder
from mctree.format.facts import GistSetRecord
from mctree.format.images import statistics_columns
from mctree.format.pixels import pack_pixels
from mctree.geometry import IMAGE, PATCH, morton
from mctree.sources.images import Box, Pixels
from mctree.storage.chunks import row_sums
from mctree.tree.building import single, stored

__all__ = ["BLOCK_LEVEL", "BLOCK_PIXELS", "TILE_PIXELS", "Block", "Coder", "Nodes", "merged", "paint"]

TILE_PIXELS = PATCH * morton.TILE
BLOCK_PIXELS = 8 * TILE_PIXELS
BLOCK_LEVEL = 4
"""The level of the node that a block is."""
_PATCHES_AT_ONCE = 1 << 11
"""Patches that are encoded in one call: the same number wherever they come from, and few enough for the caches.  Fewer
would let threads wait for one another: each call of NumPy hands the interpreter lock over and wants it back."""
_COORDINATES = slice(1, 8)
"""Of a row of statistics from level 1 up: patches, sums of columns and of rows, and the box that they reach over."""


@dataclass(frozen=True, slots=True)
class Coder:
    """A gist set that covers an image, and what encodes it."""

    record: GistSetRecord
    encoder: VisualEncoder


@dataclass(frozen=True, slots=True)
class Nodes:
    """Rows of nodes of one level.

    Attributes:
        index: `int64 [n]`, ascending: the nodes, counted from the image's first one.
        statistics: `float64 [n, columns]`.
        gists: for each gist set `[n, dim]`, as stored.
        sums: checksums of rows, `uint32 [n]` for the statistics and for each gist set; none where nobody made them yet.
    """

    index: NDArray[np.int64]
    statistics: NDArray[np.float64]
    gists: tuple[NDArray[Any], ...]
    sums: tuple[NDArray[np.uint32], ...] = ()

    def summed(self) -> Nodes:
        """The same with checksums."""
        return replace(self, sums=tuple(row_sums(rows) for rows in (self.statistics, *self.gists)))

    def rows(self) -> Iterator[tuple[NDArray[Any], NDArray[np.uint32] | None]]:
        """The statistics, then the gists of each set, with their checksums if these were made."""
        return zip_longest((self.statistics, *self.gists), self.sums)


@dataclass(frozen=True, slots=True)
class Block:
    """What a block of pixels has become.

    Attributes:
        patches: the rows of its patches.
        tiles: the rows of its tiles.
        pieces: the compressed pixels of each tile, in their order; none if they are not kept.
    """

    patches: Nodes
    tiles: Nodes
    pieces: tuple[bytes, ...]


def paint(box: Box, pixels: Pixels, coders: Sequence[Coder], *, keep: bool) -> Block:
    """Make the rows of a block.

    Args:
        box: which pixels of the image these are; begins at a multiple of a tile.
        pixels: those.
        coders: the gist sets that are to have gists of it.
        keep: whether to compress the pixels too.
    """
    values, real = pixels.values, pixels.real()
    found = cut(values, real)
    x, y = morton.decode(found.index)
    index = morton.encode(x + box.x0 // PATCH, y + box.y0 // PATCH)
    picture, mask = found.pixels, found.mask
    if (index[1:] < index[:-1]).any():  # a block that begins at a multiple of its size has them in order
        order = np.argsort(index)
        index, picture, mask = index[order], picture[order], mask[order]
    some = (slice(at, at + _PATCHES_AT_ONCE) for at in range(0, len(index), _PATCHES_AT_ONCE))
    parts = [_none(values.shape[2], coders), *(_patches(picture[rows], mask[rows], coders) for rows in some)]
    statistics = np.concatenate([part[0] for part in parts])
    gists = tuple(np.concatenate([part[1][i] for part in parts]) for i in range(len(coders)))
    patches = Nodes(index, statistics, gists)
    tiles = merged(1, patches, coders)
    pieces = tuple(_piece(box, values, real, tile) for tile in tiles.index.tolist()) if keep else ()
    return Block(patches, tiles, pieces)


def merged(level: int, children: Nodes, coders: Sequence[Coder]) -> Nodes:
    """The rows of all parents of some nodes.

    Args:
        level: the parents' level, 1 or more.
        children: all children of these parents that exist.
        coders: the gist sets.
    """
    if not len(children.index):
        channels = (children.statistics.shape[1] - (8 if level > 1 else 1)) // 2
        return Nodes(children.index, np.empty((0, statistics_columns(channels, level)), np.float64), children.gists)
    fanout = IMAGE.fanout(level - 1)
    parent, place = np.divmod(children.index, fanout)
    first = np.flatnonzero(np.diff(parent, prepend=-1))
    index = parent[first]
    which = np.repeat(np.arange(len(first)), np.diff(first, append=len(parent)))
    statistics = _added(children, first) if level > 1 else _placed(children, first)
    mask = np.zeros((len(index), fanout), np.bool_)
    mask[which, place] = True
    weight = np.zeros((len(index), fanout), np.float64)
    weight[which, place] = children.statistics[:, 0]
    gists = []
    for coder, below in zip(coders, children.gists, strict=True):
        vectors = np.zeros((len(index), fanout, coder.record.dim), np.float32)
        vectors[which, place] = single(below)
        made = coder.encoder.encode_tiles(level, vectors, mask, weight)
        gists.append(stored(coder.record, coder.encoder, level, made, len(index)))
    return Nodes(index, statistics, tuple(gists))


def _none(channels: int, coders: Sequence[Coder]) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """Statistics and gists of no patches."""
    gists = [np.empty((0, coder.record.dim), coder.record.dtype) for coder in coders]
    return np.empty((0, statistics_columns(channels, 0)), np.float64), gists


def _patches(
    pixels: NDArray[np.generic], mask: NDArray[np.bool_], coders: Sequence[Coder]
) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """Statistics and gists of some patches."""
    found = of_patches(pixels, mask)
    statistics = np.concatenate([found.count[:, None], found.sum, found.square], axis=1, dtype=np.float64)
    gists = [
        stored(coder.record, coder.encoder, 0, coder.encoder.encode_patches(pixels, mask), len(pixels))
        for coder in coders
    ]
    return statistics, gists


def _placed(patches: Nodes, first: NDArray[np.intp]) -> NDArray[np.float64]:
    """Statistics of tiles: those of their patches, and where these are."""
    sums = np.add.reduceat(patches.statistics, first)
    x, y = (axis.astype(np.float64) for axis in morton.decode(patches.index))
    additive = np.add.reduceat(np.column_stack([np.ones(len(x)), x, y]), first)
    low = np.minimum.reduceat(np.column_stack([x, y]), first)
    high = np.maximum.reduceat(np.column_stack([x, y]), first) + 1
    return np.concatenate([sums[:, :1], additive, low, high, sums[:, 1:]], axis=1)


def _added(children: Nodes, first: NDArray[np.intp]) -> NDArray[np.float64]:
    """Statistics of parents, from those of their children."""
    rows = children.statistics
    sums: NDArray[np.float64] = np.add.reduceat(rows, first)
    sums[:, 4:6] = np.minimum.reduceat(rows[:, 4:6], first)
    sums[:, 6:8] = np.maximum.reduceat(rows[:, 6:8], first)
    return sums


def _piece(box: Box, values: NDArray[Any], real: NDArray[np.bool_], tile: int) -> bytes:
    x, y = (int(axis) * TILE_PIXELS for axis in morton.decode(tile))
    inside = slice(y - box.y0, y - box.y0 + TILE_PIXELS), slice(x - box.x0, x - box.x0 + TILE_PIXELS)
    mask = real[inside]
    part = values[inside]
    return pack_pixels(part if mask.all() else np.where(mask[..., None], part, 0).astype(part.dtype), mask)
