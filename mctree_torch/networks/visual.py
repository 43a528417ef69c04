"""What is the gist of a square of patches, or of gists of such?  The mean, and what slots read out of the square.

A tile is 8×8 patches; above, four gists stand in a square of 2×2.  Attention is separable: along each row, then along
each column.  Two steps of 2·8 scores for each patch see the whole tile, where full attention needs 64, and a patch
keeps its place by its row and its column, which are learned vectors; what a tile at the edge of an image lacks is
masked.  Where text is linked to the square, such as a caption, patches may attend to it; without any, the gist is to
the last bit that of a network that knows no text.

Patches come from an encoder of pixels.  Where that has another dimension than gists, such as that of a language model's
embeddings, one linear map brings them there, so that patches can be fed to the model where gists are.

Children come in Z-order, as levels are stored, so none need be moved on disk to be read as rows and columns.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mctree.errors import UsageError
from mctree.geometry import morton
from mctree_torch.networks.configs import VisualConfig
from mctree_torch.networks.parts import Attention, Perceptron, Slots, marks, masked_mean

__all__ = ["VisualGistNet"]


class VisualGistNet(nn.Module):
    """Gists of squares from what stands in them.

    Args:
        config: its sizes.
    """

    Config = VisualConfig

    def __init__(self, config: VisualConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.inward = nn.Linear(config.dim, width)
        self.norm = nn.LayerNorm(width)
        self.row = marks(morton.TILE, width)
        self.column = marks(morton.TILE, width)
        self.level = marks(config.levels, width)
        self.layers = nn.ModuleList(_Separable(width, config.heads) for _ in range(config.layers))
        self.patch = nn.Linear(config.patch_dim, config.dim, bias=False) if config.patch_dim else None
        self.text = nn.Linear(config.text_dim, width) if config.text_dim else None
        self.cross = Attention(width, config.heads) if config.text_dim else None
        self.slots = Slots(width, config.heads, config.slots, config.dim)

    def patches(self, vectors: torch.Tensor) -> torch.Tensor:
        """What stands in level 0 for vectors of patches: `float32 [..., patch_dim or dim]` → `float32 [..., dim]`."""
        if self.patch is None:
            return vectors
        made: torch.Tensor = self.patch(vectors)
        return made

    def forward(
        self,
        children: torch.Tensor,
        mask: torch.Tensor,
        level: int,
        text: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Gists of `n` nodes of one level.

        Args:
            children: `float32 [n, side², dim]` in Z-order; a side is 1, 2, 4 or 8.
            mask: `bool [n, side²]`: which exist.
            level: of the nodes, 1 or more.
            text: vectors of linked text, `float32 [n, m, text_dim]`, and which of them exist, `bool [n, m]`.

        Returns:
            `float32 [n, dim]`; 0 for nodes without children.

        Raises:
            UsageError: the children make no square, the level is below 1, or the network takes no text.
        """
        n, count = mask.shape
        side = math.isqrt(count)
        if side * side != count or side not in (1, 2, 4, morton.TILE) or level < 1:
            raise UsageError(f"children are a square of 1, 2, 4 or 8 at a level above 0, not {count} at {level}")
        if text is not None and (self.text is None or self.cross is None):
            raise UsageError("this network takes no linked text: its text_dim is 0")
        children = torch.where(mask[..., None], children, 0.0)
        order, back = _raster(side, children.device)
        x = self.norm(self.inward(children[:, order])).view(n, side, side, -1)
        x = x + self.row.weight[:side, None] + self.column.weight[None, :side]
        x = x + self.level.weight[min(level, self.config.levels) - 1]
        there = mask[:, order].view(n, side, side)
        for layer in self.layers:
            x = layer(x, there)
        flat = x.view(n, count, -1)[:, back]
        if text is not None and self.text is not None and self.cross is not None:
            vectors, said = text
            flat = flat + self.cross(flat, self.text(torch.where(said[..., None], vectors, 0.0)), said)
        read: torch.Tensor = self.slots(flat, mask)
        return masked_mean(children, mask) + read * mask.any(-1, keepdim=True).to(read)


class _Separable(nn.Module):
    """Attention along rows, then along columns, then a perceptron: `[n, side, side, width]` → the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.rows = Attention(width, heads)
        self.columns = Attention(width, heads)
        self.perceptron = Perceptron(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + _along(self.rows, x, mask)
        across = _along(self.columns, x.transpose(1, 2), mask.transpose(1, 2))
        x = x + across.transpose(1, 2)
        mixed: torch.Tensor = x + self.perceptron(x)
        return mixed


def _along(attention: Attention, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    lines = x.flatten(0, 1)
    made: torch.Tensor = attention(lines, lines, mask.flatten(0, 1))
    return made.view(x.shape)


def _raster(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which child in Z-order stands at each place row by row, and which place each child has: `int64 [side²]`."""
    codes = torch.tensor([int(morton.encode(x, y)) for y in range(side) for x in range(side)], device=device)
    return codes, torch.argsort(codes)
