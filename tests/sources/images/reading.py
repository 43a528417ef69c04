"""What every image source must do, told by the whole of each of its levels: pixels, and which are real."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.sources.images import Box, ImageSource
from mctree.sources.images.protocol import level_box
from mctree.testing import check_image

FEW = settings(max_examples=15)
"""For tests whose every example makes a file."""


@dataclass(frozen=True)
class Whole:
    """A level as it was decoded by another route: `[h, w, c]`, and `[h, w]`, False where there is nothing."""

    values: NDArray[np.uint8] | NDArray[np.uint16]
    mask: NDArray[np.bool_]

    @classmethod
    def dense(cls, values: NDArray[np.uint8] | NDArray[np.uint16]) -> Whole:
        return cls(values, np.ones(values.shape[:2], np.bool_))


def boxes(whole: Box) -> st.SearchStrategy[Box]:
    """Boxes inside another: anywhere, and at its edges more often than by chance."""
    return st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), _ranges(whole.x0, whole.x1), _ranges(whole.y0, whole.y1))


def _ranges(start: int, stop: int) -> st.SearchStrategy[tuple[int, int]]:
    return (
        st.sampled_from([start, max(start, stop - 1)])
        .flatmap(lambda near: st.one_of(st.integers(start, stop - 1), st.just(near)))
        .flatmap(lambda first: st.tuples(st.just(first), st.one_of(st.integers(first + 1, stop), st.just(stop))))
    )


def check_box(source: ImageSource, box: Box, level: int, whole: Whole) -> None:
    """One read, and what is said to be covered, against the whole."""
    got = check_image(source, box, level)
    mask = whole.mask[box.slices]
    assert got.values.dtype == whole.values.dtype
    assert got.mask is None or not got.mask.all()
    np.testing.assert_array_equal(got.real(), mask)
    np.testing.assert_array_equal(got.values, np.where(mask[:, :, np.newaxis], whole.values[box.slices], 0))


def check_shape(source: ImageSource, wholes: dict[int, Whole]) -> None:
    """Sizes, levels, and the fingerprint."""
    assert source.levels == tuple(sorted(wholes))
    finest = wholes[1].values.shape
    assert (source.height, source.width, source.channels) == finest
    for level, factor in enumerate(source.levels):
        box = level_box(source, level)
        assert (box.height, box.width) == (-(-finest[0] // factor), -(-finest[1] // factor))
        assert wholes[factor].values.shape == (box.height, box.width, finest[2])
    assert source.fingerprint == source.fingerprint


def check_source(data: st.DataObject, source: ImageSource, wholes: dict[int, Whole], reads: int = 3) -> None:
    """All of it: the whole of each level, some boxes, and the same from a copy in another process's eyes."""
    check_shape(source, wholes)
    for level, factor in enumerate(source.levels):
        check_box(source, level_box(source, level), level, wholes[factor])
        for _ in range(reads):
            check_box(source, data.draw(boxes(level_box(source, level))), level, wholes[factor])
    copy: ImageSource = pickle.loads(pickle.dumps(source))
    assert copy.fingerprint == source.fingerprint
    assert copy.uri == source.uri
    check_box(copy, level_box(copy), 0, wholes[1])
    copy.close()
    copy.close()
