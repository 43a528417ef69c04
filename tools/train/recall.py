"""What is to be recalled?  A history of blocks in which facts are strewn among fillers, each fact a key and a value.

A fact is one token, of which there are keys × values; a question is the token of a key, and its answer the token of the
value that the history's one fact of that key has.  So a question is answered by exactly one block, an oracle knows
which, and whoever does not look at it can only guess among the values.  Every key occurs at most once in a history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mctree.geometry import TEXT

__all__ = ["Histories", "Recall"]


@dataclass(frozen=True, eq=False)
class Histories:
    """Some histories, all with facts in the same blocks; fact j lies in block j // facts.

    Attributes:
        tokens: `int64 [b, blocks, 32]`.
        keys: `int64 [b, blocks · facts]`.
        values: the same.
        facts: of each block.
    """

    tokens: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    facts: int

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Recall:
    """The task.

    Attributes:
        keys: how many there are.
        values: how many there are; guessing costs log(values).
        fillers: tokens that say nothing.
        blocks: of a history.
        facts: of a block.
    """

    keys: int = 16
    values: int = 8
    fillers: int = 8
    blocks: int = 8
    facts: int = 2

    @property
    def vocabulary(self) -> int:
        """How many tokens there are: facts, questions, answers and fillers, in this order."""
        return self.keys * self.values + self.keys + self.values + self.fillers

    @property
    def guessing(self) -> float:
        """What a guess costs: nats."""
        return math.log(self.values)

    def question(self, keys: torch.Tensor) -> torch.Tensor:
        """The tokens that ask for keys."""
        return self.keys * self.values + keys

    def answer(self, values: torch.Tensor) -> torch.Tensor:
        """The tokens that say values."""
        return self.keys * self.values + self.keys + values

    def frequency(self) -> torch.Tensor:
        """How often each token occurs in histories: `float32 [vocabulary]`."""
        share = self.facts / TEXT.block
        often = torch.zeros(self.vocabulary)
        often[: self.keys * self.values] = share / (self.keys * self.values)
        often[-self.fillers :] = (1 - share) / self.fillers
        return often

    def draw(self, count: int, generator: torch.Generator, blocks: int | None = None) -> Histories:
        """Histories of so many blocks, as many as the task has if None."""
        blocks = self.blocks if blocks is None else blocks
        n = blocks * self.facts
        keys = torch.rand(count, self.keys, generator=generator).argsort(1)[:, :n]
        values = torch.randint(0, self.values, (count, n), generator=generator)
        first = self.vocabulary - self.fillers
        tokens = torch.randint(first, self.vocabulary, (count, blocks, TEXT.block), generator=generator)
        places = torch.rand(count, blocks, TEXT.block, generator=generator).argsort(2)[:, :, : self.facts]
        tokens.scatter_(2, places, (keys * self.values + values).view(count, blocks, self.facts))
        return Histories(tokens, keys, values, self.facts)

    def ask(self, histories: Histories, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Questions about different facts of each history.

        Returns:
            The tail: questions, each with its answer behind it, `int64 [b, 2 · count]`; and which facts they are about,
            `int64 [b, count]`.
        """
        facts = torch.rand(histories.keys.shape, generator=generator).argsort(1)[:, :count]
        asked = self.question(histories.keys.gather(1, facts))
        said = self.answer(histories.values.gather(1, facts))
        return torch.stack((asked, said), -1).flatten(1), facts
