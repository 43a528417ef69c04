"""In which order is an image ingested, and how far has it come?  In blocks that are numbered, so that one can go on.

A source that gives any box cheaply is read along the Z-curve, one that gives bands in rows of blocks.  Blocks in which
there can be no pixels are never looked at: they are found to be empty by descending from the whole image, a quarter at
a time, for as long as the source says that there may be something.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mctree.geometry import morton
from mctree.sources.images import Box
from mctree.tree.images.patches import BLOCK_PIXELS

__all__ = ["Extent", "blocks_from"]


class Extent(Protocol):
    """What of a source is needed to find its blocks."""

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        ...

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        ...

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """Where in a box there may be pixels."""
        ...


def blocks_from(source: Extent, within: Box, order: str, done: int) -> Iterator[tuple[int, Box]]:
    """The blocks of a part of an image that may hold pixels, in order, from number `done` on.

    Args:
        source: whose.
        within: the part: begins and ends at tiles, or at the image's edges.
        order: `z` or `rows`.
        done: the first number that is wanted.

    Yields:
        The number of a block, and its box, cut to the part.
    """
    columns, rows = -(-source.width // BLOCK_PIXELS), -(-source.height // BLOCK_PIXELS)
    if order == "z":
        x, y = within.x0 // BLOCK_PIXELS, within.y0 // BLOCK_PIXELS
        last = (within.x1 - 1) // BLOCK_PIXELS, (within.y1 - 1) // BLOCK_PIXELS
        top = max((x ^ last[0]).bit_length(), (y ^ last[1]).bit_length())  # of the least square that holds the part
        yield from _descend(source, within, top, int(morton.encode(x >> top, y >> top)), done)
        return
    for number in range(done, columns * rows):
        box = _box(number % columns, number // columns, 0).common(within)
        if box is not None and next(iter(source.covered(box)), None) is not None:
            yield number, box


def _descend(source: Extent, within: Box, order: int, square: int, done: int) -> Iterator[tuple[int, Box]]:
    """Blocks in the aligned square of side `2**order` blocks with this number along the Z-curve."""
    if (square + 1) << 2 * order <= done:
        return
    x, y = morton.decode(square)
    box = _box(x, y, order).common(within)
    if box is None or next(iter(source.covered(box)), None) is None:
        return
    if order == 0:
        yield square, box
        return
    for child in range(4 * square, 4 * square + 4):
        yield from _descend(source, within, order - 1, child, done)


def _box(x: int, y: int, order: int) -> Box:
    side = BLOCK_PIXELS << order
    return Box(x * side, y * side, (x + 1) * side, (y + 1) * side)
