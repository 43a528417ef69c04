"""How are finite vectors turned into float16 and back, several numbers at a time?

By integer arithmetic on their bits, for NumPy converts one number after the other, which would take longer than all
else that is done to a gist.  The results are NumPy's, bit for bit: rounded to nearest, ties to even.  Numbers below
float16's smallest normal one are left to NumPy on the way down, so that vectors which hold many zeros gain nothing;
infinities and NaN are not provided for.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_half", "to_half"]

_MAGNITUDE: Final = np.uint16(0x7FFF)
_SMALLEST_NORMAL: Final = np.uint16(113 << 7)
"""The upper half of the bits of 2^-14 as float32."""
_DROPPED: Final = np.uint32(13)
"""Bits of float32's fraction that float16 does not have."""
_REBIASED_ALMOST_HALF: Final = np.uint32(((1 << 12) - 1 - (112 << 23)) % (1 << 32))
"""What rounds a fraction up if it is over half, or half with an odd digit before it, and takes off 2^112."""
_ONE: Final = np.uint32(1)
_UPPER: Final = np.uint32(16)
_SIGN: Final = np.uint16(0x8000)
_SIGN_AND_NUMBER: Final = np.int32(-(1 << 31) | ((1 << 15) - 1) << 13)
_REBIAS: Final = np.float32(2.0**112)
_STRIP: Final = 1 << 16
"""Numbers rounded at a time: what is known of them on the way then stays in the processor's cache."""


def to_half(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round numbers of a magnitude up to 65,504 to float16: the same shape (1-d at least), C-contiguous."""
    numbers = np.ascontiguousarray(vectors, np.float32)
    result = np.empty(numbers.shape, np.float16)
    flat, halves = numbers.reshape(-1), result.reshape(-1)
    room = np.empty(min(len(flat), _STRIP), np.uint32), np.empty(min(len(flat), _STRIP), np.uint16)
    for start in range(0, len(flat), _STRIP):
        strip = slice(start, start + _STRIP)
        _round(flat[strip], halves[strip], *room)
    return result


def _round(
    numbers: NDArray[np.float32], result: NDArray[np.float16], room: NDArray[np.uint32], half_room: NDArray[np.uint16]
) -> None:
    """Round a strip of numbers.

    Args:
        numbers: `[n]`.
        result: `[n]`: where the halves go.
        room: `[n]` at least; written over.
        half_room: the same.
    """
    bits, half = numbers.view(np.uint32), result.view(np.uint16)
    work, upper = room[: len(bits)], half_room[: len(bits)]
    np.right_shift(bits, _DROPPED, out=work)
    work &= _ONE
    work += bits
    work += _REBIASED_ALMOST_HALF
    work >>= _DROPPED
    np.copyto(half, work, casting="unsafe")  # without the sign, which is in bit 18
    np.right_shift(bits, _UPPER, out=work)
    np.copyto(upper, work, casting="unsafe")
    half |= upper & _SIGN
    upper &= _MAGNITUDE
    small = np.flatnonzero(upper < _SMALLEST_NORMAL)
    result[small] = numbers[small].astype(np.float16)


def from_half(vectors: NDArray[np.generic]) -> NDArray[np.float32]:
    """The same finite numbers as float32: the same shape, C-contiguous.

    Args:
        vectors: `float16`.
    """
    numbers = np.empty(vectors.shape, np.float32)
    bits = numbers.view(np.int32)
    np.copyto(bits, vectors.view(np.int16))  # fills the upper half with copies of the sign
    bits <<= np.int32(_DROPPED)
    bits &= _SIGN_AND_NUMBER
    numbers *= _REBIAS  # exact, for numbers below float16's smallest normal one too
    return numbers
