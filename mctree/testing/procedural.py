"""An image of any size that takes no room: its pixels are a formula, and so are their means and deviations.

Every value is the sum of a number that follows from its column and one that follows from its row, so that sums over a
box are sums over its sides, each in a few steps however long the side is:

    Σ v  = h·Σ a + w·Σ b                Σ v² = h·Σ a² + 2·(Σ a)(Σ b) + w·Σ b²

Both numbers have a part that repeats after a prime number of pixels, and one that grows across the image, so that
neither neighbours nor distant places look alike.  Smaller sizes are made of the means of squares, rounded half up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.sources.images import Box, Pixels
from mctree.sources.images.bounded import MOST_PIXELS, Bounded

__all__ = ["ProceduralSource"]

_PERIODS = (251, 241, 239, 233, 229, 227, 223, 211)
_FINE = 64
_COARSE = 64
_FITS = 1 << 26
"""Sums over squares of larger sides do not fit into 64 bits."""


class ProceduralSource(Bounded):
    """An image made up as it is read.

    Args:
        height: in pixels.
        width: in pixels.
        channels: values of each pixel, 1 to 4.
        seed: another seed, another image.
        covered: the boxes that are there, of which none share a pixel; None for all of it.  Their sides are divided by
            every level without remainder, but at the right and lower edge.
        levels: see `ImageSource`.
        max_pixels: the most that one read gives.

    Raises:
        UsageError: a box does not fit the levels.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 3,
        *,
        seed: int = 0,
        covered: Sequence[Box] | None = None,
        levels: tuple[int, ...] = (1,),
        max_pixels: int = MOST_PIXELS,
    ) -> None:
        super().__init__(
            f"procedural:{height}x{width}x{channels}?seed={seed}",
            height,
            width,
            channels,
            np.dtype(np.uint8),
            levels=levels,
            max_pixels=max_pixels,
        )
        coarsest = levels[-1]
        for box in covered or ():
            ends = (box.x1 % coarsest and box.x1 != width) or (box.y1 % coarsest and box.y1 != height)
            if box.x0 % coarsest or box.y0 % coarsest or ends:
                raise UsageError(f"{box} cannot be covered: its sides are no multiples of {coarsest}")
        random = np.random.default_rng(seed)
        self._columns = [_Side(width, _PERIODS[2 * c], random) for c in range(channels)]
        self._rows = [_Side(height, _PERIODS[2 * c + 1], random) for c in range(channels)]
        self._there = None if covered is None else tuple(covered)

    @property
    def fingerprint(self) -> str:
        """Of what it was made with."""
        return f"{self.uri} {self._there}".encode().hex()

    def sums(self, box: Box) -> tuple[list[int], list[int]]:
        """The sums of the values of a box of level 0, and of their squares, for each channel.

        What is covered is not asked: they are those of the formula.
        """
        values: list[int] = []
        squares: list[int] = []
        for column, row in zip(self._columns, self._rows, strict=True):
            a, a2 = column.sums(box.x0, box.x1)
            b, b2 = row.sums(box.y0, box.y1)
            values.append(box.height * a + box.width * b)
            squares.append(box.height * a2 + 2 * a * b + box.width * b2)
        return values, squares

    def mean(self, box: Box) -> NDArray[np.float64]:
        """The mean of a box of level 0, for each channel: `float64 [c]`."""
        return np.array([value / box.area for value in self.sums(box)[0]])

    def deviation(self, box: Box) -> NDArray[np.float64]:
        """The standard deviation of a box of level 0, for each channel: `float64 [c]`."""
        pairs = zip(*self.sums(box), strict=True)
        return np.array([math.sqrt((square * box.area - value * value) / box.area**2) for value, square in pairs])

    def _read(self, box: Box, level: int) -> Pixels:
        factor = self.levels[level]
        values = np.empty((box.height, box.width, self.channels), np.uint8)
        for c, (column, row) in enumerate(zip(self._columns, self._rows, strict=True)):
            across, wide = column.blocks(box.x0, box.x1, factor)
            down, high = row.blocks(box.y0, box.y1, factor)
            if factor > _FITS:
                across, wide, down, high = (side.astype(object) for side in (across, wide, down, high))
            total = across[np.newaxis] * high[:, np.newaxis] + down[:, np.newaxis] * wide[np.newaxis]
            area = high[:, np.newaxis] * wide[np.newaxis]
            values[:, :, c] = (2 * total + area) // (2 * area)
        if self._there is None:
            return Pixels(values)
        mask = np.zeros(values.shape[:2], np.bool_)
        for found in self._covered(box, level):
            mask[found.seen_from(box).slices] = True
        values[~mask] = 0
        return Pixels(values, None if mask.all() else mask)

    def _covered(self, box: Box, level: int) -> Iterator[Box]:
        factor = self.levels[level]
        for there in (box,) if self._there is None else self._there:
            smaller = there
            if self._there is not None and factor > 1:
                smaller = Box(there.x0 // factor, there.y0 // factor, -(-there.x1 // factor), -(-there.y1 // factor))
            found = smaller.common(box)
            if found is not None:
                yield found


class _Side:
    """The numbers of one side: `table[i % period] + (i >> shift)`, both parts below 64; the latter grows across it."""

    def __init__(self, length: int, period: int, random: np.random.Generator) -> None:
        self._length = length
        self._period = period
        self._table = random.integers(0, _FINE, period)
        self._shift = max(length.bit_length() - _COARSE.bit_length() + 1, 0)
        self._before = [np.concatenate(([0], np.cumsum(self._table**power))) for power in (1, 2)]

    def sums(self, start: int, stop: int) -> tuple[int, int]:
        """The sum of the numbers of some pixels, and of their squares."""
        first, second = self._up_to(np.array([start, stop]))
        return int(first[1] - first[0]), int(second[1] - second[0])

    def blocks(self, start: int, stop: int, factor: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The sums of the numbers of some blocks of `factor` pixels, and how many each has: fewer at the end."""
        edges = np.minimum(np.arange(start, stop + 1) * factor, self._length)
        return np.diff(self._up_to(edges)[0]), np.diff(edges)

    def _up_to(self, ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sum of all numbers before some pixels, and of their squares."""
        fine, fine_squares = (self._fine(ends, power) for power in (1, 2))
        high, rest = ends >> self._shift, ends & ((1 << self._shift) - 1)
        coarse = (high * (high - 1) // 2 << self._shift) + rest * high
        coarse_squares = ((high - 1) * high * (2 * high - 1) // 6 << self._shift) + rest * high * high
        mixed = np.zeros_like(ends)
        for step in range(1, _COARSE):  # all numbers whose second part is `step` or more count once more
            begin = np.minimum(ends, step << self._shift)
            mixed += fine - self._fine(begin, 1)
        return fine + coarse, fine_squares + 2 * mixed + coarse_squares

    def _fine(self, ends: NDArray[np.int64], power: int) -> NDArray[np.int64]:
        before = self._before[power - 1]
        return np.asarray(ends // self._period * before[-1] + before[ends % self._period], np.int64)
