"""How do Arrow columns become NumPy arrays, and the other way round, without a copy where there need be none?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.protocol import library

__all__ = ["batches", "joined", "windows_of_records"]


def batches(values: NDArray[Any], name: str, width: int, step: int) -> Iterator[Any]:
    """Record batches of `step` rows with one column of fixed lists of `width`, over the array's own memory."""
    arrow = library("pyarrow")
    flat = values.reshape(-1)
    for start in range(0, flat.size, step * width):
        lists = arrow.FixedSizeListArray.from_arrays(arrow.array(flat[start : start + step * width]), width)
        yield arrow.record_batch([lists], names=[name])


def joined(column: Any) -> NDArray[Any]:
    """The values of a column of fixed lists, as `[all]`; copies where the column has several chunks."""
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if hasattr(whole, "chunks"):
        whole = whole.chunk(0)
    values: NDArray[Any] = whole.flatten().to_numpy(zero_copy_only=True)
    return values


def windows_of_records(
    starts: NDArray[np.int64], out: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """Which records windows need, if a record holds as many tokens as a window.

    Args:
        starts: int64 `[n]`, first tokens of windows.
        out: uint32 `[n, length]`, for its shape.

    Returns:
        The records, int64, two for each window that lies across a boundary and one for each other; and per window its
        place among the tokens of those records, as (window, start, stop).
    """
    length = out.shape[1]
    records: list[int] = []
    places: list[tuple[int, int, int]] = []
    for k, start in enumerate(starts.tolist()):
        record, offset = divmod(start, length)
        begin = len(records) * length + offset
        places.append((k, begin, begin + length))
        records.extend((record, record + 1) if offset else (record,))
    return np.asarray(records, np.int64), places
