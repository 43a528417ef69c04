"""How are finite vectors turned into float16 and back, several numbers at a time?

By integer arithmetic on their bits, for NumPy converts one number after the other, which would take longer than all
else that is done to a gist.  The results are NumPy's, bit for bit: rounded to nearest, ties to even.  Numbers below
float16's smallest normal one are few, and are left to NumPy; infinities and NaN are not provided for.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_half", "to_half"]

_MAGNITUDE: Final = np.uint32(0x7FFFFFFF)
_SMALLEST_NORMAL: Final = np.uint32(113 << 23)
"""The bits of 2^-14 as float32."""
_BIAS: Final = np.uint32(112 << 23)
"""The difference of the two types' exponents of 1, in place."""
_DROPPED: Final = np.uint32(13)
"""Bits of float32's fraction that float16 does not have."""
_REBIASED_ALMOST_HALF: Final = np.uint32(((1 << 12) - 1 - (112 << 23)) % (1 << 32))
_ONE: Final = np.uint32(1)
_SIGN: Final = np.uint16(0x8000)
_HALF_MAGNITUDE: Final = np.uint16(0x7FFF)
_HALF_SMALLEST_NORMAL: Final = np.uint16(1 << 10)


def to_half(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round numbers of a magnitude up to 65,504 to float16: the same shape, C-contiguous."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    magnitude = bits & _MAGNITUDE
    rounded = magnitude >> _DROPPED
    rounded &= _ONE
    rounded += magnitude
    rounded += _REBIASED_ALMOST_HALF
    rounded >>= _DROPPED
    half = rounded.astype(np.uint16)
    half |= (bits >> np.uint32(16)).astype(np.uint16) & _SIGN
    result: NDArray[np.float16] = half.view(np.float16)
    small = magnitude < _SMALLEST_NORMAL
    result[small] = bits.view(np.float32)[small].astype(np.float16)
    return result


def from_half(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Finite float16 numbers as float32, exactly: the same shape, C-contiguous."""
    bits = np.ascontiguousarray(halves).view(np.uint16)
    magnitude = bits & _HALF_MAGNITUDE
    wide = magnitude.astype(np.uint32)
    wide <<= _DROPPED
    wide += _BIAS
    wide |= (bits & _SIGN).astype(np.uint32) << np.uint32(16)
    result: NDArray[np.float32] = wide.view(np.float32)
    small = magnitude < _HALF_SMALLEST_NORMAL
    result[small] = bits.view(np.float16)[small].astype(np.float32)
    return result
