"""How does more of an image come to be known than was asked for first?  Block by block, beside what is there.

A region is made fine where it is coarse, and read down to its pixels where nobody has looked yet; tiles of which
something is known are left alone, but for those of a block that others of them lack.  What is to be done is seen from
the store alone: so it can be broken off at any commit and asked for again.

What of an image was looked at is recorded as one rectangle.  It grows where it and the region make one, once nothing in
the image is coarse.  Beside it, what has no pixels is known only tile by tile, where it was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mctree.format.images import ImageRecord
from mctree.sources.images import Box, Pixels
from mctree.tree.images.blocks import blocks_from
from mctree.tree.images.canvas import Canvas
from mctree.tree.images.checkpoints import Checkpoints
from mctree.tree.images.deepening import Deepening
from mctree.tree.images.overviews import Part, Views, codes
from mctree.tree.images.patches import TILE_PIXELS
from mctree.tree.images.threads import made

__all__ = ["Extending", "joined"]


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

    def run(self, workers: int) -> ImageRecord:
        """Do it.

        Args:
            workers: threads that make rows of blocks.

        Returns:
            What is to be recorded of the image.

        Raises:
            SourceError: the source cannot be read.
        """
        canvas, source = self.canvas, self.views.source
        deepening = Deepening(canvas, self.views, self.within, 0, self.checkpoints)
        deepening.run(workers)

        def make(box: Box, pixels: Pixels) -> Part:
            return self.views.made(0, box, pixels, whole=True)

        read = False
        for _, part in made(self._unknown(), source.read, make, workers):
            read = True
            canvas.put_part(part, self.checkpoints.changed)
            self.checkpoints.passed(1)
        self.checkpoints.settle()
        self.changed = bool(deepening.opened or read)
        root = np.array([canvas.first(canvas.record.level)])
        if canvas.book.find(canvas.book.array(canvas.statistics, canvas.record.level), root).overview[0]:
            return canvas.record
        known = joined(Box(*canvas.record.region), self.within)
        found = replace(canvas.record, region=(known.x0, known.y0, known.x1, known.y1))
        self.changed = self.changed or found != canvas.record
        return found

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
