"""What does a block say, as a vector that can be searched without a model?

`LexicalEncoder` sums one fixed vector per term, weighted by how often the term stands in the block (sublinearly) and
by how rare it is in a sample of the corpus; a question is summed in the same way and compared by dot product.  Terms
are looked up by token in a table made once per vocabulary, so text is never parsed again.

All sums over terms are in integers, so a gist depends on its own row alone, to the last bit, and on no library's order
of summation.  It does not assume a language, nor that the tokens are words: a word cut into several tokens is several
terms, in the block and in the question alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.protocol import Tokenizer
from mctree.encoders.table import TermTable
from mctree.encoders.terms import signs
from mctree.errors import CorruptError, UsageError

__all__ = ["LexicalEncoder"]

_TILE: Final = 512
_DAMPING: Final = 0.7
_MAX_DIM: Final = 1 << 14


class LexicalEncoder:
    """The built-in encoder: random signs per term, sublinear counts, frozen rarity."""

    kind = "lexical"
    modalities = frozenset({"text"})
    span_level = 0

    def __init__(self, tokenizer: Tokenizer, table: TermTable, dim: int) -> None:
        """Put an encoder together; `fit` makes one for a corpus.

        Args:
            tokenizer: the one that the table was made for.
            table: terms of tokens and their rarity.
            dim: length of a gist, 8 … 16384.

        Raises:
            UsageError: `dim` is out of range, or the table is of another tokenizer.
        """
        if not 8 <= dim <= _MAX_DIM:
            raise UsageError(f"a lexical gist has 8 … {_MAX_DIM} dimensions, not {dim}")
        if table.tokenizer != tokenizer.fingerprint:
            raise UsageError("the encoder was fitted with another tokenizer: give it that one, or fit it anew")
        self.dim = dim
        self._tokenizer = tokenizer
        self._table = table
        self._dump = dim.to_bytes(4, "little") + table.dump()
        self.fingerprint: str = hashlib.sha256(self.kind.encode() + b"\0" + self._dump).hexdigest()
        self._signs = signs(table.hashes, dim).astype(np.int16)

    @classmethod
    def fit(
        cls,
        tokenizer: Tokenizer,
        samples: Iterable[bytes],
        dim: int = 512,
        sample_bytes: int = 64 * 1024 * 1024,
    ) -> LexicalEncoder:
        """Make an encoder for a corpus.

        Args:
            tokenizer: what makes the blocks.
            samples: pieces of the corpus, from which the rarity of terms is counted, block by block; read until
                `sample_bytes` are had.
            dim: length of a gist.
            sample_bytes: how much of the samples to use.

        Returns:
            The encoder; equal inputs give an equal one.

        Raises:
            UsageError: `dim` is out of range.
        """
        return cls(tokenizer, TermTable.count(tokenizer, samples, sample_bytes), dim)

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """Encode nodes: see `mctree.encoders.Encoder.encode`.

        At level 1 a gist is Σ log2(1 + count)·rarity·signs over the distinct terms of the block, divided by its norm
        to the power 0.7.  Above, it is the sum of the children's gists, divided likewise.

        Raises:
            UsageError: the shapes do not belong together, or a token is not of the vocabulary.
        """
        if level < 1 or children.shape[:2] != mask.shape or children.ndim != (2 if level == 1 else 3):
            raise UsageError(
                f"level {level} was given children of shape {children.shape} with a mask of shape {mask.shape}"
            )
        gists = np.zeros((len(children), self.dim), np.float32)
        for start in range(0, len(children), _TILE):
            rows = slice(start, start + _TILE)
            if level == 1:
                gists[rows] = self._blocks(children[rows], mask[rows])
            else:
                gists[rows] = _pooled(children[rows], mask[rows])
        return gists

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Encode a question: Σ rarity·signs over the distinct terms of its words, with norm 1 (0 if it has none)."""
        terms = self._table.terms_of_query(self._tokenizer, text)
        vector = self._table.rarity[terms].astype(np.float64) @ self._signs[terms].astype(np.float64)
        norm = float(np.sqrt(vector @ vector))
        return (vector / norm if norm else vector).astype(np.float32)

    def dump(self) -> bytes:
        """The dimension, and for each token its terms, for each term its hash and rarity."""
        return self._dump

    @classmethod
    def load(cls, dump: bytes, tokenizer: Tokenizer) -> LexicalEncoder:
        """Make an encoder again from what `dump` gave.

        Raises:
            CorruptError: the bytes are no dump of a lexical encoder.
            UsageError: it was fitted with another tokenizer.
        """
        if len(dump) < 4:
            raise CorruptError("the stored lexical encoder is cut short")
        dim = int.from_bytes(dump[:4], "little")
        if not 8 <= dim <= _MAX_DIM:
            raise CorruptError(f"the stored lexical encoder claims {dim} dimensions")
        return cls(tokenizer, TermTable.load(dump[4:]), dim)

    def __repr__(self) -> str:
        return f"LexicalEncoder(dim={self.dim}, fingerprint={self.fingerprint[:12]})"

    def _blocks(self, tokens: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        rows, terms, weights = self._table.weights(tokens, mask)
        sums = np.zeros((len(tokens), self.dim), np.int16)
        counts = np.bincount(rows, minlength=len(tokens))
        order = np.argsort(-counts, kind="stable")
        starts = (np.cumsum(counts) - counts)[order]
        counts = counts[order]
        scratch = np.empty_like(sums)
        # Position by position over the rows that have so many terms: few calls, and memory read in a row.
        for position in range(int(counts[0]) if len(counts) else 0):
            live = int(np.searchsorted(-counts, -position, side="left"))
            at = starts[:live] + position
            part = np.take(self._signs, terms[at], axis=0, out=scratch[:live], mode="clip")
            part *= weights[at, None]
            sums[:live] += part
        gists = np.empty((len(tokens), self.dim), np.float32)
        gists[order] = _damped(sums)
        return gists


def _pooled(children: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    total = np.zeros((len(children), children.shape[2]), np.float64)
    for position in range(children.shape[1]):
        total += np.where(mask[:, position, None], children[:, position], 0)
    norms = np.sqrt(np.array([row @ row for row in total], np.float64))
    return (total / np.maximum(norms, np.finfo(np.float32).tiny)[:, None] ** _DAMPING).astype(np.float32)


def _damped(sums: NDArray[np.int16]) -> NDArray[np.float32]:
    wide = sums.astype(np.int64)
    squares = np.einsum("nd,nd->n", wide, wide).astype(np.float64)
    scale = np.maximum(squares, 1.0) ** (-_DAMPING / 2)
    return (sums * scale[:, None]).astype(np.float32)
