"""Which angles does a place turn a query and a key by, and by how much does its width blur them?

Rotary positions (Su et al. 2021) turn each pair of numbers of a query at p and a key at q by ωp and ωq, so that their
product depends on cos ω(p−q).  If p and q are not points but have deviations σp and σq, the expected product is

    E[cos ω(p−q)] = cos(ωΔ) · exp(−½ω²(σp² + σq²)),   Δ the distance of the means

for normal distributions, which factorises: multiplying the cosines and sines of each side by exp(−½(σω)²) is all there
is to do.  High frequencies of a wide gist fade, low ones say where it is.

Angles are products of numbers as large as 10^9 with numbers near 1: in float32 they are off by 0.9 at position 10^8.
So they are computed in float64 and reduced mod 2π before they become float32; the error is below |p|·ω·2^−52 then,
which is 2·10^−8 at position 10^8 and 2·10^−4 at 10^12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mctree.errors import UsageError
from mctree_torch.positions.places import AXES, Places

__all__ = ["Bands", "frequencies", "phases", "rotate", "with_slow_bands"]


def frequencies(dim: int, base: float = 10_000.0) -> torch.Tensor:
    """The usual frequencies, base^(−2i/dim) for i = 0 … dim/2 − 1, in radians for each position: `float64 [dim / 2]`.

    Raises:
        UsageError: the dimension is odd or not above 0, or the base not above 1.
    """
    if dim < 2 or dim % 2 or not base > 1:
        raise UsageError(f"rotary positions need an even dimension above 0 and a base above 1, not {dim} and {base}")
    return base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def with_slow_bands(frequency: torch.Tensor, extent: float, count: int) -> torch.Tensor:
    """Frequencies of which the slowest `count` are replaced by ultra-slow ones.

    These go down in equal ratios to π / extent, half a turn over everything there is: so no two places of that extent
    look alike, and a gist that spans a part of it still has a band that its width does not blur.

    Args:
        frequency: `float64 [k]`, descending.
        extent: how many positions there may be.
        count: how many are replaced, below k.

    Returns:
        `float64 [k]`; the same if they are that slow already.

    Raises:
        UsageError: none would be left, or the extent is not above 1.
    """
    if not 0 < count < len(frequency) or not extent > 1:
        raise UsageError(f"of {len(frequency)} bands {count} cannot be slowed down to an extent of {extent}")
    slowest = math.pi / extent
    kept = frequency[: len(frequency) - count]
    if float(kept[-1]) <= slowest or float(frequency[-1]) <= slowest:
        return frequency
    steps = torch.arange(1, count + 1, dtype=torch.float64) / count
    return torch.cat((kept, kept[-1] * (slowest / kept[-1]) ** steps))


def phases(coordinate: torch.Tensor, frequency: torch.Tensor) -> torch.Tensor:
    """Angles mod 2π.

    Args:
        coordinate: `float64 [..., n, k]` or anything that goes with it, in positions.
        frequency: `float64 [k]`, in radians for each position.

    Returns:
        `float32`, in [0, 2π].
    """
    if coordinate.dtype != torch.float64 or frequency.dtype != torch.float64:
        raise UsageError(f"phases are computed in float64, not of {coordinate.dtype} and {frequency.dtype}")
    return torch.remainder(coordinate * frequency, 2 * math.pi).to(torch.float32)


@dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies, each for one axis of places.

    Attributes:
        frequency: `float64 [k]`.
        axis: `int64 [k]`: 0 time, 1 columns, 2 rows; see `places`.

    Raises:
        UsageError: there is not one axis for each frequency, or one is none.
    """

    frequency: torch.Tensor
    axis: torch.Tensor

    def __post_init__(self) -> None:
        if self.frequency.dtype != torch.float64 or self.frequency.ndim != 1 or self.axis.shape != self.frequency.shape:
            raise UsageError("bands are a row of float64 frequencies, and an axis for each")
        if len(self.axis) and not 0 <= int(self.axis.min()) <= int(self.axis.max()) < AXES:
            raise UsageError(f"the axes of bands are 0 … {AXES - 1}")

    @classmethod
    def of_time(cls, frequency: torch.Tensor) -> Bands:
        """All along the timeline: images stand at one point."""
        return cls(frequency, torch.zeros(len(frequency), dtype=torch.int64))

    @classmethod
    def of_plane(cls, columns: torch.Tensor, rows: torch.Tensor) -> Bands:
        """Two-dimensional rotary positions: some for columns, then some for rows."""
        axis = torch.tensor([1, 2]).repeat_interleave(torch.tensor([len(columns), len(rows)]))
        return cls(torch.cat((columns, rows)), axis)

    @classmethod
    def shared(cls, frequency: torch.Tensor) -> Bands:
        """Time, columns and rows by turns, so that each gets every third frequency, fast ones and slow ones."""
        return cls(frequency, torch.arange(len(frequency)) % AXES)

    def __len__(self) -> int:
        return len(self.frequency)

    def table(self, places: Places) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of places, damped by their widths: `float32 [..., n, k]` each."""
        axis, frequency = self.axis.to(places.position.device), self.frequency.to(places.position.device)
        where, wide = places.axes()
        angle = phases(where[..., axis], frequency)
        damping = torch.exp(-0.5 * (wide[..., axis] * frequency) ** 2).to(torch.float32)
        return angle.cos() * damping, angle.sin() * damping


def rotate(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (i, i + k) of queries or keys, the layout of Llama and its kin.

    Args:
        vectors: `[..., n, 2k]`.
        cos: `[..., n, k]`, as `Bands.table` gives it.
        sin: the same.
    """
    first, second = vectors.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
