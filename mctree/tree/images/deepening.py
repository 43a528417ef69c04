"""How does an image become finer where it is coarse?  From the root down, each node by all of its children at once.

A node that was made from an overview and has nothing below it is *closed*.  It is opened by what its source shows of
its children, each from the coarsest version that shows it in full; a node no larger than a block, all of which is
wanted, by its pixels.  So at every commit the children of a node are there all at once or not at all, what is above
them is made of them, and an image of any size is refined as far as somebody looks, in any order.

What is to be done is seen from the store alone: so it can be broken off at any commit and asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE
from mctree.sources.images import Box, Pixels
from mctree.tree.images.canvas import Canvas, Changed
from mctree.tree.images.overviews import Part, Views
from mctree.tree.images.patches import BLOCK_LEVEL
from mctree.tree.images.threads import made

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
        opened: how many nodes were opened.
    """

    canvas: Canvas
    views: Views
    region: Box
    finest: int
    opened: int = 0
    _work: float = 0.0
    _changed: Changed = field(default_factory=dict)
    """Nodes that were put down and above which nothing was made yet."""

    def run(self, commit_every: int | None, workers: int, commit: Callable[[], object]) -> None:
        """Do it.

        Args:
            commit_every: blocks of pixels from one commit to the next; None: no commits.
            workers: threads that make rows of blocks.
            commit: commits; what is above all that was put down has been made.

        Raises:
            SourceError: the source cannot be read, shows nothing of the image any more, or has no version that fits.
        """

        def complete(box: Box, pixels: Pixels) -> Part:
            return self.views.made(0, box, pixels, whole=True)

        def checkpoint(work: float) -> None:
            self._work += work
            if commit_every is not None and self._work >= commit_every:
                self._settle()
                commit()
                self._work = 0

        root = self._visit(self.canvas.record.level, 0, checkpoint)
        for _, part in made(root, self.views.source.read, complete, workers):
            self.canvas.put_part(part, self._changed)
            checkpoint(1)
        self._settle()

    def _settle(self) -> None:
        """Make what is above all that was put down."""
        if self._changed:
            self.canvas.raise_changed(self._changed)
            self._changed.clear()
            self.canvas.require_root()

    def _visit(self, level: int, code: int, checkpoint: Callable[[float], None]) -> Iterator[tuple[int, Box]]:
        """The closed nodes below a node whose pixels are to be read; those above these are opened on the way.

        Args:
            level: the node's.
            code: its number, counted from the image's first of that level.
            checkpoint: called when something was opened; may commit.
        """
        canvas, book = self.canvas, self.canvas.book
        box = self._box(level, code)
        if level <= self.finest or box is None or box.common(self.region) is None:
            return
        found = book.find(book.array(canvas.statistics, level), np.array([code + canvas.first(level)]))
        if not found.present[0] or not found.overview[0]:
            return
        fanout = IMAGE.fanout(level - 1)
        children = np.arange(code * fanout, (code + 1) * fanout)
        below = book.find(book.array(canvas.statistics, level - 1), children + canvas.first(level - 1))
        if not below.present.any():
            self.opened += 1
            if level == 1 or (level <= BLOCK_LEVEL and not self.finest and self.region.holds(box)):
                yield self.opened, box
                return
            self._open(level, children)
            checkpoint(1 / _OPENED_FOR_A_BLOCK)
        if level > 1:
            for child in children.tolist():
                yield from self._visit(level - 1, child, checkpoint)

    def _open(self, level: int, children: NDArray[np.int64]) -> None:
        """Put down what the source shows of the children of a closed node, above level 1."""
        canvas, seen = self.canvas, Changed()
        inside = [child for child in children.tolist() if self._box(level - 1, child) is not None]
        for part in self.views.children(level, int(children[0]) // len(children)):
            canvas.put_part(part, seen)
        canvas.raise_changed(seen, top=level - 1)
        array, nodes = canvas.book.array(canvas.statistics, level - 1), np.array(inside) + canvas.first(level - 1)
        canvas.book.mark_empty(array, nodes[~canvas.book.find(array, nodes).present])
        self._changed.setdefault(level - 1, []).append(nodes)

    def _box(self, level: int, code: int) -> Box | None:
        """The pixels of a node; None if it lies outside the image."""
        x0, y0, x1, y1 = self.views.raster.boxes(level, np.array([code]))[0].tolist()
        return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
