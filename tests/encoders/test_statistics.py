"""Counts, sums and sums of squares of patches against integral images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.encoders.patches import cut
from mctree.encoders.statistics import Statistics, of_patches
from mctree.errors import UsageError
from mctree.geometry import Raster
from tests.encoders.pictures import SHORT_SIDES, Picture, Sums, pictures


def patches_of(picture: Picture) -> tuple[NDArray[np.int64], Statistics]:
    """The boxes of a picture's patches, and their statistics."""
    patches = cut(picture.pixels, picture.mask)
    boxes = Raster(*picture.pixels.shape[:2]).boxes(0, patches.index)
    return boxes, of_patches(patches.pixels, patches.mask)


@given(pictures())
def test_every_patch_is_the_sum_of_its_pixels(picture: Picture) -> None:
    boxes, found = patches_of(picture)
    count, total, square = Sums(picture).over(boxes)
    assert found.count.tolist() == count.tolist()
    assert found.sum.tolist() == total.tolist()
    assert found.square.tolist() == square.tolist()
    # The nearest quotient of two integers, and not a mean of means.
    quotients = [[one / n for one in sums] for n, sums in zip(count.tolist(), total.tolist(), strict=True)]
    assert found.mean.tolist() == quotients


@given(pictures(SHORT_SIDES))
def test_deviations(picture: Picture) -> None:
    boxes, found = patches_of(picture)
    for (x0, y0, x1, y1), std in zip(boxes.tolist(), found.std, strict=True):
        pixels = picture.pixels[y0:y1, x0:x1][picture.real[y0:y1, x0:x1]].astype(np.float64)
        assert np.allclose(std, pixels.std(axis=0), rtol=1e-9, atol=3e-8 * picture.largest)


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 65535), st.integers(0, 8))
def test_one_colour_deviates_by_nothing(dtype: type, colour: int, levels: int) -> None:
    colour %= int(np.iinfo(dtype).max) + 1
    found = of_patches(np.full((1, 16, 16, 2), colour, dtype), np.ones((1, 16, 16), np.bool_))
    many = Statistics(found.count * 4**levels, found.sum * 4**levels, found.square * 4**levels)
    assert many.mean.tolist() == [[colour, colour]]
    assert many.std.tolist() == [[0, 0]]


@given(pictures())
def test_what_is_masked_does_not_count(picture: Picture) -> None:
    patches = cut(picture.pixels, picture.mask)
    garbage = np.where(patches.mask[..., None], patches.pixels, patches.pixels.dtype.type(200))
    before = garbage.copy()
    clean, dirty = of_patches(patches.pixels, patches.mask), of_patches(garbage, patches.mask)
    assert np.array_equal(clean.sum, dirty.sum)
    assert np.array_equal(clean.square, dirty.square)
    assert np.array_equal(garbage, before)


def test_many_channels() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (3, 16, 16, 11)).astype(np.uint16)
    found = of_patches(pixels, np.ones((3, 16, 16), np.bool_))
    whole = pixels.astype(np.int64).reshape(3, 256, 11)
    assert found.sum.tolist() == whole.sum(axis=1).tolist()
    assert found.square.tolist() == (whole**2).sum(axis=1).tolist()


def test_what_does_not_belong_together() -> None:
    with pytest.raises(UsageError, match="statistics are int64"):
        Statistics(np.zeros(2, np.int64), np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(UsageError, match="statistics are int64"):
        Statistics(np.zeros(2, np.int32), np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(UsageError, match="patches must be"):
        of_patches(np.zeros((1, 8, 8, 1), np.uint8), np.ones((1, 8, 8), np.bool_))
    with pytest.raises(UsageError, match="the masks of patches must be"):
        of_patches(np.zeros((1, 16, 16, 1), np.uint8), np.ones((2, 16, 16), np.bool_))
