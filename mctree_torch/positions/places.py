"""Where do the rows of a model's input stand?  On the timeline, and within an image beside that; each with a width.

A token is a point; a gist stands for a span, as if it were drawn from somewhere in it: at the mean of its positions,
with the standard deviation of a uniform distribution over them.  A row of an image stands where the image does, plus
its own column and row.  So there are three axes,

    0   position             sigma
    1   position + x         √(sigma² + sigma_x²)
    2   position + y         √(sigma² + sigma_y²)

which are one and the same for text: a model that uses all three reads text as it always did.  (Multimodal rotary
positions of Qwen2-VL, Wang et al. 2024, do this for tokens; the widths are new.)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from mctree.errors import UsageError
from mctree.focus import Entries

__all__ = ["AXES", "Places"]

AXES = 3
"""Time, columns, rows."""


@dataclass(frozen=True, eq=False, slots=True)
class Places:
    """Places of `n` rows, with any dimensions before: `float64 [..., n]` each.

    Attributes:
        position: mean position on the timeline.
        sigma: how far it reaches around that, as a standard deviation; 0 for tokens.
        x: mean column of patches; 0 for text.
        y: mean row; 0 for text.
        sigma_x: deviation of columns; 0 for text.
        sigma_y: deviation of rows; 0 for text.

    Raises:
        UsageError: they are not of one shape, or not `float64`: `float32` cannot tell neighbours apart beyond 2^24.
    """

    position: torch.Tensor
    sigma: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    sigma_x: torch.Tensor
    sigma_y: torch.Tensor

    def __post_init__(self) -> None:
        for each in fields(self):
            column = getattr(self, each.name)
            if column.dtype != torch.float64 or column.shape != self.position.shape or not column.ndim:
                raise UsageError(
                    f"places are float64 columns of one shape: {each.name} is {column.dtype} {list(column.shape)} "
                    f"beside positions {list(self.position.shape)}"
                )

    def __len__(self) -> int:
        return self.position.shape[-1]

    @classmethod
    def of_text(cls, position: torch.Tensor, sigma: torch.Tensor | None = None) -> Places:
        """Places of text.

        Args:
            position: `[..., n]`, of any type of numbers; float64 and integers are taken exactly.
            sigma: `[..., n]`; 0 if None.
        """
        where = position.to(torch.float64)
        none = torch.zeros_like(where)
        return cls(where, none if sigma is None else sigma.to(torch.float64), none, none, none, none)

    @classmethod
    def of_entries(cls, entries: Entries) -> Places:
        """Places of the entries of a working context, one row for each: `[n]` on the CPU.

        An entry at LOD0 stands at the mean of its tokens; where each token stands, `mctree_torch.base` says.
        """
        names = [each.name for each in fields(cls)]
        return cls(*(torch.from_numpy(getattr(entries, name).copy()) for name in names))

    def axes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Coordinates and deviations along each axis: `float64 [..., n, 3]` each."""
        where = torch.stack((self.position, self.position + self.x, self.position + self.y), -1)
        wide = (self.sigma, torch.hypot(self.sigma, self.sigma_x), torch.hypot(self.sigma, self.sigma_y))
        return where, torch.stack(wide, -1)

    def take(self, rows: slice) -> Places:
        """Some of the rows."""
        return Places(*(getattr(self, each.name)[..., rows] for each in fields(self)))

    @classmethod
    def joined(cls, parts: list[Places]) -> Places:
        """The rows of one after those of the other."""
        return cls(*(torch.cat([getattr(part, each.name) for part in parts], -1) for each in fields(cls)))

    def shifted(self, by: float) -> Places:
        """The same places, all later by so many positions."""
        return Places(self.position + by, self.sigma, self.x, self.y, self.sigma_x, self.sigma_y)

    def same(self, other: Places) -> torch.Tensor:
        """Where two places are equal to the last bit, row by row: `bool [..., n]`."""
        equal = [getattr(self, each.name) == getattr(other, each.name) for each in fields(self)]
        return torch.stack(equal).all(0)
