"""What do nodes of an image look like?  What their pixels add up to, one by one, or side by side as a small image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import statistics

__all__ = ["Colours", "Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the real pixels of nodes add up to.

    Attributes:
        pixels: how many there are, `float64 [n]` (whole numbers, exact to 2^53).
        patches: how many patches hold one, `float64 [n]`.
        centre: mean column and row of these patches, counted in patches from the image's first, `float64 [n, 2]`.
        reach: the patches that these reach over, x0, y0, x1, y1, `int64 [n, 4]`.
        sums: of each channel, `float64 [n, c]`.
        squares: sums of squares, `float64 [n, c]`.
    """

    pixels: NDArray[np.float64]
    patches: NDArray[np.float64]
    centre: NDArray[np.float64]
    reach: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean colour: `float64 [n, c]`."""
        return self._of_pixels.mean

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each channel (of the pixels, not of a sample of them): `float64 [n, c]`."""
        return self._of_pixels.std

    @property
    def _of_pixels(self) -> statistics.Statistics:
        return statistics.Statistics(self.pixels.astype(np.int64), self.sums, self.squares)


@dataclass(frozen=True, slots=True)
class Colours:
    """The colours of the nodes of a level, as a small image.

    Attributes:
        sums: of the real pixels under each node, `float64 [h, w, c]`; 0 where there are none.
        pixels: how many they are, `float64 [h, w]`.
    """

    sums: NDArray[np.float64]
    pixels: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean colours, `float64 [h, w, c]`; 0 where there are no pixels."""
        return self.sums / np.maximum(self.pixels, 1)[..., None]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where there is a node: `bool [h, w]`."""
        return self.pixels > 0

    def rounded(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The means as whole numbers of a type, halves to even: `[h, w, c]`."""
        return np.rint(self.mean).astype(dtype)
