"""Intervals against Python sets, near 0 and near the end of 63 bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.geometry import intervals

SIZE = 40
BASES = st.sampled_from([0, 10**15, 2**58, 2**63 - 1 - SIZE])
POINTS = st.sets(st.integers(0, SIZE - 1))
PAIRS = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted), max_size=10)


def model(points: set[int]) -> list[list[int]]:
    """The normal form of a set, found by walking through it."""
    spans: list[list[int]] = []
    for point in sorted(points):
        if spans and spans[-1][1] == point:
            spans[-1][1] = point + 1
        else:
            spans.append([point, point + 1])
    return spans


def made(points: set[int], base: int) -> intervals.Intervals:
    return intervals.normalise(np.array(model(points), dtype=np.int64).reshape(-1, 2) + base)


def is_set(spans: intervals.Intervals, points: set[int], base: int) -> None:
    assert spans.dtype == np.int64
    assert spans.flags.c_contiguous
    assert spans.shape == (len(spans), 2)
    assert (spans - base).tolist() == model(points)


@given(PAIRS, BASES, st.sampled_from([np.int64, np.uint64]))
def test_normalise_takes_anything(pairs: list[list[int]], base: int, kind: type) -> None:
    points = {point for start, stop in pairs for point in range(start, stop)}
    given_spans = (np.array(pairs, dtype=np.int64).reshape(-1, 2) + base).astype(kind)
    spans = intervals.normalise(given_spans)
    is_set(spans, points, base)
    is_set(intervals.normalise(spans), points, base)
    assert intervals.measure(spans) == len(points)
    assert (intervals.points(spans) - base).tolist() == sorted(points)


@given(POINTS, BASES, st.integers(0, SIZE), st.integers(0, SIZE))
def test_complement(points: set[int], base: int, one: int, other: int) -> None:
    start, stop = sorted((one, other))
    rest = intervals.complement(made(points, base), start + base, stop + base)
    is_set(rest, set(range(start, stop)) - points, base)


@given(POINTS, BASES, PAIRS)
def test_queries(points: set[int], base: int, pairs: list[list[int]]) -> None:
    spans = made(points, base)
    every = np.arange(SIZE).reshape(2, -1)
    assert intervals.contains(spans, every + base).tolist() == [[p in points for p in row] for row in every.tolist()]
    queries = np.array(pairs, dtype=np.int64).reshape(-1, 2) + base
    counts = intervals.overlap(spans, queries)
    assert counts.dtype == np.int64
    assert counts.tolist() == [len(points & set(range(*pair))) for pair in pairs]
    full = [pair for pair in pairs if pair[0] < pair[1]]
    inside = intervals.covers(spans, np.array(full, dtype=np.int64).reshape(-1, 2) + base)
    assert inside.dtype == np.bool_
    assert inside.tolist() == [set(range(*pair)) <= points for pair in full]


@given(POINTS, BASES, st.integers(1, 12))
def test_coarsen_closes_the_narrowest_gaps(points: set[int], base: int, limit: int) -> None:
    spans = made(points, base)
    coarse = intervals.coarsen(spans, limit)
    is_set(coarse, set((intervals.points(coarse) - base).tolist()), base)
    assert len(coarse) == min(limit, len(spans))
    gaps = sorted((after[0] - before[1] for before, after in pairwise(spans)), reverse=True)
    assert intervals.measure(coarse) == len(points) + sum(gaps[limit - 1 :])
    assert intervals.covers(coarse, spans).all()


@given(POINTS, PAIRS, BASES)
def test_what_meets_the_set_and_what_of_it_lies_within(points: set[int], pairs: list[list[int]], base: int) -> None:
    spans = made(points, base)
    queries = [(start, stop) for start, stop in pairs if start < stop]
    bounds = np.array(queries, np.int64).reshape(-1, 2) + base
    assert intervals.meets(spans, bounds).tolist() == [bool(points & set(range(*query))) for query in queries]
    for start, stop in queries:
        is_set(intervals.within(spans, base + start, base + stop), points & set(range(start, stop)), base)


@given(POINTS, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))), BASES)
def test_what_is_trimmed_begins_and_ends_outside_the_set(
    points: set[int], pairs: list[tuple[int, int]], base: int
) -> None:
    outside = [sorted(set(range(*pair)) - points) for pair in pairs]
    queries = [pair for pair, left in zip(pairs, outside, strict=True) if left]
    found = intervals.trim(made(points, base), np.array(queries, np.int64).reshape(-1, 2) + base)
    assert (found - base).tolist() == [[left[0], left[-1] + 1] for left in outside if left]


def test_everything_is_one_interval() -> None:
    everything = intervals.normalise([[0, 2**62], [2**62, 2**63 - 1]])
    assert everything.tolist() == [[0, 2**63 - 1]]
    assert intervals.measure(everything) == 2**63 - 1
    assert intervals.overlap(everything, everything).tolist() == [2**63 - 1]


@pytest.mark.parametrize(
    "wrong",
    [
        [[5, 3]],
        [[0, 9], [5, 3]],
        [[-1, 3]],
        [[0.0, 1.0]],
        [1, 2],
        [[1, 2, 3]],
        [[[0, 1]]],
        np.array([[0, 2**63]], dtype=np.uint64),
    ],
)
def test_what_is_no_interval_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError):
        intervals.normalise(wrong)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(UsageError):
        intervals.coarsen(intervals.empty(), 0)
