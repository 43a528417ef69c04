"""Which way up is an image?  As its EXIF or TIFF orientation says (tag 274; EXIF 2.32, TIFF 6.0 p. 36).

Orientations are numbers from 1 to 8.  Turning and mirroring moves pixels and changes none, so an image is given as it
is to be seen, and boxes and captions speak of that.
"""

from __future__ import annotations

import struct
from typing import Any

from numpy.typing import NDArray

from mctree.sources.images.protocol import Box

__all__ = ["exif_orientation", "inverse", "stored_box", "swaps_sides", "turnable", "upright"]

UPRIGHT = 1
_TAG = 274
_SHORT = 3
_EXIF_MARK = b"Exif\0\0"

# For what is seen: are rows and columns swapped, and is then each of them run through backwards?
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def swaps_sides(orientation: int) -> bool:
    """Whether the stored rows are what is seen as columns."""
    return _TURNS[orientation][0]


def turnable(orientation: object) -> bool:
    """Whether it is one of the eight."""
    return isinstance(orientation, int) and orientation in _TURNS


def inverse(orientation: int) -> int:
    """The one that turns back."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of stored pixels `[h, w, …]` as they are to be seen."""
    swapped, rows, columns = _TURNS[orientation]
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def stored_box(box: Box, orientation: int, height: int, width: int) -> Box:
    """Which stored pixels a box of what is seen consists of.

    Args:
        box: of what is seen.
        orientation: of the image.
        height: of what is seen.
        width: of what is seen.
    """
    swapped, rows, columns = _TURNS[orientation]
    y0, y1 = (height - box.y1, height - box.y0) if rows else (box.y0, box.y1)
    x0, x1 = (width - box.x1, width - box.x0) if columns else (box.x0, box.x1)
    return Box(y0, x0, y1, x1) if swapped else Box(x0, y0, x1, y1)


def exif_orientation(exif: bytes) -> int:
    """What an EXIF block says of it; upright where it says nothing, or is damaged."""
    block = exif.removeprefix(_EXIF_MARK)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        if order is None:
            return UPRIGHT
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(count):
            tag, kind, many, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + 12 * entry)
            if tag == _TAG and kind == _SHORT and many == 1:
                return value if value in _TURNS else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
