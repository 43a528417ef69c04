"""Where are numbers kept that may be lost?  In side files of saturating 32-bit counters, sparse and never synced.

Several processes may add to one file; each holds an advisory lock while it does.  A counter file is no part of any
commit: removing one loses nothing but the counts in it.
"""

from __future__ import annotations

import fcntl
import os
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mctree.storage.files import make_directory, opened, pwrite_all
from mctree.storage.rows import distinct

__all__ = ["TELEMETRY_NAME", "add_counts", "read_counts"]

TELEMETRY_NAME = "telemetry"
_PER_PAGE = 1024
_LIMIT = np.uint64(2**32 - 1)
_DTYPE = np.dtype("<u4")


def add_counts(at: int, name: str, index: NDArray[np.int64]) -> None:
    """Count one more for each number in `index` (duplicates count as often as they occur).

    Args:
        at: descriptor of the store's directory.
        name: the counter file.
        index: which counters, `int64 [n]`, not negative.
    """
    make_directory(TELEMETRY_NAME, at)
    index = np.asarray(index, np.int64)
    counted = distinct(index)
    counts = np.bincount(np.searchsorted(counted, index), minlength=len(counted))
    pages = distinct(counted // _PER_PAGE)
    bounds = np.searchsorted(counted, np.append(pages, pages[-1:] + 1) * _PER_PAGE).tolist()
    with opened(f"{TELEMETRY_NAME}/{name}", os.O_RDWR | os.O_CREAT, at) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for page, (start, stop) in zip(pages.tolist(), pairwise(bounds), strict=True):
            values = _page(fd, page)
            inside = counted[start:stop] - page * _PER_PAGE
            values[inside] = np.minimum(values[inside] + counts[start:stop].astype(np.uint64), _LIMIT)
            pwrite_all(fd, values.astype(_DTYPE).tobytes(), page * _PER_PAGE * _DTYPE.itemsize)


def read_counts(at: int, name: str, start: int, stop: int) -> NDArray[np.uint32]:
    """The counters [start, stop): `uint32 [stop - start]`; those that were never counted are 0."""
    out = np.zeros(stop - start, np.uint32)
    try:
        with opened(f"{TELEMETRY_NAME}/{name}", os.O_RDONLY, at) as fd:
            data = os.pread(fd, (stop - start) * _DTYPE.itemsize, start * _DTYPE.itemsize)
    except FileNotFoundError:
        return out
    found = np.frombuffer(data[: len(data) // 4 * 4], _DTYPE)
    out[: len(found)] = found
    return out


def _page(fd: int, page: int) -> NDArray[np.uint64]:
    values = np.zeros(_PER_PAGE, np.uint64)
    data = os.pread(fd, _PER_PAGE * _DTYPE.itemsize, page * _PER_PAGE * _DTYPE.itemsize)
    found = np.frombuffer(data[: len(data) // 4 * 4], _DTYPE)
    values[: len(found)] = found
    return values
