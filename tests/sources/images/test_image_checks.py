"""The check of image sources that users get: it finds each way of breaking the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mctree.sources.images import ArraySource, Box, Pixels
from mctree.testing import check_image

VALUES = np.random.default_rng(0).integers(1, 256, (20, 30, 2), np.uint8)
MASK = np.ones((20, 30), np.bool_)
MASK[4:9, 10:20] = False
BOX = Box(5, 2, 25, 18)


class Sound(ArraySource):
    """A source that keeps the protocol, to be broken in one place."""

    def __init__(self) -> None:
        super().__init__(VALUES, MASK)


class Another(Sound):
    def read(self, box: Box, level: int = 0) -> Pixels:
        return self.changed(super().read(box, level), box)

    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        raise NotImplementedError


class Shifts(Another):
    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        return Pixels(np.roll(pixels.values, 1, axis=1) * pixels.real()[:, :, None].astype(np.uint8), pixels.mask)


class Invents(Another):
    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        return Pixels(VALUES[box.slices].copy(), pixels.mask)


class Widens(Another):
    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        return Pixels(pixels.values.astype(np.uint16), pixels.mask)


class Flattens(Another):
    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        return Pixels(pixels.values[:, :, 0], pixels.mask)


class Lends(Another):
    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        pixels.values.flags.writeable = False
        return pixels


class Forgets(Another):
    def changed(self, pixels: Pixels, box: Box) -> Pixels:
        return pixels if box == BOX else Pixels(pixels.values)


class Hides(Sound):
    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        return iter(())


class Repeats(Sound):
    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        return iter((box, Box(box.x0, box.y0, box.x0 + 1, box.y0 + 1)))


class Exceeds(Sound):
    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        return iter((Box(0, 0, 30, 20),))


def with_attribute(name: str, value: Any) -> Sound:
    source = Sound()
    setattr(source, name, value)
    return source


def test_a_sound_source_passes() -> None:
    assert not check_image(Sound(), BOX).real().all()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (Shifts(), "other pixels when it is read by itself"),
        (Invents(), "pixels that are not there have values"),
        (Widens(), "a read gave uint16"),
        (Flattens(), "a read gave"),
        (Lends(), "not the caller's own"),
        (Forgets(), "another mask when it is read by itself"),
        (Hides(), "where nothing is said to be"),
        (Repeats(), "shares pixels"),
        (Exceeds(), "lies outside"),
        (with_attribute("levels", (2,)), "level 0 is not the image"),
        (with_attribute("levels", (1, 3)), "no power of two"),
        (with_attribute("levels", (1, 4, 2)), "not in order"),
        (with_attribute("access", "columns"), "access is columns"),
        (with_attribute("height", 0), "no image has such a size"),
        (object(), "lacks members"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_breach_is_found(source: Any, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_image(source, BOX)
