"""Which terms does each token of a vocabulary hold, and which terms do rows of tokens hold?

`TermTable` is made once per vocabulary and answers by array look-up, so text is never parsed again.  It does
not assume that a token is a word, or has any term at all: white space and signs have none, and a word that is
cut into several tokens is several terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.protocol import Tokenizer
from mctree.encoders.terms import hash_of_term, split, terms_of

__all__ = ["WIDTH", "Pairs", "TermTable"]

WIDTH: Final = 2
"""The most terms that one token has; a longer token counts with its first ones."""

_LONGEST_QUESTION: Final = 4096


@dataclass(frozen=True, slots=True)
class Pairs:
    """A sparse matrix of counts: which row holds which term how often, in order of row.

    Attributes:
        rows: `int64 [pairs]`, ascending.
        terms: `int32 [pairs]`, ascending within a row, each once.
        counts: `int64 [pairs]`, 1 and more.
        shape: number of rows, number of terms.
    """

    rows: NDArray[np.int64]
    terms: NDArray[np.int32]
    counts: NDArray[np.int64]
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class TermTable:
    """The terms of every token.

    Attributes:
        of_token: `int32 [vocabulary, WIDTH]`: the terms of each token by number, −1 where it has no more.
        hashes: `uint64 [terms]`: what each term is known by.
    """

    of_token: NDArray[np.int32]
    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TermTable:
        """Make the table of a vocabulary, from the text of each token by itself."""
        numbers: dict[str, int] = {}
        of_token = np.full((tokenizer.vocabulary, WIDTH), -1, np.int32)
        for token in range(tokenizer.vocabulary):
            text = tokenizer.decode(np.array([token], np.uint32)).decode("utf-8", "ignore")
            for position, term in enumerate(terms_of(text)[:WIDTH]):
                of_token[token, position] = numbers.setdefault(term, len(numbers))
        return cls(of_token, np.array([hash_of_term(term) for term in numbers], np.uint64))

    @property
    def terms(self) -> int:
        """Number of terms."""
        return len(self.hashes)

    def pairs(self, tokens: NDArray[np.generic], mask: NDArray[np.bool_]) -> Pairs:
        """Count the terms of each row.

        Args:
            tokens: integers `[n, positions]`, of the vocabulary wherever `mask` holds, else anything.
            mask: `bool [n, positions]`.

        Returns:
            The distinct terms of each row and how often they stand in it.
        """
        found = self.of_token.take(np.where(mask, tokens, 0), axis=0)
        found[~mask] = -1
        flat = found.reshape(len(tokens), tokens.shape[1] * WIDTH)
        flat.sort(axis=1)
        first = np.ones(flat.shape, np.bool_)
        np.not_equal(flat[:, 1:], flat[:, :-1], out=first[:, 1:])
        starts = np.flatnonzero(first)
        counts = np.diff(starts, append=flat.size)
        terms = flat.reshape(-1)[starts]
        real = terms >= 0
        rows = starts[real] // max(flat.shape[1], 1)
        return Pairs(rows, terms[real], counts[real], (len(tokens), self.terms))

    def of_question(self, tokenizer: Tokenizer, text: str) -> NDArray[np.int32]:
        """The distinct terms of a question, `int32 [terms]`, ascending.

        Each of its words is tokenized by itself, as it stands and in small letters, with a space before it and
        without one, since a vocabulary may cut these differently; those that take the fewest tokens count.  Beyond
        4,096 words, what follows does not.
        """
        words = split(text)[:_LONGEST_QUESTION]
        forms = [[space + form for form in (word, word.lower()) for space in (" ", "")] for word in words]
        pieces = [form.encode("utf-8", "replace") for four in forms for form in four]
        ids = [encoded.ids for encoded in tokenizer.encode(pieces)]
        found = [np.zeros(0, np.uint32)]
        for start in range(0, len(ids), 4):
            fewest = min(map(len, ids[start : start + 4]))
            found += [one for one in ids[start : start + 4] if len(one) == fewest]
        terms = self.of_token[np.concatenate(found)]
        return np.unique(terms[terms >= 0])
