"""How does more of an image come to be known than was asked for first?  Block by block, beside what is there.

A region is made fine where it is coarse, and read down to its pixels where nobody has looked yet; tiles of which
something is known are left alone, but for those of a block that others of them lack.  What is to be done is seen from
the store alone: so it can be broken off at any commit and asked for again.

What of an image was looked at is recorded as one rectangle: it and the region, where these make one and nothing in the
image is coarse, else the larger of them.  Beside it, nodes that the region holds and that have nothing are marked as
empty, the largest such.  They are looked for along so much of the region's edge: of what is behind that, where the edge
is very long, nothing is known then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mctree.format.images import ImageRecord
from mctree.geometry import IMAGE
from mctree.sources.images import Box
from mctree.tree.images.blocks import blocks_from
from mctree.tree.images.canvas import Canvas
from mctree.tree.images.checkpoints import Checkpoints
from mctree.tree.images.deepening import Deepening
from mctree.tree.images.makers import Workers, made
from mctree.tree.images.overviews import Views, codes
from mctree.tree.images.patches import TILE_PIXELS

__all__ = ["Extending", "joined"]

_AT_ONCE = 1 << 12
"""Nodes that are looked at in one call."""
_MOST_ALONG = 1 << 12
"""Nodes without anything that are looked into because a part of them is of the region."""


@dataclass
class Extending:
    """One go at making a region of an image known down to its pixels.

    Attributes:
        canvas: the image.
        views: what its source shows of it.
        within: the region, of whole tiles.
        checkpoints: commits on the way.
        changed: whether the next commit has something to say of it.
    """

    canvas: Canvas
    views: Views
    within: Box
    checkpoints: Checkpoints
    changed: bool = False

    def run(self, workers: Workers) -> ImageRecord:
        """Do it.

        Args:
            workers: who makes rows of blocks.

        Returns:
            What is to be recorded of the image.

        Raises:
            SourceError: the source cannot be read.
        """
        canvas = self.canvas
        deepening = Deepening(canvas, self.views, self.within, 0, self.checkpoints)
        deepening.run(workers)
        recipe, read = self.views.recipe(0, whole=True), False
        for _, part in made(self._unknown(), self.views.full, recipe, workers):
            read = True
            canvas.put_part(part, self.checkpoints.changed)
            self.checkpoints.passed(1)
        self.checkpoints.settle()
        self.changed = bool(deepening.opened or read)
        root = np.array([canvas.first(canvas.record.level)])
        if canvas.book.find(canvas.book.array(canvas.statistics, canvas.record.level), root).overview[0]:
            self._mark_empty(self.within)
            return canvas.record
        before = Box(*canvas.record.region)
        known = joined(before, self.within)
        for looked_at in (before, self.within):
            if not known.holds(looked_at):
                self._mark_empty(looked_at)
        found = replace(canvas.record, region=(known.x0, known.y0, known.x1, known.y1))
        self.changed = self.changed or found != canvas.record
        return found

    def _mark_empty(self, within: Box) -> None:
        """Let nodes that have nothing, in a box all of which was looked at, be known to have nothing."""
        canvas, raster = self.canvas, self.views.raster
        waiting, along = [(canvas.record.level, np.zeros(1, np.int64))], 0
        while waiting:
            level, nodes = waiting.pop()
            x0, y0, x1, y1 = raster.boxes(level, nodes).T
            meets = (x0 < within.x1) & (within.x0 < x1) & (y0 < within.y1) & (within.y0 < y1)
            held = (within.x0 <= x0) & (x1 <= within.x1) & (within.y0 <= y0) & (y1 <= within.y1)
            array = canvas.book.array(canvas.statistics, level)
            found = canvas.book.find(array, nodes + canvas.first(level))
            lacking = meets & ~found.present & ~found.empty
            empty = nodes[lacking & held]
            if len(empty):
                canvas.book.mark_empty(array, empty + canvas.first(level))
                self.changed = True
            if level > 1:
                along += int((lacking & ~held).sum())
                further = meets & (found.present | lacking & ~held & (along <= _MOST_ALONG))
                fanout = IMAGE.fanout(level - 1)
                below = (nodes[further, None] * fanout + np.arange(fanout)).reshape(-1)
                waiting += [(level - 1, below[at : at + _AT_ONCE]) for at in range(0, len(below), _AT_ONCE)]

    def _unknown(self) -> Iterator[tuple[int, Box]]:
        """The blocks of the region in which there are tiles of which nothing is known, and may be pixels."""
        canvas, known = self.canvas, Box(*self.canvas.record.region)
        array, first = canvas.book.array(canvas.statistics, 1), canvas.first(1)
        for at, box in blocks_from(self.views.source, self.within, canvas.record.order, 0):
            tiles = codes(box, TILE_PIXELS)
            left, top, right, bottom = self.views.raster.boxes(1, tiles).T
            found = canvas.book.find(array, tiles + first)
            seen = (left >= known.x0) & (top >= known.y0) & (right <= known.x1) & (bottom <= known.y1)
            if not (seen | found.present | found.empty).all():
                yield at, box


def joined(known: Box, more: Box) -> Box:
    """The rectangle that two make, if they do; else the larger one of them, the first of like ones."""
    around = Box(min(known.x0, more.x0), min(known.y0, more.y0), max(known.x1, more.x1), max(known.y1, more.y1))
    both = known.common(more)
    if around.area == known.area + more.area - (0 if both is None else both.area):
        return around
    return more if more.area > known.area else known
