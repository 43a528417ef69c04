"""The image that is a formula: its means and deviations are those of its pixels, at any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.sources.images import LARGEST_SIDE, Box
from mctree.sources.images.protocol import level_box
from mctree.testing import ProceduralSource
from tests.sources.images.reading import FEW, Whole, boxes, check_source

SIDES = st.integers(1, 70)


@FEW
@given(height=SIDES, width=SIDES, channels=st.integers(1, 4), seed=st.integers(0, 99), data=st.data())
def test_means_and_deviations_are_those_of_the_pixels(
    height: int, width: int, channels: int, seed: int, data: st.DataObject
) -> None:
    source = ProceduralSource(height, width, channels, seed=seed)
    box = data.draw(boxes(level_box(source)))
    values = source.read(box).values.astype(np.float64)
    np.testing.assert_allclose(source.mean(box), values.mean(axis=(0, 1)), rtol=1e-13)
    np.testing.assert_allclose(source.deviation(box), values.std(axis=(0, 1)), rtol=1e-9, atol=1e-9)
    sums, squares = source.sums(box)
    assert sums == values.sum(axis=(0, 1)).astype(int).tolist()
    assert squares == (values**2).sum(axis=(0, 1)).astype(int).tolist()


@FEW
@given(height=st.integers(1, 24), width=st.integers(1, 24), data=st.data())
def test_smaller_sizes_are_rounded_means(height: int, width: int, data: st.DataObject) -> None:
    source = ProceduralSource(height, width, 2, levels=(1, 2, 8))
    finest = source.read(level_box(source)).values
    wholes = {}
    for level, factor in enumerate(source.levels):
        box = level_box(source, level)
        means = [
            [
                finest[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].mean(axis=(0, 1))
                for x in range(box.x1)
            ]
            for y in range(box.y1)
        ]
        wholes[factor] = Whole.dense(np.floor(np.array(means) + 0.5).astype(np.uint8))
    check_source(data, source, wholes, reads=2)


def test_a_thousand_million_pixels_a_side_cost_nothing() -> None:
    side = LARGEST_SIDE
    source = ProceduralSource(side, side, covered=[Box(0, 0, 512, 512), Box(side - 512, 0, side, 512)], levels=(1, 512))
    assert [box.area for box in source.covered(level_box(source))] == [512 * 512] * 2
    assert list(source.covered(Box(1 << 20, 0, 1 << 29, side))) == []
    far = Box(side - 300, 0, side, 200)
    np.testing.assert_allclose(source.mean(far), source.read(far).values.mean(axis=(0, 1)))
    whole = source.mean(level_box(source))
    assert (whole > 90).all()
    assert (whole < 160).all()
    assert not source.read(Box(600, 600, 700, 700)).real().any()
    coarse = source.read(Box(0, 0, 4, 4), 1)
    assert coarse.real().sum() == 1
    np.testing.assert_allclose(coarse.values[0, 0], source.mean(Box(0, 0, 512, 512)), atol=0.5)


def test_the_coarsest_sizes_of_the_largest_image_do_not_overflow() -> None:
    source = ProceduralSource(LARGEST_SIDE, LARGEST_SIDE, levels=(1, 1 << 28, 1 << 30))
    np.testing.assert_allclose(source.read(Box(0, 0, 1, 1), 2).values[0, 0], source.mean(level_box(source)), atol=0.5)
    quarter = Box(0, 0, 1 << 28, 1 << 28)
    np.testing.assert_allclose(source.read(Box(0, 0, 4, 4), 1).values[0, 0], source.mean(quarter), atol=0.5)


def test_what_is_covered_fits_the_levels() -> None:
    with pytest.raises(UsageError, match="no multiples of 4"):
        ProceduralSource(32, 32, covered=[Box(0, 0, 6, 8)], levels=(1, 4))
