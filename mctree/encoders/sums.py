"""How are many short weighted sums of rows of one table made fast, and always alike?

`weighted_sums` is a product of a sparse and a dense matrix, as SciPy makes it: each sum is taken over its own pairs,
one after the other in their order, element by element.  So the result depends neither on which other sums are made
beside it, nor on a library's way of splitting a reduction.  Sums of floats may differ in their last bits between kinds
of processor, for some multiply and add in one step.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["unit_rows", "weighted_sums"]

Number = TypeVar("Number", np.int16, np.float32)

_STEPS: Final = float(1 << 19)
_STRIP: Final = 1 << 16
"""Numbers divided at a time: what is known of them on the way then stays in the processor's cache."""


def weighted_sums(
    rows: NDArray[np.int64],
    columns: NDArray[np.integer],
    weights: NDArray[Number],
    table: NDArray[Number],
    count: int,
) -> NDArray[Number]:
    """Σ `weights`·`table[columns]` over the pairs of each row.

    Args:
        rows: `int64 [pairs]`, ascending, below `count`.
        columns: integers `[pairs]`, rows of the table.
        weights: `[pairs]`, of the table's dtype; with integers, the caller sees to it that no sum overflows.
        table: `[any, dim]`.
        count: number of sums.

    Returns:
        `[count, dim]`, of the table's dtype; 0 for a row without pairs.
    """
    if not len(rows):
        return np.zeros((count, table.shape[1]), table.dtype)
    from scipy.sparse import csr_array  # noqa: PLC0415  # takes 0.2 s, and only who makes gists of words needs it

    ends = np.cumsum(np.bincount(rows, minlength=count))
    matrix = csr_array((weights, columns, np.concatenate([[0], ends])), shape=(count, len(table)))
    sums: NDArray[Number] = matrix @ table
    return sums


def unit_rows(sums: NDArray[np.generic], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Each row divided by its Euclidean norm; a row of zeros stays.

    Norms are sums of squares of whole numbers below 2^53, which are exact whatever the order of summation:
    floats count in steps of 2^-19 of the largest in their row.

    Args:
        sums: `[n, dim]`, finite; integers of a magnitude below 2^15.
        out: where the result goes; None for a new array.

    Returns:
        `float32 [n, dim]`.
    """
    units = np.empty(sums.shape, np.float32) if out is None else out
    at_once = max(_STRIP // max(sums.shape[1], 1), 1)
    room = np.empty((min(at_once, len(sums)), sums.shape[1]))
    for start in range(0, len(sums), at_once):
        rows = slice(start, start + at_once)
        _unit(sums[rows], units[rows], room)
    return units


def _unit(sums: NDArray[np.generic], out: NDArray[np.float32], room: NDArray[np.float64]) -> None:
    """Divide a strip of rows; `room` is written over."""
    whole = room[: len(sums)]
    np.copyto(whole, sums)
    unit = np.ones(len(sums))
    if sums.dtype.kind == "f":
        unit = np.abs(whole).max(axis=1, initial=0.0) / _STEPS
        unit[unit == 0] = 1.0
        whole /= unit[:, None]
        np.rint(whole, out=whole)
    norms = np.sqrt(np.einsum("nd,nd->n", whole, whole)) * unit
    norms[norms == 0] = 1.0
    out[...] = sums
    out /= norms.astype(np.float32)[:, None]
