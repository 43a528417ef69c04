"""What does a working context hold of an image?  Nodes of different sizes, as a picture with their outlines.

The context is one of the whole tree.  What of the image is worth detail is what varies, by the deviation of its
colours, or whatever meets a region; all else stays as coarse as it can be.  Tiles at LOD0 are drawn by their patches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mctree import Snapshot
from mctree.cli.escaping import one_line
from mctree.cli.formatting import number, plural
from mctree.cli.painting import fitting, paint, save
from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import Allocator, Entries, Lens, Look, RegionLens, WorkingContext, converge
from mctree.geometry import IMAGE, TEXT
from mctree.sources.images import Box
from mctree.tree import Image

__all__ = ["draw_context"]

_LEAST_EDITS, _STEPS = 64, 256
"""Edits of a step at least, and in about how many steps a budget is spent: the fewer edits, the better chosen."""
_ENOUGH = 1 << 40
"""A budget that the way down to any image fits into."""


def draw_context(snapshot: Snapshot, image: Image, path: str, *, budget: int, region: Box | None, longest: int) -> str:
    """Draw an image as a working context holds it; what it holds, in words.

    Args:
        snapshot: of which commit.
        image: one of its images.
        path: of the file, the ending of which says in which format.
        budget: what all entries may cost together, those of the rest of the tree included.
        region: the part that is wanted in detail; None: wherever colours vary.
        longest: pixels on the longer side of the picture.

    Raises:
        UsageError: the region reaches beyond the image.
        BudgetTooSmall: not even the smallest cover of the tree fits, or not what it takes to get down to the image.
    """
    whole = Box(0, 0, image.width, image.height)
    if region is not None and not whole.holds(region):
        raise UsageError(f"{one_line(image.name)} is {image.width} × {image.height} pixels: {region} reaches beyond it")
    context = _context(snapshot, budget, _DetailLens(image) if region is None else RegionLens(image, region))
    if not _of_image(image, context.entries).any():
        needed = _context(snapshot, _ENOUGH, _WayLens(image)).cost
        raise BudgetTooSmall(
            f"a budget of {budget} is too small to get down to {one_line(image.name)}: that costs {needed}", needed
        )
    level, index, colours = _nodes(image, context.entries)
    size = fitting(whole, longest)
    shown = colours / np.iinfo(image.dtype).max
    save(paint(image.raster, level, index, shown, whole, size, outlines=True), path)
    mine = context.entries.take(_of_image(image, context.entries))
    counts = [f"{number(int(count))} × LOD{one}" for one, count in enumerate(np.bincount(mine.level)) if count]
    return (
        f"{size[1]} × {size[0]} pixels, as a working context of {number(context.cost)} holds it: "
        f"{plural(len(mine), 'entry', 'entries')} ({', '.join(counts)})"
    )


def _context(snapshot: Snapshot, budget: int, lens: Lens) -> WorkingContext:
    """What a lens makes of the coarsest view."""
    rules = Allocator(max_edits=max(_LEAST_EDITS, budget // _STEPS), threshold=0.0, cooldown=0)
    context = WorkingContext.smallest(snapshot, budget, rules)
    for _ in converge(context, lens):
        pass
    return context


class _WayLens:
    """Wants the way down to one image: the nodes of the timeline above the block that it takes."""

    def __init__(self, image: Image) -> None:
        self._slot = image.block * TEXT.block

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`."""
        entries = look.entries
        above = (entries.space == 0) & (entries.level > 1)
        return np.where(above & (entries.start <= self._slot) & (self._slot < entries.stop), 1.0, 0.0)


class _DetailLens:
    """Wants the way down to one image, and detail of it where its colours vary; it wants nothing to be coarser."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._way = _WayLens(image)

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`."""
        image = self._image
        rows, level, index = _nodes_of(image, look.entries)
        wished = self._way.score(look)
        for one in set(level.tolist()):
            some = np.flatnonzero(level == one)
            deviation = image.statistics(one, index[some]).deviation.max(axis=1)
            wished[rows[some]] = 2 * deviation / np.iinfo(image.dtype).max
        return wished


def _of_image(image: Image, entries: Entries) -> NDArray[np.bool_]:
    """Which entries are the image's slot, or lie in it."""
    slot = entries.slot == image.block * TEXT.block
    mine: NDArray[np.bool_] = slot & ((entries.space > 0) | (entries.level == 1))
    return mine


def _nodes_of(image: Image, entries: Entries) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of entries of the image, and the nodes that they are: a slot is its root, a tile at LOD0 is its tile."""
    rows = np.flatnonzero(_of_image(image, entries))
    slot = entries.space[rows] == 0
    level = np.where(slot, image.root, np.maximum(entries.level[rows], 1))
    tile = (entries.level[rows] == 0) & ~slot
    index = np.where(tile, entries.index[rows] // IMAGE.block, entries.index[rows])
    return rows, level, np.where(slot, image.first(image.root), index)


def _nodes(image: Image, entries: Entries) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """What is drawn: levels, nodes counted from the image's first, in Z-order, and their mean colours `[n, c]`."""
    rows, level, index = _nodes_of(image, entries)
    fine = entries.level[rows] == 0
    below = (index[fine][:, None] * IMAGE.block + np.arange(IMAGE.block)).reshape(-1)
    below = below[image.find(0, below).present]
    levels = np.concatenate((level[~fine], np.zeros(len(below), np.int64)))
    nodes = np.concatenate((index[~fine], below))
    colours = np.zeros((len(nodes), image.channels))
    for one in set(levels.tolist()):
        some = levels == one
        colours[some] = image.statistics(one, nodes[some]).mean
        nodes[some] -= image.first(one)
    order = np.argsort(IMAGE.span(levels, nodes)[0])
    return levels[order], nodes[order], colours[order]
