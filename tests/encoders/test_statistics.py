"""Counts, sums and sums of squares against integral images, at every level, and against Python's integers beyond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.encoders.patches import cut
from mctree.encoders.statistics import Statistics, merged, occupancy, of_patches
from mctree.errors import UsageError
from mctree.geometry import IMAGE, Raster
from tests.encoders.pictures import SHORT_SIDES, Picture, Sums, pictures


def pyramid(picture: Picture) -> list[Statistics]:
    """The statistics of all nodes of every level, from the patches to the root; of those that do not exist, too."""
    height, width, channels = picture.pixels.shape
    raster = Raster(height, width)
    patches = cut(picture.pixels, picture.mask)
    found = of_patches(patches.pixels, patches.mask)
    every = Statistics(
        np.zeros(raster.extent, np.int64), np.zeros((raster.extent, channels)), np.zeros((raster.extent, channels))
    )
    every.count[patches.index] = found.count
    every.sum[patches.index] = found.sum
    every.square[patches.index] = found.square
    levels = [every]
    for level in range(raster.root):
        levels.append(merged(levels[-1], IMAGE.fanout(level)))
    return levels


@given(pictures())
def test_every_node_is_the_sum_of_its_pixels(picture: Picture) -> None:
    raster = Raster(*picture.pixels.shape[:2])
    sums = Sums(picture)
    for level, found in enumerate(pyramid(picture)):
        count, total, square = sums.over(raster.boxes(level, np.arange(len(found))))
        assert found.count.tolist() == count.tolist()
        assert found.sum.tolist() == total.tolist()
        assert found.square.tolist() == square.tolist()
        # The nearest quotient of two integers, and not a mean of means.
        quotients = [[one / max(n, 1) for one in sums] for n, sums in zip(count.tolist(), total.tolist(), strict=True)]
        assert found.mean.tolist() == quotients


@given(pictures(SHORT_SIDES))
def test_deviations(picture: Picture) -> None:
    raster = Raster(*picture.pixels.shape[:2])
    for level, found in enumerate(pyramid(picture)):
        for (x0, y0, x1, y1), count, std in zip(
            raster.boxes(level, np.arange(len(found))).tolist(), found.count.tolist(), found.std, strict=True
        ):
            pixels = picture.pixels[y0:y1, x0:x1][picture.real[y0:y1, x0:x1]].astype(np.float64)
            expected = pixels.std(axis=0) if count else np.zeros(picture.pixels.shape[2])
            assert np.allclose(std, expected, rtol=1e-9, atol=3e-8 * picture.largest)


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 65535), st.integers(0, 8))
def test_one_colour_deviates_by_nothing(dtype: type, colour: int, levels: int) -> None:
    colour %= int(np.iinfo(dtype).max) + 1
    found = of_patches(np.full((1, 16, 16, 2), colour, dtype), np.ones((1, 16, 16), np.bool_))
    for _ in range(levels):
        found = merged(Statistics.concatenated([found] * 4), 4)
    assert found.mean.tolist() == [[colour, colour]]
    assert found.std.tolist() == [[0, 0]]


@given(pictures())
def test_what_is_masked_does_not_count(picture: Picture) -> None:
    patches = cut(picture.pixels, picture.mask)
    garbage = np.where(patches.mask[..., None], patches.pixels, patches.pixels.dtype.type(200))
    before = garbage.copy()
    clean, dirty = of_patches(patches.pixels, patches.mask), of_patches(garbage, patches.mask)
    assert np.array_equal(clean.sum, dirty.sum)
    assert np.array_equal(clean.square, dirty.square)
    assert np.array_equal(garbage, before)


@given(st.data())
def test_sums_beyond_53_bits_hardly_err(data: st.DataObject) -> None:
    """From level 5 to the root of 10**9 × 10**9 pixels of uint16, each level merged from four unlike children."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    counts = rng.integers(1, 4**10, 4**5)
    sums = [int(rng.integers(0, 65536)) * int(count) for count in counts]
    squares = [int(one) ** 2 // int(count) for one, count in zip(sums, counts, strict=True)]
    scale = 4**15  # as if each of them stood for so many
    counts, sums, squares = counts * scale, [one * scale + 1 for one in sums], [one * scale + 1 for one in squares]
    found = Statistics(counts, as_floats(sums), as_floats(squares))
    for _ in range(5):
        found = merged(found, 4)
    assert found.count.tolist() == [sum(counts.tolist())]
    for got, exact in ((found.sum, sum(sums)), (found.square, sum(squares))):
        assert abs(int(got[0, 0]) - exact) <= 1e-14 * exact
    mean, power = sum(sums) / sum(counts.tolist()), sum(squares) / sum(counts.tolist())
    assert found.mean[0, 0] == pytest.approx(mean, rel=1e-14)
    assert found.std[0, 0] == pytest.approx(np.sqrt(max(power - mean**2, 0)), abs=2e-7 * 65535)


def as_floats(values: list[int]) -> NDArray[np.float64]:
    return np.array([float(value) for value in values])[:, None]


@given(st.integers(1, 70), st.integers(1, 3), st.integers(0, 2**32))
def test_parents_do_not_depend_on_their_batch(parents: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 9, parents * 4)
    values = rng.random((2, parents * 4, channels)) * 1e17
    whole = merged(Statistics(count, *values), 4)
    for i in range(parents):
        rows = slice(4 * i, 4 * i + 4)
        alone = merged(Statistics(count[rows], *np.asfortranarray(values[:, rows])), 4)
        assert np.array_equal(alone.sum[0], whole.sum[i])
        assert np.array_equal(alone.square[0], whole.square[i])


@given(st.lists(st.integers(0, 2**64 - 1), max_size=5))
def test_occupancy(bits: list[int]) -> None:
    count = np.array([(one >> i & 1) * (i + 1) for one in bits for i in range(64)], dtype=np.int64)
    found = occupancy(count)
    assert found.dtype == np.uint64
    assert found.tolist() == bits


@given(pictures())
def test_an_overview_says_the_same_of_more_pixels(picture: Picture) -> None:
    patches = cut(picture.pixels, picture.mask)
    found = of_patches(patches.pixels, patches.mask)
    more = found.weighing(found.count * 64 + 5)
    assert more.count.tolist() == (found.count * 64 + 5).tolist()
    assert np.allclose(more.mean, found.mean, rtol=1e-12)
    assert np.allclose(more.std, found.std, rtol=1e-6, atol=1e-7 * picture.largest)
    nothing = Statistics(np.zeros(1, np.int64), np.zeros((1, 1)), np.zeros((1, 1))).weighing(np.array([7]))
    assert nothing.count.tolist() == [0]


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
    with pytest.raises(UsageError, match="3 children do not make parents of 4"):
        merged(Statistics(np.zeros(3, np.int64), np.zeros((3, 1)), np.zeros((3, 1))), 4)
    with pytest.raises(UsageError, match="not tiles"):
        occupancy(np.zeros(63, np.int64))
    with pytest.raises(UsageError, match="patches must be"):
        of_patches(np.zeros((1, 8, 8, 1), np.uint8), np.ones((1, 8, 8), np.bool_))
    with pytest.raises(UsageError, match="the masks of patches must be"):
        of_patches(np.zeros((1, 16, 16, 1), np.uint8), np.ones((2, 16, 16), np.bool_))
