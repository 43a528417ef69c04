"""Of what are the networks made?  Attention over what exists, and slots that read a set into one vector.

Everything here takes a mask, `bool`, and gives what does not depend on what stands where it is False: whatever is
masked must be set to finite numbers first, which the networks do.  Where nothing exists at all, attention gives 0.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Attention", "Mix", "Perceptron", "Slots", "marks", "masked_mean"]


def marks(count: int, width: int) -> nn.Embedding:
    """Learned vectors for places or levels, to be added to normalised content, which they begin as a tenth of."""
    made = nn.Embedding(count, width)
    nn.init.normal_(made.weight, std=0.1)
    return made


def masked_mean(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of the vectors that exist, 0 where none does: `[..., c, d]` and `[..., c]` → `[..., d]`."""
    weights = mask[..., None].to(vectors)
    total: torch.Tensor = (vectors * weights).sum(-2)
    return total / weights.sum(-2).clamp(min=1)


class Attention(nn.Module):
    """Multi-head attention from one set to another, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_read = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.read = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, askers: torch.Tensor, read: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What each of the askers makes of what it reads, to be added to it.

        Args:
            askers: `[n, q, width]`.
            read: `[n, k, width]`.
            mask: `bool [n, k]`.

        Returns:
            `[n, q, width]`; 0 for rows where nothing is to be read.
        """
        n, q, width = askers.shape
        query = self.query(self.norm(askers)).view(n, q, self.heads, -1).transpose(1, 2)
        key, value = self.read(self.norm_read(read)).view(n, read.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        # A row that may read nothing would be NaN: it reads everything, and is set to 0 below.
        any_there = mask.any(-1)
        allowed = (mask | ~any_there[:, None])[:, None, None]
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        made: torch.Tensor = self.out(found.transpose(1, 2).reshape(n, q, width))
        return made * any_there[:, None, None].to(made)


class Perceptron(nn.Module):
    """Two layers with a GELU between them, normalised before, to be added: `[..., width]` → `[..., width]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What to add to `x`."""
        made: torch.Tensor = self.out(functional.gelu(self.wide(self.norm(x))))
        return made


class Mix(nn.Module):
    """Attention among the members of a set, then a perceptron for each: `[n, c, width]` → the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.perceptron = Perceptron(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The members, knowing of each other; `mask` is `bool [n, c]`."""
        x = x + self.attention(x, x, mask)
        mixed: torch.Tensor = x + self.perceptron(x)
        return mixed


class Slots(nn.Module):
    """Some learned questions, asked of a set; the answers, one after the other, make one vector.

    A gist is one vector, and has to hold several things that a span says.  One question answered by a softmax would
    give an average of them.  Several questions can each single out another member, and the last layer keeps their
    answers in directions of their own.  That layer begins at 0: what is added to a mean begins as nothing.
    """

    def __init__(self, width: int, heads: int, slots: int, dim: int) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(slots, width) / width**0.5)
        self.attention = Attention(width, heads)
        self.perceptron = Perceptron(width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(slots * width, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`[n, c, width]` and `bool [n, c]` → `[n, dim]`."""
        asked = self.questions.expand(len(x), -1, -1)
        asked = asked + self.attention(asked, x, mask)
        asked = asked + self.perceptron(asked)
        made: torch.Tensor = self.out(self.norm(asked).flatten(1))
        return made
