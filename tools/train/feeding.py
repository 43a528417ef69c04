"""What is a base model fed of many histories at once?  Each block as a gist, as its tokens, or not at all.

The rows are those that `mctree_torch.base` makes of a working context, for a batch of contexts with equally many of
each kind, and with gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mctree.geometry import TEXT
from mctree_torch.positions import PlacedRotary, Places, install

__all__ = ["DROPPED", "FINE", "GIST", "Base", "block_at", "everywhere"]

GIST, FINE, DROPPED = 0, 1, 2
"""How a block is shown."""


def everywhere(how: int, count: int, blocks: int) -> torch.Tensor:
    """All blocks shown in one way: `int64 [count, blocks]`."""
    return torch.full((count, blocks), how)


def block_at(which: torch.Tensor, how: int, blocks: int, others: int = GIST) -> torch.Tensor:
    """One block of each history, `int64 [b]`, shown in one way and the others in another: `int64 [b, blocks]`."""
    shown = everywhere(others, len(which), blocks)
    return shown.scatter_(1, which[:, None], how)


@dataclass(frozen=True, eq=False)
class Base:
    """A base model that knows of places."""

    model: Any
    rotary: PlacedRotary

    @classmethod
    def made(cls, vocabulary: int, width: int, layers: int, heads: int) -> Base:
        """A small Llama with random weights."""
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            tie_word_embeddings=False,
            initializer_range=0.05,
        )
        model = LlamaForCausalLM(config)
        return cls(model, install(model, plane=False))

    @property
    def embedding(self) -> torch.Tensor:
        """The input embeddings: `[vocabulary, width]`."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        return weight

    def expect(
        self, tokens: torch.Tensor, gists: torch.Tensor | None, shown: torch.Tensor, tail: torch.Tensor
    ) -> torch.Tensor:
        """What the model expects behind each token of the tail.

        Args:
            tokens: `int64 [b, blocks, 32]`.
            gists: `float32 [b, blocks, width]`; None if none is shown.
            shown: how each block is, `int64 [b, blocks]`, equally many of each kind in each history.
            tail: `int64 [b, m]`.

        Returns:
            Logits: `float32 [b, m, vocabulary]`.
        """
        b, blocks, size = tokens.shape
        fine = self.embedding[tokens]
        coarse = fine.new_zeros(b, blocks, fine.shape[-1]) if gists is None else gists
        keep = torch.cat(((shown == GIST)[..., None], (shown == FINE)[..., None].expand(-1, -1, size)), 2)
        vectors = torch.cat((coarse[:, :, None], fine), 2)[keep].view(b, -1, fine.shape[-1])
        first = size * torch.arange(blocks, dtype=torch.float64)[:, None]
        within = torch.cat((torch.tensor([(size - 1) / 2]), torch.arange(size))).double()
        position = (first + within).expand(b, -1, -1)[keep].view(b, -1)
        sigma = torch.zeros(size + 1, dtype=torch.float64)
        sigma[0] = size / math.sqrt(12)
        wide = sigma.expand(b, blocks, -1)[keep].view(b, -1)
        behind = (size * blocks + torch.arange(tail.shape[1], dtype=torch.float64)).expand(b, -1)
        places = Places.joined([Places.of_text(position, wide), Places.of_text(behind)])
        rows = torch.cat((vectors, self.embedding[tail]), 1)
        n = rows.shape[1]
        mask = torch.full((1, 1, n, n), torch.finfo(rows.dtype).min).triu(1)
        with self.rotary.at(places):
            logits: torch.Tensor = self.model(
                inputs_embeds=rows,
                attention_mask=mask,
                position_ids=torch.arange(n)[None],
                use_cache=False,
                logits_to_keep=tail.shape[1],
            ).logits
        return logits


assert TEXT.block == 32, "what is drawn here are blocks of mctree"
