"""Which positions?  Sets of integers as sorted, disjoint, half-open intervals: `int64 [n, 2]`, C-contiguous.

Normal form: every interval is non-empty, they ascend, and no two overlap or touch.  So the flattened array strictly
ascends, a point is inside if and only if an odd number of bounds are at or below it, and equal sets are equal arrays.
Whatever takes `spans` wants normal form, as everything here returns it, and does not check it again: `normalise` is
the one door for input from elsewhere.

Used for what exists and for what is dead.  All operations are a few vectorised passes; those that ask about single
points or spans cost a binary search each.  Nothing is assumed about levels, blocks or worlds.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.errors import UsageError
from mctree.geometry.integers import whole

__all__ = [
    "Intervals",
    "coarsen",
    "complement",
    "contains",
    "covers",
    "empty",
    "measure",
    "meets",
    "normalise",
    "overlap",
    "points",
    "trim",
    "within",
]

Intervals = NDArray[np.int64]


def empty() -> Intervals:
    """The empty set."""
    return np.empty((0, 2), dtype=np.int64)


def normalise(spans: ArrayLike) -> Intervals:
    """Bring any `[n, 2]` integers, in any order, overlapping, touching or empty, into normal form.

    Raises:
        UsageError: another shape or type, a negative bound or one of 2**63 or more, or a stop below its start.
    """
    array = np.asarray(spans)
    if array.size == 0:
        return empty()
    if array.ndim != 2 or array.shape[1] != 2:
        raise UsageError(f"intervals must be an array of shape [n, 2], not {list(array.shape)}")
    bounds = np.ascontiguousarray(cast("Intervals", whole(array, "a bound of an interval")))
    flat = bounds.ravel()
    if (flat[1:] > flat[:-1]).all():
        return bounds
    starts, stops = bounds[:, 0], bounds[:, 1]
    if (stops < starts).any():
        start, stop = bounds[stops < starts][0]
        raise UsageError(f"interval [{start}, {stop}) ends before it starts")
    bounds = bounds[stops > starts]
    if not len(bounds):
        return empty()
    bounds = bounds[np.argsort(bounds[:, 0], kind="stable")]
    reach = np.maximum.accumulate(bounds[:, 1])
    apart = np.flatnonzero(bounds[1:, 0] > reach[:-1])
    return np.column_stack((bounds[np.append(0, apart + 1), 0], reach[np.append(apart, -1)]))


def measure(spans: Intervals) -> int:
    """How many integers the set holds."""
    return int((spans[:, 1] - spans[:, 0]).sum())


def points(spans: Intervals) -> NDArray[np.int64]:
    """Every integer of the set, ascending: `int64 [measure(spans)]`."""
    lengths = spans[:, 1] - spans[:, 0]
    before = np.cumsum(lengths) - lengths
    return np.repeat(spans[:, 0] - before, lengths) + np.arange(measure(spans), dtype=np.int64)


def contains(spans: Intervals, values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `values` (any shape) lie in the set."""
    return _odd(np.searchsorted(spans.ravel(), values, side="right"))


def covers(spans: Intervals, queries: Intervals) -> NDArray[np.bool_]:
    """Which of the intervals `queries` (`int64 [m, 2]`, non-empty, in any order) lie wholly in the set: `bool [m]`."""
    bounds = spans.ravel()
    at = np.searchsorted(bounds, queries[:, 0], side="right")
    # From inside an interval, the bound that comes next is its stop; behind the last stop, `at` is even.
    return _odd(at) & (np.append(bounds, 0)[at] >= queries[:, 1])


def meets(spans: Intervals, queries: Intervals) -> NDArray[np.bool_]:
    """Which of `queries` (`int64 [m, 2]`, non-empty, in any order) hold an integer of the set: `bool [m]`."""
    bounds = spans.ravel()
    before = np.searchsorted(bounds, queries[:, 0], side="right")
    found: NDArray[np.bool_] = (before != np.searchsorted(bounds, queries[:, 1], side="left")) | _odd(before)
    return found


def overlap(spans: Intervals, queries: Intervals) -> NDArray[np.int64]:
    """How many integers of the set lie in each of `queries` (`int64 [m, 2]`, in any order): `int64 [m]`."""
    bounds = np.append(0, spans.ravel())
    below = np.append(0, np.cumsum(spans[:, 1] - spans[:, 0]))
    at = np.searchsorted(spans.ravel(), queries, side="right")
    # Of the set, below a query's bound: the intervals that ended, and of an unfinished one the part up to there.
    counts = below[at >> 1] + (queries - bounds[at]) * (at & 1)
    return cast("NDArray[np.int64]", counts[:, 1] - counts[:, 0])


def trim(spans: Intervals, queries: Intervals) -> Intervals:
    """Each of `queries` (`int64 [m, 2]`, in any order) from its first to its last integer that is not in the set.

    Each of them holds such an integer.
    """
    bounds = spans.ravel()
    if not len(bounds):
        return queries
    # From inside an interval, the next bound is its stop; what ends inside one ends at the bound before, its start.
    first, stop = queries.T
    behind, before = np.searchsorted(bounds, first, side="right"), np.searchsorted(bounds, stop, side="left") - 1
    inside, ending = _odd(behind), ~_odd(before)
    return np.column_stack(
        (
            np.where(inside, bounds.take(behind, mode="clip"), first),
            np.where(ending, bounds.take(before, mode="clip"), stop),
        )
    )


def within(spans: Intervals, start: int, stop: int) -> Intervals:
    """What of the set is in `[start, stop)`; costs two binary searches beside the result."""
    bounds = spans.ravel()
    first = np.searchsorted(bounds, start, side="right") // 2
    last = (np.searchsorted(bounds, stop, side="left") + 1) // 2
    return np.clip(spans[first:last], start, stop)


def complement(spans: Intervals, start: int, stop: int) -> Intervals:
    """What of `[start, stop)` is not in the set."""
    if not len(spans):
        return np.array([[start, stop]], np.int64) if start < stop else empty()
    inner = np.clip(spans, start, stop).ravel()
    gaps = np.concatenate(([start], inner, [stop])).reshape(-1, 2)
    return gaps[gaps[:, 0] < gaps[:, 1]]


def coarsen(spans: Intervals, limit: int) -> Intervals:
    """The superset of at most `limit` intervals that closes the narrowest gaps (of equal ones, the last).

    Raises:
        UsageError: `limit` is below 1.
    """
    if limit < 1:
        raise UsageError(f"a limit on the number of intervals must be at least 1, not {limit}")
    if len(spans) <= limit:
        return spans
    gaps = spans[1:, 0] - spans[:-1, 1]
    kept = np.sort(np.argsort(-gaps, kind="stable")[: limit - 1])
    return np.column_stack((spans[np.append(0, kept + 1), 0], spans[np.append(kept, -1), 1]))


def _odd(values: NDArray[np.intp]) -> NDArray[np.bool_]:
    return (values & 1).astype(np.bool_)
