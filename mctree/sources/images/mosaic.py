"""How do pieces of one size make up a box?  Each is fetched once, and its part of the box is copied.

A level is laid out in a grid of pieces (tiles, strips, chunks) from its left upper corner on; pieces at the right and
lower edge may reach beyond the level.  What is held at a time is the box and one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.sources.images.protocol import LARGEST_SIDE, Box, Pixels, PixelValues

__all__ = ["Layout", "assembled", "factor_between"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A level cut into pieces.

    Attributes:
        height: pixels of the level.
        width: pixels of the level.
        piece_height: pixels of each piece.
        piece_width: pixels of each piece.
    """

    height: int
    width: int
    piece_height: int
    piece_width: int

    @property
    def rows(self) -> int:
        """Pieces from top to bottom."""
        return -(-self.height // self.piece_height)

    @property
    def columns(self) -> int:
        """Pieces from left to right."""
        return -(-self.width // self.piece_width)

    def cells(self, box: Box) -> tuple[int, int, int, int]:
        """The pieces that share pixels with a box: rows `[r0, r1)` and columns `[c0, c1)`; none if none does."""
        r1 = min(-(-box.y1 // self.piece_height), self.rows)
        c1 = min(-(-box.x1 // self.piece_width), self.columns)
        return min(box.y0 // self.piece_height, r1), r1, min(box.x0 // self.piece_width, c1), c1

    def box(self, row: int, column: int) -> Box:
        """The pixels of the level that a piece has."""
        y0, x0 = row * self.piece_height, column * self.piece_width
        return Box(x0, y0, min(x0 + self.piece_width, self.width), min(y0 + self.piece_height, self.height))

    def pieces(self, box: Box) -> Iterator[tuple[int, int]]:
        """Row and column of each piece that shares pixels with a box."""
        r0, r1, c0, c1 = self.cells(box)
        for row in range(r0, r1):
            for column in range(c0, c1):
                yield row, column


def assembled(
    box: Box,
    layout: Layout,
    channels: int,
    dtype: np.dtype[Any],
    fetch: Callable[[int, int, Box], PixelValues | None],
) -> Pixels:
    """The pixels of a box of a level.

    Args:
        box: of the level; what lies beyond the layout is masked.
        layout: of the level.
        channels: of the level.
        dtype: of the level.
        fetch: gives a part of the piece at a row and column, as `[part.height, part.width, channels]`, the part being
            in pixels of the piece; None where there is no such piece.
    """
    values: NDArray[Any] = np.zeros((box.height, box.width, channels), dtype)
    mask = np.zeros((box.height, box.width), np.bool_)
    for row, column in layout.pieces(box):
        whole = layout.box(row, column)
        part = whole.common(box)
        assert part is not None
        pixels = fetch(row, column, part.seen_from(whole))
        if pixels is not None:
            here = part.seen_from(box).slices
            values[here] = pixels
            mask[here] = True
    return Pixels(values, None if mask.all() else mask)


def factor_between(whole: Layout, smaller: Layout) -> int | None:
    """By which power of two, 2 or more, a level is smaller than another, rounded up or down; None if by none."""
    for power in range(1, LARGEST_SIDE.bit_length()):
        factor = 1 << power
        if smaller.height in (whole.height // factor, -(-whole.height // factor)) and smaller.width in (
            whole.width // factor,
            -(-whole.width // factor),
        ):
            return factor
    return None
