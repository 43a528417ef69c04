"""Does an image source keep what the protocol says?  One box is read whole and in parts, and compared.

    for box in some_boxes:
        check_image(MySource(), box)

What the pixels ought to be, only their maker knows; here it is checked that they agree with each other, with the mask,
with what is said to be covered, and with the sizes and kinds that the source states.
"""

from __future__ import annotations

import numpy as np

from mctree.sources.images import LARGEST_SIDE, Box, ImageSource, Pixels
from mctree.sources.images.protocol import level_box

__all__ = ["check_image"]


def check_image(source: ImageSource, box: Box, level: int = 0) -> Pixels:
    """Check one box, and return what it holds.

    Args:
        source: of the box.
        box: of a level; it is read twice.
        level: an index into the source's levels.

    Raises:
        AssertionError: what is broken.
    """
    _check_statements(source)
    assert level_box(source, level).holds(box), "ask for a box inside the level"
    whole = source.read(box, level)
    mask = whole.real()
    assert whole.values.shape == (box.height, box.width, source.channels), f"a read gave {whole.values.shape}"
    assert whole.values.dtype == source.dtype, f"a read gave {whole.values.dtype}"
    assert whole.values.flags.c_contiguous and whole.values.flags.writeable, "pixels are not the caller's own"
    assert mask.shape == (box.height, box.width) and mask.dtype == np.bool_, "the mask has another shape or dtype"
    assert not whole.values[~mask].any(), "pixels that are not there have values"
    for part in _quarters(box):
        again = source.read(part, level)
        here = part.seen_from(box).slices
        assert np.array_equal(again.values, whole.values[here]), f"{part} has other pixels when it is read by itself"
        assert np.array_equal(again.real(), mask[here]), f"{part} has another mask when it is read by itself"
    painted = np.zeros((box.height, box.width), np.uint8)
    for found in source.covered(box, level):
        assert box.holds(found), f"{found} is covered, and lies outside of {box}"
        assert not painted[found.seen_from(box).slices].any(), f"{found} shares pixels with another covered box"
        painted[found.seen_from(box).slices] = 1
    assert not (mask & (painted == 0)).any(), "there are pixels where nothing is said to be"
    return whole


def _check_statements(source: ImageSource) -> None:
    assert isinstance(source, ImageSource), "it lacks members of the protocol"
    assert 1 <= source.height <= LARGEST_SIDE and 1 <= source.width <= LARGEST_SIDE, "no image has such a size"
    assert source.channels >= 1, "pixels have no values"
    assert source.dtype in (np.uint8, np.uint16), f"pixels are {source.dtype}"
    assert source.levels[0] == 1, "level 0 is not the image itself"
    assert all(factor & (factor - 1) == 0 for factor in source.levels), "a level is smaller by no power of two"
    assert list(source.levels) == sorted(set(source.levels)), "levels are not in order"
    assert source.access in ("random", "rows"), f"access is {source.access}"
    assert int(source.fingerprint, 16) >= 0, "the fingerprint is not hexadecimal"


def _quarters(box: Box) -> list[Box]:
    x, y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
    columns = [(a, b) for a, b in ((box.x0, x), (x, box.x1)) if a < b]
    rows = [(a, b) for a, b in ((box.y0, y), (y, box.y1)) if a < b]
    return [Box(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
