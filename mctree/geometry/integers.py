"""Which integers are legal?  Non-negative ones below 2**63: checked once at the door, exact from there on.

Everything public in this room takes Python integers or NumPy integer arrays and answers in kind.  Inside, there are
only Python integers and `int64`: `uint64` beside `int64` would make NumPy fall back on `float64`, which is exact to
2**53 only.  Nothing is assumed about an input: floats, negative and oversized numbers are refused here.
"""

from __future__ import annotations

import operator
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError

__all__ = ["LIMIT", "Integers", "Level", "Whole", "like", "whole"]

LIMIT = 2**63 - 1
"""No position, index, or stop of a span is larger than this."""

Integers = TypeVar("Integers", int, NDArray[np.int64], NDArray[np.uint64])
"""What callers pass and get back; NumPy scalars count as `int`, narrower arrays come back as `int64`."""

Level = int | NDArray[np.integer[Any]]
"""One level, or levels that broadcast against an array of indices."""

Whole = int | NDArray[np.int64]
"""What is left to compute with after the door."""


def whole(value: object, what: str, stop: Whole = LIMIT + 1) -> Whole:
    """`value` as a Python integer or an `int64` array with every element in `[0, stop)`.

    Args:
        value: an integer, or an array of integers of any width.
        what: names the value in the message of an error.
        stop: the first integer too large, at most 2**63; an array broadcasts against `value`.

    Raises:
        UsageError: `value` is no integer, or lies outside.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iu":
            raise UsageError(f"{what} must be of an integer type, not {value.dtype}")
        # Read as uint64, a negative number is larger than any stop, so that one comparison finds both.
        signed = value.astype(np.int64, copy=False)
        outside = signed.view(np.uint64) >= np.asarray(stop).astype(np.uint64)
        if outside.any():
            refused = np.broadcast_to(value, outside.shape)[outside][0]
            highest = int(np.broadcast_to(np.asarray(stop), outside.shape)[outside][0]) - 1
            raise UsageError(f"{what} must be from 0 to {highest}, not {refused}")
        return signed
    try:
        number = operator.index(cast("int", value))
    except TypeError:
        raise UsageError(f"{what} must be an integer, not {type(value).__name__}") from None
    least = int(stop.min(initial=LIMIT)) if isinstance(stop, np.ndarray) else stop
    if not 0 <= number < least:
        shown = number if number.bit_length() <= 128 else f"one of {number.bit_length()} bits"
        raise UsageError(f"{what} must be from 0 to {least - 1}, not {shown}")
    return number


def like(result: Whole, value: Integers) -> Integers:
    """`result` as `uint64` where `value` is; otherwise as it stands."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint64:
        return cast("Integers", np.asarray(result).astype(np.uint64))
    return cast("Integers", result)
