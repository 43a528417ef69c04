"""How does an image become finer where it is coarse?  From the root down, each node by all of its children at once.

A node that was made from an overview and has nothing below it is *closed*.  It is opened by what its source shows of
its children, each from the coarsest version that shows it in full; a node no larger than a block, all of which is
wanted, by its pixels.  So at every commit the children of a node are there all at once or not at all, what is above
them is made of them, and an image of any size is refined as far as somebody looks, in any order.

What is to be done is seen from the store alone: so it can be broken off at any commit and asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE
from mctree.sources.images import Box
from mctree.tree.images.canvas import Canvas, Changed
from mctree.tree.images.checkpoints import Checkpoints
from mctree.tree.images.makers import Workers, made
from mctree.tree.images.overviews import Views
from mctree.tree.images.patches import BLOCK_LEVEL

__all__ = ["Deepening"]

_OPENED_FOR_A_BLOCK = 16
"""Nodes that are opened from overviews count as much as a block of pixels: so much is read for them, about."""


@dataclass
class Deepening:
    """One go at making a region of an image finer.

    Attributes:
        canvas: the image.
        views: what its source shows of it.
        region: where, in pixels.
        finest: the level down to which: nodes of this level may stay closed.
        checkpoints: commits on the way.
        opened: how many nodes were opened.
    """

    canvas: Canvas
    views: Views
    region: Box
    finest: int
    checkpoints: Checkpoints
    opened: int = 0

    def run(self, workers: Workers) -> None:
        """Do it.

        Args:
            workers: who makes rows of blocks.

        Raises:
            SourceError: the source cannot be read, shows nothing of the image any more, or has no version that fits.
        """
        recipe = self.views.recipe(0, whole=True)
        for _, part in made(self._closed(), self.views.full, recipe, workers):
            self.canvas.put_part(part, self.checkpoints.changed)
            self.checkpoints.passed(1)
        self.checkpoints.settle()

    def _closed(self) -> Iterator[tuple[int, Box]]:
        """The closed nodes of the region whose pixels are to be read; those above these are opened on the way."""
        canvas, level = self.canvas, self.canvas.record.level
        whole = Box(0, 0, canvas.record.width, canvas.record.height)
        root = canvas.book.find(canvas.book.array(canvas.statistics, level), np.array([canvas.first(level)]))
        if level > self.finest and root.present[0] and root.overview[0] and whole.common(self.region) is not None:
            yield from self._visit(level, 0, whole)

    def _visit(self, level: int, code: int, box: Box) -> Iterator[tuple[int, Box]]:
        """The same, below a node that was made from an overview, is not to stay closed and meets the region.

        What is known of its children does not change while others are visited, which change what is below and above
        themselves: so it is asked for once.

        Args:
            level: the node's.
            code: its number, counted from the image's first of that level.
            box: its pixels.
        """
        canvas, book = self.canvas, self.canvas.book
        fanout = IMAGE.fanout(level - 1)
        children = np.arange(code * fanout, (code + 1) * fanout)
        array, nodes = book.array(canvas.statistics, level - 1), children + canvas.first(level - 1)
        below = book.find(array, nodes)
        closed = not below.present.any()
        if closed:
            self.opened += 1
            if level == 1 or (level <= BLOCK_LEVEL and not self.finest and self.region.holds(box)):
                yield self.opened, box
                return
        elif level == 1:
            return
        boxes = self.views.raster.boxes(level - 1, children)
        x0, y0, x1, y1 = boxes.T
        inside = (x0 < x1) & (y0 < y1)
        if closed:
            self._open(level, code, nodes[inside])
            self.checkpoints.passed(1 / _OPENED_FOR_A_BLOCK)
            below = book.find(array, nodes)
        if level - 1 > self.finest:
            region = self.region
            meets = inside & (x0 < region.x1) & (region.x0 < x1) & (y0 < region.y1) & (region.y0 < y1)
            for child in np.flatnonzero(meets & below.present & below.overview).tolist():
                yield from self._visit(level - 1, int(children[child]), Box(*boxes[child].tolist()))

    def _open(self, level: int, code: int, nodes: NDArray[np.int64]) -> None:
        """Put down what the source shows of the children of a closed node, above level 1.

        Args:
            level: the node's.
            code: its number, counted from the image's first of that level.
            nodes: its children that lie in the image, in the arena.
        """
        canvas, seen = self.canvas, Changed()
        for part in self.views.children(level, code):
            canvas.put_part(part, seen)
        canvas.raise_changed(seen, top=level - 1)
        array = canvas.book.array(canvas.statistics, level - 1)
        missing = nodes[~canvas.book.find(array, nodes).present]
        if len(missing):
            canvas.book.mark_empty(array, missing)
        self.checkpoints.changed.setdefault(level - 1, []).append(nodes)
