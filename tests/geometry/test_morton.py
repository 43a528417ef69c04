"""Z-order against loops over bits, and rectangles against their patches, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.geometry import IMAGE, intervals, morton

COORDINATES = st.one_of(st.integers(0, 2**31 - 1), st.integers(62_499_990, 62_500_010), st.integers(0, 9))


def model_encode(x: int, y: int) -> int:
    return sum(((x >> bit & 1) | (y >> bit & 1) << 1) << 2 * bit for bit in range(31))


@st.composite
def rectangles(draw: st.DrawFn, side: int) -> tuple[int, int, int, int]:
    x, y = draw(st.integers(0, side)), draw(st.integers(0, side))
    return x, y, draw(st.integers(x, side)), draw(st.integers(y, side))


def model_ranges(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    spans: list[list[int]] = []
    for code in sorted(model_encode(x, y) for x in range(x0, x1) for y in range(y0, y1)):
        if spans and spans[-1][1] == code:
            spans[-1][1] += 1
        else:
            spans.append([code, code + 1])
    return spans


@given(COORDINATES, COORDINATES)
def test_codes_interleave_bits(x: int, y: int) -> None:
    z = morton.encode(x, y)
    assert z == model_encode(x, y)
    assert morton.decode(z) == (x, y)


@given(st.lists(st.tuples(COORDINATES, COORDINATES), max_size=8), st.sampled_from([np.int64, np.uint64, np.uint32]))
def test_arrays_of_codes(patches: list[tuple[int, int]], kind: type) -> None:
    x, y = (np.array([patch[axis] for patch in patches], dtype=kind) for axis in (0, 1))
    z = morton.encode(x, y)
    assert z.tolist() == [model_encode(*patch) for patch in patches]
    assert z.dtype == (np.uint64 if kind is np.uint64 else np.int64)
    back = morton.decode(z)
    assert [axis.tolist() for axis in back] == [x.tolist(), y.tolist()]
    assert all(axis.dtype == z.dtype for axis in back)


@given(COORDINATES, COORDINATES, st.integers(0, 31))
def test_an_aligned_square_is_one_run(x: int, y: int, order: int) -> None:
    x, y = x >> order << order, y >> order << order
    spans = morton.ranges(x, y, x + 2**order, y + 2**order)
    assert spans.tolist() == [[model_encode(x, y), model_encode(x, y) + 4**order]]


def test_tiles_and_quads_are_the_nodes_of_the_image_shape() -> None:
    z = morton.encode(62_499_999, 62_499_998)
    assert z < 2**52
    for level, side in ((1, 8), (2, 16), (3, 32)):
        x, y = 62_499_999 // side, 62_499_998 // side
        assert IMAGE.node_at(level, z) == morton.encode(x, y)


@pytest.mark.parametrize("bad", [-1, 2**31, 2**40, 1.5])
def test_coordinates_out_of_bounds_are_refused(bad: object) -> None:
    for x, y in ((bad, 0), (0, bad), (np.array([0, bad]), np.array([0, 0]))):
        with pytest.raises(UsageError):
            morton.encode(x, y)


def test_codes_out_of_bounds_are_refused() -> None:
    assert morton.decode(2**62 - 1) == (2**31 - 1, 2**31 - 1)
    for bad in (-1, 2**62):
        with pytest.raises(UsageError):
            morton.decode(bad)


@given(st.integers(1, 2**31), st.integers(1, 2**31))
def test_extent_is_the_least_power_of_4_that_holds_the_image(height: int, width: int) -> None:
    extent = morton.extent(height, width)
    order = (extent.bit_length() - 1) // 2
    assert extent == 4**order
    assert extent == 64 or 2 ** (order - 1) < max(height, width)
    assert morton.encode(width - 1, height - 1) < extent
    assert IMAGE.width(IMAGE.top(extent)) == extent


def test_extents() -> None:
    assert [morton.extent(*size) for size in ((1, 1), (8, 8), (8, 9), (62_500_000, 1))] == [64, 64, 256, 4**26]
    for size in ((0, 5), (5, 0), (-3, 5), (2**31 + 1, 1)):
        with pytest.raises(UsageError):
            morton.extent(*size)


@given(rectangles(side=33))
def test_ranges_are_the_patches_of_the_rectangle(rectangle: tuple[int, int, int, int]) -> None:
    spans = morton.ranges(*rectangle)
    assert spans.dtype == np.int64
    assert spans.shape == (len(spans), 2)
    assert spans.tolist() == model_ranges(*rectangle)


@given(rectangles(side=16), st.integers(0, 2**27 - 1), st.integers(0, 2**27 - 1))
def test_ranges_far_out(rectangle: tuple[int, int, int, int], right: int, down: int) -> None:
    # Moved by a multiple of 16 patches, a rectangle keeps its intervals, moved.
    x, y = right * 16, down * 16
    moved = morton.ranges(rectangle[0] + x, rectangle[1] + y, rectangle[2] + x, rectangle[3] + y)
    assert moved.tolist() == [[a + model_encode(x, y), b + model_encode(x, y)] for a, b in model_ranges(*rectangle)]


@given(rectangles(side=200), st.integers(1, 12))
@settings(max_examples=200)
def test_a_limit_gives_a_tight_superset(rectangle: tuple[int, int, int, int], limit: int) -> None:
    exact = morton.ranges(*rectangle)
    spans = morton.ranges(*rectangle, limit=limit)
    assert len(spans) <= limit
    assert np.array_equal(spans, intervals.normalise(spans))
    assert intervals.covers(spans, exact).all()
    if len(exact) <= limit:
        assert np.array_equal(spans, exact)
    if len(exact):
        assert (spans[0, 0], spans[-1, 1]) == (exact[0, 0], exact[-1, 1])
        assert intervals.measure(spans) <= 2 * intervals.measure(intervals.coarsen(exact, limit))


def test_ranges_of_a_gigantic_rectangle_with_a_limit() -> None:
    spans = morton.ranges(1, 3, 62_499_999, 62_500_000, limit=100)
    assert 50 < len(spans) <= 100
    area = 62_499_998 * 62_499_997
    assert area <= intervals.measure(spans) < 1.2 * area
    whole = morton.ranges(0, 0, 2**31, 2**31)
    assert whole.tolist() == [[0, 2**62]]


def test_wrong_rectangles_are_refused() -> None:
    assert morton.ranges(5, 5, 5, 9).shape == (0, 2)
    for wrong in ((2, 0, 1, 1), (0, 2, 1, 1), (-1, 0, 1, 1), (0, 0, 2**31 + 1, 1)):
        with pytest.raises(UsageError):
            morton.ranges(*wrong)
    with pytest.raises(UsageError):
        morton.ranges(0, 1, 9, 9, limit=0)
