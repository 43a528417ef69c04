"""What does the corpus look like as blocks, and which nodes hold the answer to each question?

Documents own whole blocks, one after the other, as in a store; nodes above are runs of 32.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Tokenizer
from tools.retrieval.corpus import Document, Question

__all__ = ["FANOUT", "Answers", "Timeline", "lay_out"]

FANOUT = 32


@dataclass(frozen=True)
class Timeline:
    """Blocks of a corpus.

    Attributes:
        tokens: `uint32 [blocks, 32]`.
        counts: `uint8 [blocks]`: real tokens.
        starts: `int64 [documents + 1]`: the first block of each document, and the end.
        text_bytes: bytes of text.
    """

    tokens: NDArray[np.uint32]
    counts: NDArray[np.uint8]
    starts: NDArray[np.int64]
    text_bytes: int

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.tokens)

    def mask(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which tokens of a run of blocks are real."""
        mask: NDArray[np.bool_] = np.arange(FANOUT) < self.counts[start:stop, None]
        return mask

    def nodes(self, level: int) -> int:
        """Number of nodes of a level; the last one may be short."""
        return int(-(-self.blocks // FANOUT ** (level - 1)))


@dataclass(frozen=True)
class Answers:
    """Where the answers are: per question, the blocks of the right file and the block of the docstring's place."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    block: NDArray[np.int64]

    def at(self, level: int) -> Answers:
        """The same for the ancestors at a level."""
        below = FANOUT ** (level - 1)
        return Answers(self.first // below, self.last // below, self.block // below)


def lay_out(
    corpus: list[Document], asked: list[Question], tokenizer: Tokenizer, threads: int
) -> tuple[Timeline, Answers]:
    """Tokenize a corpus and lay it out in blocks."""
    with ThreadPoolExecutor(threads) as pool:
        encoded = list(pool.map(lambda document: tokenizer.encode([document.text])[0], corpus))
    lengths = np.array([-(-len(e.ids) // FANOUT) for e in encoded], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    tokens = np.zeros((int(starts[-1]), FANOUT), np.uint32)
    counts = np.full(len(tokens), FANOUT, np.uint8)
    for start, stop, document in zip(starts, starts[1:], encoded, strict=False):
        tokens[start:stop].reshape(-1)[: len(document.ids)] = document.ids
        if len(document.ids) % FANOUT:
            counts[stop - 1] = len(document.ids) % FANOUT
    blocks = []
    for question in asked:
        stops = encoded[question.document].stops
        token = min(int(np.searchsorted(stops, question.offset, side="right")), len(stops) - 1)
        blocks.append(starts[question.document] + token // FANOUT)
    home = np.array([question.document for question in asked], np.int64)
    timeline = Timeline(tokens, counts, starts, sum(len(document.text) for document in corpus))
    return timeline, Answers(starts[home], starts[home + 1] - 1, np.array(blocks, np.int64))
