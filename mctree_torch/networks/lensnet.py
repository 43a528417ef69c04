"""How much detail does each entry of a working context deserve?  Seen from the tail: the newest text, the question.

Entries and tail see each other non-causally: what comes early in a context may matter because of what comes last.  In
each layer the tail looks at all entries, then each entry looks at the tail.  That is linear in the number of entries,
where attention among them would be quadratic; what an entry has to know of the others reaches it through the tail.

How well an entry goes with the tail is what decides, and a softmax over the tail hides it: it says which token fits
best and not whether any does.  So each head also tells the entry its best score outright (the late interaction of
ColBERT, Khattab and Zaharia 2020), and the tail has a learned token that stands for nothing.

An entry is told of by its vector (its gist, or the mean of its tokens), by the features of `mctree.focus.Look` (level,
span, cost, age, modality, place and extents in an image …), and by a summary of the text that it is linked to.  What
comes out is a wish from −1 for less detail to 1 for more.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mctree_torch.networks.configs import LensConfig
from mctree_torch.networks.parts import Attention, Perceptron, marks

__all__ = ["LensNet"]


class LensNet(nn.Module):
    """Scores of entries.

    Args:
        config: its sizes.
    """

    Config = LensConfig

    def __init__(self, config: LensConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        # Embeddings and gists come in the model's own scale, whatever that is.
        self.scaled = nn.LayerNorm(config.dim)
        self.tail_scaled = nn.LayerNorm(config.dim)
        self.vector = nn.Linear(config.dim, width)
        self.vector_norm = nn.LayerNorm(width)
        self.known = marks(2, width)
        # Features are logarithms up to some 60 as well as fractions: each is scaled by itself before it is mixed.
        self.feature = nn.Linear(config.features, width)
        self.linked = nn.Linear(config.dim, width, bias=False) if config.linked else None
        self.tail = nn.Linear(config.dim, width)
        self.tail_norm = nn.LayerNorm(width)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.match_entry = nn.Linear(config.dim, width, bias=False)
        self.match_tail = nn.Linear(config.dim, width, bias=False)
        self.matched = nn.Linear(config.heads, width)
        self.layers = nn.ModuleList(_Looks(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)

    def forward(
        self,
        features: torch.Tensor,
        vectors: torch.Tensor,
        known: torch.Tensor,
        tail: torch.Tensor,
        *,
        linked: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        tail_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores for `b` working contexts of `n` entries, with tails of `m` tokens.

        Args:
            features: `float32 [b, n, features]`.
            vectors: `float32 [b, n, dim]`.
            known: `bool [b, n]`: which entries have a vector.
            tail: embeddings of the newest tokens, `float32 [b, m, dim]`; m may be 0.
            linked: what linked text says, `float32 [b, n, dim]`, 0 where there is none.
            mask: `bool [b, n]`: which entries exist; all if None.
            tail_mask: `bool [b, m]`: which tokens exist; all if None.

        Returns:
            `float32 [b, n]`, in [−1, 1].
        """
        vectors = self.scaled(torch.where(known[..., None], vectors, 0.0))
        mask = torch.ones_like(known) if mask is None else mask
        said = torch.ones(tail.shape[:2], dtype=torch.bool, device=tail.device) if tail_mask is None else tail_mask
        tail = self.tail_scaled(torch.where(said[..., None], tail, 0.0))

        x = self.vector_norm(self.vector(vectors)) + self.known(known.long()) + self.feature(features / 8)
        if linked is not None and self.linked is not None:
            x = x + self.linked(linked)
        x = x + self.matched(self._matches(vectors, tail, said))
        t = self.tail_norm(self.tail(tail))
        t = torch.cat((self.nothing.expand(len(t), 1, -1), t), 1)
        said = torch.cat((said.new_ones((len(said), 1)), said), 1)
        for layer in self.layers:
            x, t = layer(x, t, mask, said)
        return torch.tanh(self.score(self.norm(x))[..., 0])

    def _matches(self, vectors: torch.Tensor, tail: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Each head's best product of an entry with a token of the tail, at least 0: `[b, n, heads]`."""
        heads = self.config.heads
        if not tail.shape[1]:
            return vectors.new_zeros((*vectors.shape[:2], heads))
        entry = self.match_entry(vectors).unflatten(-1, (heads, -1))
        token = self.match_tail(tail).unflatten(-1, (heads, -1))
        scores = torch.einsum("bnhw,bmhw->bnmh", entry, token) / math.sqrt(entry.shape[-1])
        best: torch.Tensor = torch.where(said[:, None, :, None], scores, 0.0).amax(2).clamp(min=0)
        return best


class _Looks(nn.Module):
    """The tail looks at the entries, then the entries at the tail."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.of_tail = Attention(width, heads)
        self.tail = Perceptron(width)
        self.of_entries = Attention(width, heads)
        self.entries = Perceptron(width)

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, mask: torch.Tensor, said: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        t = t + self.of_tail(t, x, mask)
        t = t + self.tail(t)
        x = x + self.of_entries(x, t, said)
        x = x + self.entries(x)
        return x, t
