"""How bright is a node, and how much does that vary?  Counts, sums and sums of squares of pixels, per channel.

Means of means are wrong wherever nodes are not all of one size, as at an image's edges or around a hole in it.  Sums
are not: the statistics of a node are those of its children, added up, so that the colour of every node of every level
is the mean of the pixels under it, each counted once.

*Exact* means here: equal to the sum of the integers.  Float64 holds every integer up to 2**53, and a sum of integers
that stays below it is exact in any order.  So sums are exact up to 2**53 / 255 = 3.5e13 pixels of uint8 (a square of
5.9 million) and 1.3e11 of uint16 (370,000 square); sums of squares up to 1.3e11 of uint8 and 2**21 = 2.1e6 of uint16
(all of levels 0 to 4).  Beyond, each addition rounds to 53 bits: a node's sum is off by at most a part of 2**-53 for
each addition on the way up to it, three for each level, so that at the root of 10**9 × 10**9 pixels, 20 levels above
the last exact one, a sum errs by less than 1e-14 of itself.  Counts are whole numbers below 2**63.

Nothing is assumed about what the channels mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.patches import real_pixels, require_patches, without_masked
from mctree.errors import UsageError
from mctree.geometry import PATCH

__all__ = ["Statistics", "of_patches"]

_PIXELS: Final = PATCH * PATCH
_PRODUCT: Final = 1 << 18
"""Multiplications of one product: for more of them BLAS libraries wake threads, whose waiting costs far more than they
give, most of all where another process has the other cores."""
_AT_ONCE: Final = 1 << 21
"""Values worked on at once, so that memory is bounded whatever the number of channels."""
_FEW_CHANNELS: Final = 8
_TYPES: Final = [np.dtype(np.int64), np.dtype(np.float64), np.dtype(np.float64)]


@dataclass(frozen=True, eq=False, slots=True)
class Statistics:
    """Of the real pixels of `n` nodes.

    Attributes:
        count: `int64 [n]`: how many.
        sum: `float64 [n, c]`: of their values.
        square: `float64 [n, c]`: of the squares of their values.

    Raises:
        UsageError: the arrays are not of these shapes and types.
    """

    count: NDArray[np.int64]
    sum: NDArray[np.float64]
    square: NDArray[np.float64]

    def __post_init__(self) -> None:
        if (
            self.count.ndim != 1
            or self.sum.ndim != 2
            or len(self.sum) != len(self.count)
            or self.square.shape != self.sum.shape
            or [self.count.dtype, self.sum.dtype, self.square.dtype] != _TYPES
        ):
            raise UsageError(
                "statistics are int64 [n], float64 [n, c] and float64 [n, c], not "
                + ", ".join(f"{part.dtype} {list(part.shape)}" for part in (self.count, self.sum, self.square))
            )

    def __len__(self) -> int:
        return len(self.count)

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of each channel, `float64 [n, c]`: the sum's nearest quotient; 0 where there are no pixels."""
        return self.sum / np.maximum(self.count, 1)[:, None]

    @property
    def std(self) -> NDArray[np.float64]:
        """The standard deviation of each channel, √(n·Σx² − (Σx)²) / n, `float64 [n, c]`; 0 where there are no pixels.

        Its error is about 1e-8 of the mean where the statistics are exact, and 2e-7 at most: what is left of the
        difference of two large numbers.  It is exactly 0 where all pixels are alike and the statistics exact.
        """
        count = np.maximum(self.count, 1).astype(np.float64)[:, None]
        deviation: NDArray[np.float64] = np.sqrt(np.maximum(count * self.square - self.sum * self.sum, 0)) / count
        return deviation


def of_patches(pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> Statistics:
    """The statistics of patches, exact.

    Args:
        pixels: `[n, 16, 16, c]`, uint8 or uint16; masked ones do not count, whatever they hold.
        mask: `bool [n, 16, 16]`: which are real.

    Raises:
        UsageError: the arrays are not of these shapes and types.
    """
    channels = require_patches(pixels, mask)
    count = real_pixels(mask)
    values = without_masked(pixels, mask, count).reshape(len(pixels), _PIXELS * channels)
    # All partial sums are integers that the type holds: 256 · 255² < 2**24, and 256 · 65535² < 2**40.
    exact = np.dtype(np.float32 if pixels.dtype == np.uint8 else np.float64)
    total, square = np.empty((2, len(pixels), channels))
    step = max(_AT_ONCE // (_PIXELS * channels), 1)
    for start in range(0, len(pixels), step):
        rows = slice(start, start + step)
        floats: NDArray[np.floating] = values[rows].astype(exact)
        total[rows] = _by_channel(floats, channels)
        np.multiply(floats, floats, out=floats)
        square[rows] = _by_channel(floats, channels)
    return Statistics(count, total, square)


def _by_channel(values: NDArray[np.floating], channels: int) -> NDArray[np.floating]:
    """Sums over the pixels of patches `[n, 256 · channels]`: `[n, channels]`.

    Of few channels, as products with ones and zeros, by the fastest adder there is.  One call makes them all, so that
    threads do not wait for one another between many; and each of its products is a small one.
    """
    n = len(values)
    if channels > _FEW_CHANNELS:
        by_pixel: NDArray[np.floating] = values.reshape(n, _PIXELS, channels).sum(axis=1)
        return by_pixel
    ones = np.tile(np.eye(channels, dtype=values.dtype), (_PIXELS, 1))
    rows = max(_PRODUCT // (_PIXELS * channels**2), 1)
    sums, whole = np.empty((n, channels), values.dtype), n - n % rows
    np.matmul(values[:whole].reshape(-1, rows, _PIXELS * channels), ones, out=sums[:whole].reshape(-1, rows, channels))
    np.matmul(values[whole:], ones, out=sums[whole:])
    return sums
