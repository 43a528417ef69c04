"""Where in Z-order is a patch?  The bits of its coordinates, interleaved: x in the even places, y in the odd.

Along the Z-curve every aligned square of side `2**k` is one run of `4**k` codes, so that images are trees over one
dimension.  Codes are spread and gathered by the parallel-prefix shifts of H. S. Warren, *Hacker's Delight* (2nd ed.,
§7-2), on `int64` without ever touching the sign.  Coordinates have up to 31 bits, codes up to 62.

Nothing is assumed about images but that one is a rectangle of patches whose first patch has the least code of its
extent: codes here are relative to that base.
"""

from __future__ import annotations

import numpy as np

from mctree.errors import UsageError
from mctree.geometry import intervals
from mctree.geometry.integers import Integers, Whole, like, whole

__all__ = ["SIDE_LIMIT", "TILE", "decode", "encode", "extent", "ranges"]

SIDE_LIMIT = 2**31
"""Coordinates are below this."""

TILE = 8
"""Side of a tile, the LOD1 node of images, in patches."""

_REFINED = 16
"""`ranges` stops dividing once this many times `limit` squares are partly covered; exactness needs 2 at least."""

_EVEN = 0x5555555555555555
_STEPS = (  # shift, the bits that are set before a spread, and after it
    (16, 0x00000000FFFFFFFF, 0x0000FFFF0000FFFF),
    (8, 0x0000FFFF0000FFFF, 0x00FF00FF00FF00FF),
    (4, 0x00FF00FF00FF00FF, 0x0F0F0F0F0F0F0F0F),
    (2, 0x0F0F0F0F0F0F0F0F, 0x3333333333333333),
    (1, 0x3333333333333333, _EVEN),
)


def encode(x: Integers, y: Integers) -> Integers:
    """The Z-order code of patch `(x, y)`.

    Raises:
        UsageError: a coordinate is negative or has more than 31 bits.
    """
    return like(_spread(whole(x, "x", SIDE_LIMIT)) | _spread(whole(y, "y", SIDE_LIMIT)) << 1, x)


def decode(z: Integers) -> tuple[Integers, Integers]:
    """The patch `(x, y)` of a Z-order code.

    Raises:
        UsageError: the code is negative or has more than 62 bits.
    """
    code = whole(z, "a Z-order code", SIDE_LIMIT**2)
    return like(_gather(code), z), like(_gather(code >> 1), z)


def extent(height: int, width: int) -> int:
    """LOD0 positions that an image of `height × width` patches reserves: the least power of 4 that holds it.

    That is at least one tile.  A base that is a multiple of the extent makes the image one node of its arena.

    Raises:
        UsageError: a side is not from 1 to 2**31.
    """
    sides = [int(whole(side, "a side of an image", SIDE_LIMIT + 1)) for side in (height, width)]
    if min(sides) < 1:
        raise UsageError("an image must be at least one patch high and wide")
    return 1 << 2 * (max(*sides, TILE) - 1).bit_length()


def ranges(x0: int, y0: int, x1: int, y1: int, *, limit: int | None = None) -> intervals.Intervals:
    """The codes of the patches `[x0, x1) × [y0, y1)` as intervals in normal form: `int64 [n, 2]`.

    Their number, and the cost, grow with the perimeter of the rectangle (some 10**5 for 30,000 patches square).  A
    `limit` bounds both: where more intervals would be needed, the result is a superset of the rectangle, between its
    own first and last code, that comes from coarser squares along the edges and from closing the narrowest gaps.

    Raises:
        UsageError: a coordinate is out of bounds, the rectangle ends before it starts, or `limit` is below 1.
    """
    for name, bound in (("x0", x0), ("y0", y0), ("x1", x1), ("y1", y1)):
        whole(bound, name, SIDE_LIMIT + 1)
    if x1 < x0 or y1 < y0:
        raise UsageError(f"rectangle [{x0}, {x1}) × [{y0}, {y1}) ends before it starts")
    if x0 == x1 or y0 == y1:
        return intervals.empty()
    # Start with the least aligned square that holds the rectangle, and divide those that it covers only in part.
    order = max((x0 ^ (x1 - 1)).bit_length(), (y0 ^ (y1 - 1)).bit_length())
    partly = np.array([encode(x0 >> order, y0 >> order)])
    found = []
    while len(partly):
        x, y = decode(partly)
        left, top, side = x << order, y << order, 1 << order
        inside = (left >= x0) & (left + side <= x1) & (top >= y0) & (top + side <= y1)
        apart = (left >= x1) | (left + side <= x0) | (top >= y1) | (top + side <= y0)
        edge = ~(inside | apart)
        if limit is not None and np.count_nonzero(edge) > _REFINED * limit:
            inside |= edge
            edge[:] = False
        found.append(np.column_stack((partly[inside], partly[inside] + 1)) << 2 * order)
        partly = (partly[edge, None] * 4 + np.arange(4)).ravel()
        order -= 1
    hull = encode(x0, y0), encode(x1 - 1, y1 - 1) + 1
    spans = np.clip(intervals.normalise(np.concatenate(found)), *hull)
    return spans if limit is None else intervals.coarsen(spans, limit)


def _spread(bits: Whole) -> Whole:
    for shift, _, after in _STEPS:
        bits = (bits | bits << shift) & after
    return bits


def _gather(bits: Whole) -> Whole:
    bits = bits & _EVEN
    for shift, before, _ in reversed(_STEPS):
        bits = (bits | bits >> shift) & before
    return bits
