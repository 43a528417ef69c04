"""Pictures cut into patches against slices of them, and put together again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from mctree.encoders.patches import cut, real_pixels
from mctree.errors import UsageError
from mctree.geometry import PATCH, morton
from tests.encoders.pictures import Picture, pictures


@given(pictures())
def test_patches_are_slices_in_z_order(picture: Picture) -> None:
    patches = cut(picture.pixels, picture.mask)
    height, width, channels = picture.pixels.shape
    expected = []
    for y in range(0, height, PATCH):
        for x in range(0, width, PATCH):
            if picture.real[y : y + PATCH, x : x + PATCH].any():
                expected.append((morton.encode(x // PATCH, y // PATCH), x, y))
    expected.sort()
    assert patches.index.tolist() == [z for z, _, _ in expected]
    assert patches.pixels.shape == (len(patches), PATCH, PATCH, channels)
    assert patches.pixels.dtype == picture.pixels.dtype
    assert patches.mask.dtype == np.bool_
    for k, (_, x, y) in enumerate(expected):
        real = picture.real[y : y + PATCH, x : x + PATCH]
        rows, columns = real.shape
        assert np.array_equal(patches.mask[k, :rows, :columns], real)
        assert patches.mask[k].sum() == real.sum()
        seen = picture.pixels[y : y + PATCH, x : x + PATCH] * real[..., None]
        assert np.array_equal(patches.pixels[k, :rows, :columns], seen)
        assert not patches.pixels[k, rows:].any()
        assert not patches.pixels[k, :, columns:].any()
    assert real_pixels(patches.mask).tolist() == patches.mask.sum(axis=(1, 2)).tolist()


def test_a_view_is_cut_like_a_copy() -> None:
    pixels = np.arange(64 * 96 * 3, dtype=np.uint16).reshape(64, 96, 3)
    for view in (pixels[:, ::-1], pixels.transpose(1, 0, 2), pixels[..., 1:], pixels[5:50, 7:80]):
        assert np.array_equal(cut(view).pixels, cut(view.copy()).pixels)


def test_whole_masks_take_no_memory() -> None:
    assert cut(np.zeros((64, 64, 1), np.uint8)).mask.strides == (0, 0, 0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.int16),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 0), np.uint8),
    ],
)
def test_what_is_no_picture(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match="a picture must be uint8 or uint16"):
        cut(pixels)


@pytest.mark.parametrize("mask", [np.ones((4, 5), np.bool_), np.ones((4, 4), np.uint8)])
def test_what_is_no_mask(mask: np.ndarray) -> None:
    with pytest.raises(UsageError, match="the mask of a picture must be bool"):
        cut(np.zeros((4, 4, 1), np.uint8), mask)
