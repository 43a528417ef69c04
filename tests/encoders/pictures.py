"""Pictures to draw from, and what they are like on average, by another way than the code's: integral images.

An integral image holds, at (y, x), the sum of all that is above and to the left.  The sum over any box is then four
look-ups, whatever nodes or levels there are.  All sums are of integers, in int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

SIDES = st.one_of(
    st.integers(1, 40), st.integers(1, 300), st.sampled_from([1, 15, 16, 17, 33, 127, 128, 129, 256, 257])
)
SHORT_SIDES = st.one_of(st.integers(1, 40), st.integers(1, 140), st.sampled_from([1, 16, 17, 128, 129]))
DTYPES = st.sampled_from([np.uint8, np.uint16])


@dataclass(frozen=True)
class Picture:
    pixels: NDArray[np.generic]
    mask: NDArray[np.bool_] | None

    @property
    def real(self) -> NDArray[np.bool_]:
        return np.ones(self.pixels.shape[:2], np.bool_) if self.mask is None else self.mask

    @property
    def largest(self) -> int:
        return int(np.iinfo(self.pixels.dtype).max)


@st.composite
def pictures(draw: st.DrawFn, sides: st.SearchStrategy[int] = SIDES) -> Picture:
    """Of any size, type and number of channels; noise, smooth, or of one colour; whole, with holes, or nearly empty."""
    height, width, channels = draw(sides), draw(sides), draw(st.integers(1, 5))
    dtype = draw(DTYPES)
    largest = int(np.iinfo(dtype).max)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "largest", "one colour", "smooth"]))
    if kind == "noise":
        pixels = rng.integers(0, largest + 1, (height, width, channels)).astype(dtype)
    elif kind == "smooth":
        ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 5)[..., None] * np.arange(1, channels + 1)
        pixels = (ramp % (largest + 1)).astype(dtype)
    else:
        colour = largest if kind == "largest" else int(rng.integers(0, largest + 1))
        pixels = np.full((height, width, channels), colour, dtype)
    mask = {
        "whole": None,
        "all real": np.ones((height, width), np.bool_),
        "speckled": rng.random((height, width)) < 0.5,
        "a hole": _with_hole(height, width, rng),
        "nearly empty": rng.random((height, width)) < 0.001,
        "empty": np.zeros((height, width), np.bool_),
    }[draw(st.sampled_from(["whole", "whole", "all real", "speckled", "a hole", "nearly empty", "empty"]))]
    return Picture(pixels, mask)


def _with_hole(height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    mask = np.ones((height, width), np.bool_)
    (y0, y1), (x0, x1) = (np.sort(rng.integers(0, side + 1, 2)) for side in (height, width))
    mask[y0:y1, x0:x1] = False
    return mask


class Sums:
    """Of the real pixels in any boxes of a picture."""

    def __init__(self, picture: Picture) -> None:
        values = picture.pixels.astype(np.int64) * picture.real[..., None]
        planes = np.concatenate([picture.real[..., None].astype(np.int64), values, values * values], axis=2)
        self._integral = np.zeros((planes.shape[0] + 1, planes.shape[1] + 1, planes.shape[2]), np.int64)
        self._integral[1:, 1:] = planes.cumsum(axis=0).cumsum(axis=1)
        self._channels = values.shape[2]

    def over(self, boxes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Counts [n], sums and sums of squares [n, c] in boxes [n, 4]; what of them is outside does not count."""
        s = self._integral
        x0, y0, x1, y1 = np.minimum(boxes, np.array([s.shape[1], s.shape[0]] * 2) - 1).T
        found = s[y1, x1] - s[y0, x1] - s[y1, x0] + s[y0, x0]
        return found[:, 0], found[:, 1 : 1 + self._channels], found[:, 1 + self._channels :]
