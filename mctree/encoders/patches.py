"""How do pixels become patches?

A picture `[h, w, c]` is cut into patches of 16 × 16 pixels in Z-order, from its upper left corner on.  Where it ends
within a patch, the rest of the patch holds 0 and a mask says so; patches that hold no pixel at all do not come up.  So
a picture of any size costs what its pixels cost, and a picture that is one aligned square of an image gives one run
of the image's patches.

Each row of 16 pixels is moved once, as one piece, in the order of its destination: cutting is one gather of short rows,
at about half the speed of a plain copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.geometry import PATCH, Raster, intervals, morton

__all__ = ["DTYPES", "Patches", "cut", "real_pixels", "require_patches", "require_picture", "without_masked"]

DTYPES: Final = (np.dtype(np.uint8), np.dtype(np.uint16))
"""What pixels can be."""


@dataclass(frozen=True, eq=False, slots=True)
class Patches:
    """Patches of one picture.

    Attributes:
        index: `int64 [n]`, ascending: their places in Z-order, from the picture's upper left corner.
        pixels: `[n, 16, 16, c]`, uint8 or uint16; 0 where masked.
        mask: `bool [n, 16, 16]`: which pixels are real; at least one of each patch is.
    """

    index: NDArray[np.int64]
    pixels: NDArray[np.generic]
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)


def cut(pixels: NDArray[np.generic], mask: NDArray[np.bool_] | None = None) -> Patches:
    """Cut a picture into patches.

    Args:
        pixels: `[h, w, c]`, uint8 or uint16.
        mask: `bool [h, w]`: which pixels are real; None if all are.

    Raises:
        UsageError: the arrays are not of these shapes and types.
    """
    height, width, _ = require_picture(pixels, mask)
    raster = Raster(height, width)
    index = intervals.points(raster.nodes(0))
    if mask is not None and not mask.all():
        pixels = np.where(mask[:, :, None], pixels, pixels.dtype.type(0))
        masks = _gathered(mask[:, :, None], index)[..., 0].astype(np.bool_, copy=False)
        real = masks.any(axis=(1, 2))
        if not real.all():
            index, masks = index[real], masks[real]
        return Patches(index, _gathered(pixels, index), masks)
    if height % PATCH or width % PATCH:
        masks = masks_of(raster.boxes(0, index))
    else:
        masks = np.broadcast_to(np.True_, (len(index), PATCH, PATCH))
    return Patches(index, _gathered(pixels, index), masks)


def masks_of(boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The masks of patches whose real pixels are the boxes `int64 [n, 4]`, as `Raster.boxes` gives: `bool [n, 16, 16]`.

    Where all pixels are real, that is a read-only array that takes no memory.
    """
    columns, rows = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    if (columns == PATCH).all() and (rows == PATCH).all():
        return np.broadcast_to(np.True_, (len(boxes), PATCH, PATCH))
    at = np.arange(PATCH)
    inside: NDArray[np.bool_] = (at < rows[:, None])[:, :, None] & (at < columns[:, None])[:, None, :]
    return inside


def require_picture(pixels: NDArray[np.generic], mask: NDArray[np.bool_] | None) -> tuple[int, int, int]:
    """Height, width and channels of a picture.

    Raises:
        UsageError: the arrays are no picture and no mask of it.
    """
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype not in DTYPES:
        raise UsageError(
            f"a picture must be uint8 or uint16 [height, width, channels], not {pixels.dtype} {list(pixels.shape)}"
        )
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != pixels.shape[:2]):
        raise UsageError(
            f"the mask of a picture must be bool {list(pixels.shape[:2])}, not {mask.dtype} {list(mask.shape)}"
        )
    height, width, channels = pixels.shape
    return height, width, channels


def require_patches(pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> int:
    """How many channels patches have.

    Raises:
        UsageError: the arrays are no patches and no masks of them.
    """
    if pixels.ndim != 4 or pixels.shape[1:3] != (PATCH, PATCH) or not pixels.shape[3] or pixels.dtype not in DTYPES:
        raise UsageError(
            f"patches must be uint8 or uint16 [n, {PATCH}, {PATCH}, channels], not {pixels.dtype} {list(pixels.shape)}"
        )
    if mask.dtype != np.bool_ or mask.shape != pixels.shape[:3]:
        raise UsageError(
            f"the masks of patches must be bool {list(pixels.shape[:3])}, not {mask.dtype} {list(mask.shape)}"
        )
    return int(pixels.shape[3])


def real_pixels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many pixels of each patch are real: `int64 [n]`, for masks `bool [n, 16, 16]`."""
    if mask.strides[1:] == (0, 0):
        return np.where(mask[:, 0, 0], PATCH * PATCH, 0)
    # Eight at a time: a byte of a sum of 32 words holds 32 at most.
    words = np.ascontiguousarray(mask).reshape(len(mask), PATCH * PATCH).view(np.uint64)
    bytewise = words.sum(axis=1).view(np.uint8).reshape(len(mask), 8)
    count: NDArray[np.int64] = bytewise.sum(axis=1, dtype=np.int64)
    return count


def without_masked(
    pixels: NDArray[np.generic], mask: NDArray[np.bool_], count: NDArray[np.int64]
) -> NDArray[np.unsignedinteger]:
    """Patches with 0 at masked pixels; themselves if that is so.  `count` is what `real_pixels` says."""
    whole = cast("NDArray[np.unsignedinteger]", pixels)
    partial = np.flatnonzero(count < PATCH * PATCH)
    if not (whole[partial] * ~mask[partial][..., None]).any():
        return whole
    whole = whole.copy()
    whole[partial] *= mask[partial][..., None]
    return whole


def _gathered(pixels: NDArray[np.generic], index: NDArray[np.int64]) -> NDArray[np.generic]:
    """The patches `index` of a picture, padded with 0 where it ends within one."""
    height, width, channels = pixels.shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    if (height, width) != (rows * PATCH, columns * PATCH) or not pixels.flags.c_contiguous:
        padded = np.zeros((rows * PATCH, columns * PATCH, channels), pixels.dtype)
        padded[:height, :width] = pixels
        pixels = padded
    found = pixels.reshape(-1, PATCH * channels).take(_row_numbers(index, columns), axis=0, mode="clip")
    return found.reshape(len(index), PATCH, PATCH, channels)


def _row_numbers(index: NDArray[np.int64], columns: int) -> NDArray[np.int64]:
    """Where the 16 rows of each patch lie, in a picture as rows of 16 pixels with so many to a line: `int64 [16·n]`."""
    x, y = morton.decode(index)
    return ((y * PATCH * columns + x)[:, None] + np.arange(PATCH) * columns).reshape(-1)
