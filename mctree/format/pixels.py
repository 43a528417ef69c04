"""How are pixels kept?  Each sample as its difference from the one to its left, compressed with zlib; lossless.

A piece is the pixels of one tile, cut at the image's edges: `[h, w, c]`, rows from top to bottom, differences within a
row modulo 2^8 or 2^16, little-endian.  Where some pixels are not real, a bit for each follows (rows from top to bottom,
the highest bit of a byte first).  How large a piece is follows from the image and the tile, and nothing more than that
is ever unpacked.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError

__all__ = ["check_pixels", "pack_pixels", "unpack_pixels"]

_EFFORT = 3
"""Of zlib: twice as fast as its own choice, for a twentieth more bytes."""


def pack_pixels(values: NDArray[Any], mask: NDArray[np.bool_]) -> bytes:
    """The bytes that a piece is kept as.

    Args:
        values: `[h, w, c]`, uint8 or uint16; 0 where masked.
        mask: `bool [h, w]`.
    """
    steps = values.astype(values.dtype.newbyteorder("<"))
    steps[:, 1:] -= values[:, :-1]
    bits = b"" if mask.all() else np.packbits(mask).tobytes()
    return zlib.compress(steps.tobytes() + bits, _EFFORT)


def unpack_pixels(
    packed: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The pixels of a piece.

    Args:
        packed: the bytes that it is kept as.
        shape: `(h, w, c)`.
        dtype: of the samples.

    Returns:
        Values `[h, w, c]` and mask `bool [h, w]`.

    Raises:
        CorruptError: these bytes are no piece of that size.
    """
    data = _unpacked(packed, shape, dtype)
    area, size = shape[0] * shape[1], math.prod(shape) * dtype.itemsize
    steps = np.frombuffer(data, dtype.newbyteorder("<"), math.prod(shape)).astype(dtype)
    values = _summed(steps.reshape(shape[0], -1), shape[2]).reshape(shape)
    if len(data) == size:
        return values, np.ones(shape[:2], np.bool_)
    mask = np.unpackbits(np.frombuffer(data, np.uint8, offset=size), count=area).astype(np.bool_).reshape(shape[:2])
    return values, mask


def check_pixels(packed: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
    """Make sure that bytes are a piece of that size; see `unpack_pixels`.

    Raises:
        CorruptError: they are not.
    """
    _unpacked(packed, shape, dtype)


def _unpacked(packed: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> bytes:
    """The differences, and the bits if there are any."""
    size, bits = math.prod(shape) * dtype.itemsize, -(-shape[0] * shape[1] // 8)
    unpack = zlib.decompressobj()
    try:
        data = unpack.decompress(packed, size + bits + 1)
    except zlib.error as error:
        raise CorruptError(f"kept pixels cannot be unpacked ({error}); run `mctree verify`") from error
    if len(data) not in (size, size + bits) or not unpack.eof:
        raise CorruptError("kept pixels are not as many as the tile has; run `mctree verify`")
    return data


def _summed(rows: NDArray[Any], stride: int) -> NDArray[Any]:
    """The running sums of every `stride`-th sample of each row, modulo the range of its type; in place, `[h, n]`.

    After the pass of width k each sample is the sum of the last k of its own, so that log2 n passes over whole rows do
    it: half of what one takes that goes from sample to sample.
    """
    width = stride
    while width < rows.shape[1]:
        rows[:, width:] += rows[:, :-width].copy()
        width *= 2
    return rows
