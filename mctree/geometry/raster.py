"""Where in an image is a node, and which nodes does an image have?  Pixels to nodes and back.

An image of `height × width` pixels is a grid of patches of 16 × 16 pixels, numbered in Z-order from 0, and a quad-tree
over them: the tree of `mctree.geometry.shape.IMAGE`, cut off at the level where one node, the *root*, holds all.  Its
extent is a square of a power of two, so most images leave part of it empty: a node exists if it holds a pixel, and the
boxes of nodes at the right and lower edges are smaller than the others.  No pixel outside the image is ever counted.

Indices are relative to the image: in an arena, where an image lies at a base that is a multiple of its extent, add
`base // IMAGE.width(level)`.  Boxes are rows `x0, y0, x1, y1` of pixels at full resolution, half-open.  Everything is
vectorised, and exact for images of up to 2**31 pixels on a side.

Nothing is assumed about which of the pixels are known, nor about what a node holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.geometry import intervals, morton
from mctree.geometry.integers import Level, whole
from mctree.geometry.intervals import Intervals
from mctree.geometry.shape import IMAGE

__all__ = ["PATCH", "PIXEL_LIMIT", "Raster"]

PATCH = 16
"""Side of a patch in pixels."""

PIXEL_LIMIT = 2**31
"""An image has at most so many pixels on a side: then 63 bits count all of them."""


@dataclass(frozen=True)
class Raster:
    """The pixels, patches and nodes of one image.

    Attributes:
        height: rows of pixels, 1 … 2**31.
        width: columns of pixels, 1 … 2**31.

    Raises:
        UsageError: a side is out of range.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = int(whole(getattr(self, name), f"the {name} of an image", PIXEL_LIMIT + 1))
            if not side:
                raise UsageError(f"the {name} of an image must be at least one pixel")
            object.__setattr__(self, name, side)

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.grid(0)

    @cached_property
    def extent(self) -> int:
        """LOD0 positions that the image reserves: the least power of 4 that holds its patches, at least one tile."""
        return morton.extent(*self.grid(0))

    @cached_property
    def root(self) -> int:
        """The level of the one node that holds the whole image; 1 at least."""
        return IMAGE.top(self.extent)

    def side(self, level: int) -> int:
        """Pixels on a side of a whole node: 16, 128, 256, 512 and so on.

        Raises:
            UsageError: a level is below 0 or above that of the widest node of all images.
        """
        return PATCH << (IMAGE.width(level).bit_length() - 1) // 2

    def grid(self, level: int) -> tuple[int, int]:
        """Rows and columns of the nodes of a level that exist; `UsageError` as `side`."""
        side = self.side(level)
        return -(-self.height // side), -(-self.width // side)

    def boxes(self, level: Level, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The pixels of nodes, without what lies outside the image.

        Args:
            level: one for all, or `[n]`.
            index: `int64 [n]`.

        Returns:
            `int64 [n, 4]`: x0, y0, x1, y1; empty, with x0 = x1 or y0 = y1, for a node that does not exist.

        Raises:
            UsageError: a level is above the root, or an index outside the extent.
        """
        side = self._sides[whole(level, "a level of an image", self.root + 1)]
        nodes = self.extent // (side // PATCH) ** 2
        x, y = morton.decode(np.asarray(whole(index, "the index of a node of an image", nodes)))
        left, top = np.minimum(x * side, self.width), np.minimum(y * side, self.height)
        right, bottom = np.minimum(left + side, self.width), np.minimum(top + side, self.height)
        return np.stack(np.broadcast_arrays(left, top, right, bottom), axis=-1)

    def pixels(self, level: Level, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many pixels nodes have, `int64 [n]`; 0 for one that does not exist; `UsageError` as `boxes`."""
        boxes = self.boxes(level, index)
        return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])

    def nodes(self, level: int, box: tuple[int, int, int, int] | None = None, *, limit: int | None = None) -> Intervals:
        """The existing nodes of a level that hold a pixel of a box, or of the whole image.

        Their number of intervals, and the cost, grow with the box's perimeter in nodes.

        Args:
            level: which.
            box: x0, y0, x1, y1 in pixels; what of it lies outside the image does not count.
            limit: the most intervals to return; where there are more, a superset comes back (see `morton.ranges`),
                which may hold nodes that do not exist.

        Raises:
            UsageError: a level is above the root, a bound is negative, or the box ends before it starts.
        """
        whole(level, "a level of an image", self.root + 1)
        x0, y0, x1, y1 = (0, 0, self.width, self.height) if box is None else box
        for bound in (x0, y0, x1, y1):
            whole(bound, "a bound of a box")
        if x1 < x0 or y1 < y0:
            raise UsageError(f"box [{x0}, {x1}) × [{y0}, {y1}) ends before it starts")
        x1, y1 = min(x1, self.width), min(y1, self.height)
        if x0 >= x1 or y0 >= y1:
            return intervals.empty()
        side = self.side(level)
        return morton.ranges(x0 // side, y0 // side, -(-x1 // side), -(-y1 // side), limit=limit)

    @cached_property
    def _sides(self) -> NDArray[np.int64]:
        return np.array([self.side(level) for level in range(self.root + 1)])
