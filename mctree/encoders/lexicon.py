"""What may an encoder know besides making gists?  Which terms the tokens hold, and how rare each term is.

An encoder that is a `Lexicon` lets a search look at the few nodes that gists have led it to by their tokens, which
say exactly what a gist can only hint at.  It is no part of the `Encoder` protocol: without it, a set is searched by
gists alone.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.table import TermTable

__all__ = ["Lexicon", "shares"]

_HALF: Final = 1.2
"""How often a term must stand in a block to be worth half of what it can be at most: k1 of Okapi BM25 (Robertson and
Zaragoza 2009)."""


@runtime_checkable
class Lexicon(Protocol):
    """Knows terms and how rare they are."""

    @property
    def table(self) -> TermTable:
        """The terms of the tokenizer's tokens."""
        ...

    @property
    def rarity(self) -> NDArray[np.float32]:
        """How rare each term is, above 0: `float32 [terms]`, frozen when the encoder was made."""
        ...


def shares(
    lexicon: Lexicon, wanted: NDArray[np.int32], tokens: NDArray[np.generic], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """How much of a question each block holds: Okapi BM25, as a share of what a block could score at most.

    Blocks have one length, so length is not made up for.

    Args:
        lexicon: knows the terms.
        wanted: the question's distinct terms, `int32 [terms]`, at least one.
        tokens: integers `[n, positions]`, of the vocabulary wherever `mask` holds, else anything.
        mask: `bool [n, positions]`.

    Returns:
        `float32 [n]`, 0 … 1: Σ rarity·count/(count + k1) over the terms, divided by Σ rarity.
    """
    # One column for each term that is asked for, and a last one for all others, which -1 leads to as well.
    column = np.full(lexicon.table.terms + 1, len(wanted), np.int64)
    column[wanted] = np.arange(len(wanted))
    found = column[lexicon.table.of_token[np.where(mask, tokens, 0)]]
    found[~mask] = len(wanted)
    width = len(wanted) + 1
    cells = (np.arange(len(tokens)) * width)[:, None, None] + found
    counts = np.bincount(cells.reshape(-1), minlength=len(tokens) * width).reshape(len(tokens), width)[:, :-1]
    rarity = lexicon.rarity[wanted].astype(np.float64)
    held: NDArray[np.float32] = ((counts / (counts + _HALF)) @ (rarity / rarity.sum())).astype(np.float32)
    return held
