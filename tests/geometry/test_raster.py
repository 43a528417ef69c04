"""The nodes of images against their pixels, one by one; of the largest against Python's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.geometry import IMAGE, PATCH, Raster, intervals, morton

HUGE = 1_000_000_000
SIDES = st.one_of(st.integers(1, 40), st.integers(1, 300), st.sampled_from([128, 129, 256, 257, 512]))
RASTERS = st.builds(Raster, SIDES, SIDES)
WIDE_SIDES = st.one_of(SIDES, st.integers(1, 2**31), st.sampled_from([HUGE, 2**30, 2**31, 2**30 + 1]))


def painted(raster: Raster, level: int) -> dict[int, list[tuple[int, int]]]:
    """The corners (x, y) of the cells of 16 pixels that hold pixels of each node of a level, found cell by cell."""
    found: dict[int, list[tuple[int, int]]] = {}
    for y in range(0, raster.height, PATCH):
        for x in range(0, raster.width, PATCH):
            z = morton.encode(x // PATCH, y // PATCH)
            found.setdefault(IMAGE.node_at(level, z), []).append((x, y))
    return found


def model_box(raster: Raster, cells: list[tuple[int, int]]) -> list[int]:
    x0, y0 = min(x for x, _ in cells), min(y for _, y in cells)
    x1, y1 = max(x for x, _ in cells) + PATCH, max(y for _, y in cells) + PATCH
    return [x0, y0, min(x1, raster.width), min(y1, raster.height)]


@given(RASTERS)
def test_every_node_of_a_small_image(raster: Raster) -> None:
    assert IMAGE.width(raster.root) == raster.extent
    for level in range(raster.root + 1):
        model = painted(raster, level)
        nodes = intervals.points(raster.nodes(level))
        assert nodes.tolist() == sorted(model)
        assert len(nodes) == np.prod(raster.grid(level))
        boxes = raster.boxes(level, nodes)
        assert boxes.tolist() == [model_box(raster, model[node]) for node in nodes.tolist()]
        assert raster.pixels(level, nodes).sum() == raster.height * raster.width
        every = np.arange(raster.extent // IMAGE.width(level))
        assert np.flatnonzero(raster.pixels(level, every)).tolist() == nodes.tolist()
    assert raster.boxes(raster.root, np.array([0])).tolist() == [[0, 0, raster.width, raster.height]]


@given(RASTERS, st.data())
def test_nodes_that_meet_a_box(raster: Raster, data: st.DataObject) -> None:
    x0, y0 = data.draw(st.integers(0, raster.width + 9)), data.draw(st.integers(0, raster.height + 9))
    x1, y1 = data.draw(st.integers(x0, raster.width + 99)), data.draw(st.integers(y0, raster.height + 99))
    for level in range(raster.root + 1):
        nodes = intervals.points(raster.nodes(level))
        boxes = raster.boxes(level, nodes)
        inside = (
            (np.maximum(boxes[:, 0], x0) < np.minimum(boxes[:, 2], x1))
            & (np.maximum(boxes[:, 1], y0) < np.minimum(boxes[:, 3], y1))
        )  # fmt: skip
        assert intervals.points(raster.nodes(level, (x0, y0, x1, y1))).tolist() == nodes[inside].tolist()


@given(WIDE_SIDES, WIDE_SIDES, st.data())
def test_boxes_of_images_of_any_size(height: int, width: int, data: st.DataObject) -> None:
    raster = Raster(height, width)
    levels = data.draw(st.lists(st.integers(0, raster.root), min_size=1, max_size=6))
    x, y = (
        [data.draw(st.one_of(st.integers(0, limit - 1), st.just(limit - 1))) for _ in levels]
        for limit in (width, height)
    )
    index = [
        morton.encode(a // raster.side(level), b // raster.side(level))
        for a, b, level in zip(x, y, levels, strict=True)
    ]
    boxes = raster.boxes(np.array(levels), np.array(index))
    pixels = raster.pixels(np.array(levels), np.array(index))
    for box, count, a, b, level in zip(boxes.tolist(), pixels.tolist(), x, y, levels, strict=True):
        side = raster.side(level)
        left, top = a // side * side, b // side * side
        assert box == [left, top, min(left + side, width), min(top + side, height)]
        assert count == (box[2] - left) * (box[3] - top)


def test_the_largest_image_of_the_design() -> None:
    raster = Raster(HUGE, HUGE)
    assert raster.patches == (62_500_000, 62_500_000)
    assert raster.root == 24
    assert raster.grid(1) == (7_812_500, 7_812_500)
    assert raster.pixels(24, np.array([0])).tolist() == [HUGE**2]
    corner = HUGE - 3, HUGE - 5, HUGE, HUGE
    spans = raster.nodes(0, corner)
    assert intervals.points(spans).tolist() == [morton.encode(62_499_999, 62_499_999)]
    strip = raster.nodes(1, (0, 0, HUGE, 1), limit=64)
    assert len(strip) <= 64
    assert intervals.measure(intervals.within(strip, 0, morton.encode(7_812_499, 0) + 1)) >= 7_812_500
    assert Raster(2**31, 2**31).pixels(25, np.array([0])).tolist() == [2**62]


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, 0), (-1, 5), (2**31 + 1, 5)])
def test_no_image_of_such_a_size(height: int, width: int) -> None:
    with pytest.raises(UsageError, match="of an image must be"):
        Raster(height, width)


def test_no_such_node() -> None:
    raster = Raster(300, 200)
    assert raster.root == 3
    with pytest.raises(UsageError, match="a level of an image must be from 0 to 3"):
        raster.boxes(4, np.array([0]))
    with pytest.raises(UsageError, match="the index of a node of an image must be from 0 to 15"):
        raster.boxes(1, np.array([0, 16]))
    with pytest.raises(UsageError, match="from 0 to 0"):
        raster.boxes(np.array([1, 3]), np.array([15, 1]))
    with pytest.raises(UsageError, match="ends before it starts"):
        raster.nodes(0, (5, 0, 4, 9))
    with pytest.raises(UsageError, match="a bound of a box"):
        raster.nodes(0, (-1, 0, 4, 9))
