"""An array in memory as an image, and what boxes of pixels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mctree.errors import SourceError, UsageError
from mctree.sources.images import ArraySource, Box
from tests.sources.images.reading import FEW, Whole, boxes, check_source

SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, max_side=40)
DTYPES = st.sampled_from([np.uint8, np.uint16])


@FEW
@given(values=arrays.arrays(DTYPES, SHAPES), data=st.data())
def test_boxes_of_an_array_are_its_pixels(values: np.ndarray, data: st.DataObject) -> None:
    check_source(data, ArraySource(values), {1: Whole.dense(values)})


@FEW
@given(values=arrays.arrays(DTYPES, SHAPES, elements=st.integers(1, 255)), data=st.data())
def test_masked_pixels_are_zero_and_said_to_be_missing(values: np.ndarray, data: st.DataObject) -> None:
    mask = data.draw(arrays.arrays(np.bool_, values.shape[:2]))
    check_source(data, ArraySource(values, mask), {1: Whole(values, mask)})


@FEW
@given(values=arrays.arrays(np.dtype(">u2"), SHAPES), data=st.data())
def test_any_byte_order_and_stride_will_do(values: np.ndarray, data: st.DataObject) -> None:
    turned = values[::-1, ::2].swapaxes(0, 1)
    check_source(data, ArraySource(turned), {1: Whole.dense(turned.astype(np.uint16))})


def test_what_is_read_belongs_to_the_caller() -> None:
    values = np.ones((4, 4, 1), np.uint8)
    source = ArraySource(values)
    source.read(Box(0, 0, 4, 4)).values[:] = 9
    assert (values == 1).all()


def test_two_dimensions_are_one_channel() -> None:
    source = ArraySource(np.zeros((3, 5), np.uint8))
    assert (source.height, source.width, source.channels) == (3, 5, 1)


def test_fingerprints_tell_pixels_masks_and_shapes_apart() -> None:
    values = np.arange(24, dtype=np.uint8)
    mask = np.ones((4, 6), np.bool_)
    mask[0, 0] = False
    sources = [
        ArraySource(values.reshape(4, 6)),
        ArraySource(values.reshape(6, 4)),
        ArraySource(values.reshape(4, 6)[::-1]),
        ArraySource(values.reshape(4, 6), mask),
        ArraySource(values.reshape(4, 6).astype(np.uint16)),
    ]
    assert len({source.fingerprint for source in sources}) == len(sources)
    assert ArraySource(values.reshape(4, 6)).fingerprint == sources[0].fingerprint


def test_every_pixel_of_a_large_image_is_in_its_fingerprint_and_none_that_a_mask_hides() -> None:
    values = np.random.default_rng(1).integers(0, 256, (3000, 700, 1), dtype=np.uint8)
    mask = np.ones((3000, 700), np.bool_)
    mask[1500:1600] = False
    whole, masked = ArraySource(values).fingerprint, ArraySource(values, mask).fingerprint
    assert whole == ArraySource(np.asfortranarray(values)).fingerprint
    for row in (0, 1497, 1498, 2999):
        other = values.copy()
        other[row, 350] ^= 1
        assert ArraySource(other).fingerprint != whole
        assert ArraySource(other, mask).fingerprint != masked
    hidden = values.copy()
    hidden[1500:1600] ^= 1
    assert ArraySource(hidden, mask).fingerprint == masked


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int16), np.zeros(4, np.uint8), np.zeros((1, 2, 2, 1), np.uint8)],
)
def test_other_arrays_are_refused(values: np.ndarray) -> None:
    with pytest.raises(UsageError, match="an image is uint8 or uint16"):
        ArraySource(values)


def test_an_empty_array_is_no_image() -> None:
    with pytest.raises(SourceError, match="0 × 4 pixels"):
        ArraySource(np.zeros((4, 0, 3), np.uint8))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="the mask of this image"):
        ArraySource(np.zeros((4, 4), np.uint8), np.ones((4, 5), np.bool_))


def test_boxes_outside_levels_that_are_not_there_and_boxes_too_large_are_refused() -> None:
    source = ArraySource(np.zeros((10, 20), np.uint8), max_pixels=100)
    for box, level, why in [
        (Box(0, 0, 21, 10), 0, "reaches beyond"),
        (Box(0, 0, 20, 11), 0, "reaches beyond"),
        (Box(0, 0, 1, 1), 1, "no level 1"),
        (Box(0, 0, 1, 1), -1, "no level -1"),
    ]:
        with pytest.raises(UsageError, match=why):
            source.read(box, level)
        with pytest.raises(UsageError, match=why):
            source.covered(box, level)
    with pytest.raises(UsageError, match="at most 100 pixels"):
        source.read(Box(0, 0, 20, 6))
    assert list(source.covered(Box(0, 0, 20, 10))) == [Box(0, 0, 20, 10)]


def test_a_closed_source_says_so() -> None:
    with ArraySource(np.zeros((2, 2), np.uint8)) as source:
        pass
    source.close()
    with pytest.raises(UsageError, match="was closed"):
        source.read(Box(0, 0, 1, 1))
    with pytest.raises(UsageError, match="was closed"):
        source.covered(Box(0, 0, 1, 1))


@pytest.mark.parametrize("corners", [(0, 0, 0, 1), (0, 0, 1, 0), (2, 0, 1, 1), (-1, 0, 1, 1), (0, -1, 1, 1)])
def test_a_box_is_never_empty(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="holds none"):
        Box(*corners)


AREA = Box(0, 0, 12, 9)


@given(one=boxes(AREA), other=boxes(AREA))
def test_what_two_boxes_have_in_common(one: Box, other: Box) -> None:
    painted = np.zeros((AREA.height, AREA.width), np.uint8)
    painted[one.slices] += 1
    painted[other.slices] += 1
    common = one.common(other)
    assert common == other.common(one)
    assert (painted == 2).sum() == (common.area if common else 0)
    assert one.holds(other) == (common == other)
    if common:
        assert (painted[common.slices] == 2).all()
        assert common.seen_from(one).area == common.area
