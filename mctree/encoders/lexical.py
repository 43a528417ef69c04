"""What does a node say, as a vector that can be searched without a model?

`LexicalEncoder` sums one fixed vector per term, weighted by how often the term stands in the node
(sublinearly) and by how rare it is in a sample of the corpus; a question is summed in the same way and
compared by dot product.

    level 1     Σ log2(1 + count)·rarity^0.75·signs[term]       over the terms of the block
    level 2     Σ log2(1 + count)·rarity^0.75·context[term]     over the terms of the node's span
    level 3 …   Σ gists of the children

each divided by its norm.  `signs` are random, so that a block is found by its exact words; `context` is
fitted to the sample (see `mctree.encoders.context`), because a sum over a thousand tokens needs it.  So
blocks and the levels above live in two spaces, and a question is encoded for the level that it is asked of;
above the blocks it is also turned away from what is in every span (see `mctree.encoders.crosstalk`).

A gist depends on its own row alone, to the last bit.  It does not assume a language, nor that tokens are
words.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.cores import at_once
from mctree.encoders.context import RARITY_POWER, context_vectors, rarity_of
from mctree.encoders.crosstalk import Crosstalk
from mctree.encoders.protocol import Tokenizer
from mctree.encoders.sums import unit_rows, weighted_sums
from mctree.encoders.table import WIDTH, TermTable
from mctree.encoders.terms import signs
from mctree.errors import CorruptError, UsageError

__all__ = ["BLOCK", "LexicalEncoder"]

BLOCK: Final = 32
"""The most tokens of a block."""

_SPAN: Final = 1024
_BLOCKS_AT_ONCE: Final = 512
_SPANS_AT_ONCE: Final = 256
_MIN_DIM: Final = 8
_MAX_DIM: Final = 1 << 13

# Weights at level 1 are whole numbers: Σ log2(1 + count) ≤ Σ count ≤ BLOCK·WIDTH, so that no sum reaches 2^15.
_WEIGHT_SCALE: Final = 64.0
_MAX_RARITY: Final = 15.0
assert _WEIGHT_SCALE * BLOCK * WIDTH * _MAX_RARITY**RARITY_POWER + BLOCK * WIDTH < 1 << 15

_HEADER: Final = struct.Struct("<8sIII32s")
_MAGIC: Final = b"mclexic1"


class LexicalEncoder:
    """The built-in encoder: a vector per term, sublinear counts, frozen rarity.  Make one with `fit`.

    Attributes:
        dim: length of a gist.
        table: the terms of the tokenizer's tokens.
        rarity: `float32 [terms]`: how rare each term is in the sample.
        fingerprint: hex digits over everything that the gists depend on.
    """

    kind: Final = "lexical"
    modalities: Final = frozenset({"text"})
    span_level: Final = 2
    span_alone: Final = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        table: TermTable,
        rarity: NDArray[np.float32],
        steps: NDArray[np.float32],
        context: NDArray[np.int8],
    ) -> None:
        """Put an encoder together from its parts, as `load` does.

        Args:
            tokenizer: the one whose tokens are encoded.
            table: the terms of its tokens.
            rarity: `float32 [terms]`, 0 … 15.
            steps: `float32 [terms]`, 0 … 1: what one step of a term's row in `context` is worth.
            context: `int8 [terms, dim]`.

        Raises:
            UsageError: the table is of another vocabulary.
        """
        if len(table.of_token) != tokenizer.vocabulary:
            raise UsageError(
                f"the encoder's table has {len(table.of_token)} tokens and the tokenizer {tokenizer.vocabulary}: "
                "give the tokenizer that it was fitted with"
            )
        self.dim: Final = int(context.shape[1])
        self._tokenizer = tokenizer
        self.table: Final = table
        self.rarity: Final = rarity
        self._weights = rarity ** np.float32(RARITY_POWER)
        self._signs = signs(table.hashes, self.dim).astype(np.int16)
        self._context = context.astype(np.float32) * steps[:, None]
        self._dump = b"".join(
            [
                _HEADER.pack(_MAGIC, self.dim, *_sizes(table), bytes.fromhex(tokenizer.fingerprint)),
                table.of_token.astype("<i4").tobytes(),
                table.hashes.astype("<u8").tobytes(),
                rarity.astype("<f4").tobytes(),
                steps.astype("<f4").tobytes(),
                context.tobytes(),
            ]
        )
        self.fingerprint: Final = hashlib.sha256(self.kind.encode() + b"\0" + self._dump).hexdigest()

    @classmethod
    def fit(
        cls,
        tokenizer: Tokenizer,
        samples: Iterable[bytes],
        dim: int = 512,
        sample_bytes: int = 16 * 1024 * 1024,
    ) -> LexicalEncoder:
        """Make an encoder for a corpus.

        Args:
            tokenizer: what makes the blocks.
            samples: pieces of the corpus, best drawn from all over it, since only the first `sample_bytes` are
                read.  None at all gives an encoder that knows no rarity.
            dim: length of a gist, 8 … 8192.
            sample_bytes: how much of the samples to use.

        Returns:
            The encoder; on one machine, equal inputs give an equal one.

        Raises:
            UsageError: `dim` is out of range.
        """
        if not _MIN_DIM <= dim <= _MAX_DIM:
            raise UsageError(f"a lexical gist has {_MIN_DIM} … {_MAX_DIM} dimensions, not {dim}")
        table = TermTable.of(tokenizer)
        spans = table.pairs(*_spans_of(tokenizer, samples, sample_bytes))
        rarity = np.minimum(rarity_of(spans), np.float32(_MAX_RARITY))
        vectors = context_vectors(spans, rarity, table.hashes, dim)
        steps = np.abs(vectors).max(axis=1, initial=0.0) / np.float32(127)
        context = np.rint(vectors / np.where(steps > 0, steps, 1)[:, None]).astype(np.int8)
        return cls(tokenizer, table, rarity, steps.astype(np.float32), context)

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """Encode nodes: see `mctree.encoders.Encoder.encode`.

        Gists have norm 1, or 0 where there is nothing to be found: a block of signs and white space only.  At
        level 2 the span alone counts, not the children.

        Raises:
            UsageError: the arrays do not belong together, a block has more than 32 tokens, a token is not of
            the
                vocabulary, or the span is missing.
        """
        if level < 1 or children.ndim != (2 if level == 1 else 3) or mask.shape != children.shape[:2]:
            raise UsageError(
                f"level {level} was given children of shape {children.shape} with a mask of shape {mask.shape}"
            )
        gists = np.empty((len(children), self.dim), np.float32)
        if level == 1:
            if children.shape[1] > BLOCK:
                raise UsageError(f"a block has at most {BLOCK} tokens, not {children.shape[1]}")
            for rows in _slices(len(children), _BLOCKS_AT_ONCE):
                unit_rows(self._blocks(children[rows], mask[rows]), gists[rows])
        elif level == 2:
            if span is None or span[0].shape != span[1].shape or span[0].shape[:1] != children.shape[:1]:
                raise UsageError("at level 2 this encoder wants the tokens of each node's span, with their mask")
            for rows in _slices(len(children), _SPANS_AT_ONCE):
                unit_rows(self._spans(span[0][rows], span[1][rows]), gists[rows])
        else:
            if children.shape[2] != self.dim:
                raise UsageError(f"the children's gists have {children.shape[2]} dimensions, not {self.dim}")
            for rows in _slices(len(children), _BLOCKS_AT_ONCE):
                unit_rows(_pooled(children[rows], mask[rows]), gists[rows])
        return gists

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """Encode a question: Σ rarity·(signs or context) over its distinct terms, with norm 1, or 0 without any.

        Above the blocks, what is in every span is taken off the sum.

        Args:
            text: the question.
            level: the level with whose gists it will be compared.
        """
        terms = self.table.of_question(self._tokenizer, text)
        vectors = self._signs if level == 1 else self._context
        total = (self.rarity[terms, None] * vectors[terms].astype(np.float32)).sum(axis=0, dtype=np.float64)
        wanted = total.astype(np.float32)
        if level > 1:
            wanted = self._crosstalk.removed(wanted)
        gist: NDArray[np.float32] = unit_rows(wanted[None])[0]
        return gist

    def dump(self) -> bytes:
        """A header with sizes, then the arrays, little-endian; about `dim` bytes per term of the vocabulary."""
        return self._dump

    @classmethod
    def load(cls, dump: bytes, tokenizer: Tokenizer) -> LexicalEncoder:
        """Make an encoder again from what `dump` gave.

        Raises:
            CorruptError: the bytes are no dump of a lexical encoder.
            UsageError: it was fitted with another tokenizer.
        """
        if len(dump) < _HEADER.size:
            raise CorruptError("the stored lexical encoder is cut short")
        magic, dim, vocabulary, terms, fingerprint = _HEADER.unpack_from(dump)
        if magic != _MAGIC or not _MIN_DIM <= dim <= _MAX_DIM:
            raise CorruptError("the stored bytes are no lexical encoder that this release can read")
        sizes = [vocabulary * WIDTH * 4, terms * 8, terms * 4, terms * 4, terms * dim]
        if len(dump) != _HEADER.size + sum(sizes):
            raise CorruptError("the stored lexical encoder does not have the size that its header says")
        if fingerprint.hex() != tokenizer.fingerprint:
            raise UsageError("the encoder was fitted with another tokenizer: give it that one, or fit it anew")
        ends = np.cumsum([_HEADER.size, *sizes]).tolist()
        parts = [dump[start:stop] for start, stop in pairwise(ends)]
        of_token = np.frombuffer(parts[0], "<i4").astype(np.int32).reshape(vocabulary, WIDTH)
        hashes = np.frombuffer(parts[1], "<u8").astype(np.uint64)
        rarity = np.frombuffer(parts[2], "<f4").astype(np.float32)
        steps = np.frombuffer(parts[3], "<f4").astype(np.float32)
        context = np.frombuffer(parts[4], np.int8).reshape(terms, dim)
        if not (
            np.all((of_token >= -1) & (of_token < terms))
            and np.all((rarity >= 0) & (rarity <= _MAX_RARITY))
            and np.all((steps >= 0) & (steps <= 1))
        ):
            raise CorruptError("the stored lexical encoder holds values that no sample can give")
        return cls(tokenizer, TermTable(of_token, hashes), rarity, steps, context)

    def __repr__(self) -> str:
        return f"LexicalEncoder(dim={self.dim}, fingerprint={self.fingerprint[:12]})"

    @cached_property
    def _crosstalk(self) -> Crosstalk:
        # Made when a question is first asked: whoever builds gists needs none.
        return Crosstalk(self._context, self.rarity)

    def _blocks(self, tokens: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.int16]:
        pairs = self.table.pairs(self._checked(tokens, mask), mask)
        weights = np.rint(_WEIGHT_SCALE * np.log2(1.0 + pairs.counts) * self._weights[pairs.terms])
        return weighted_sums(pairs.rows, pairs.terms, weights.astype(np.int16), self._signs, len(tokens))

    def _spans(self, tokens: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        pairs = self.table.pairs(self._checked(tokens, mask), mask)
        weights = np.log2(1.0 + pairs.counts).astype(np.float32) * self._weights[pairs.terms]
        return weighted_sums(pairs.rows, pairs.terms, weights, self._context, len(tokens))

    def _checked(self, tokens: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.generic]:
        largest = int(np.max(tokens, initial=0, where=mask))
        if tokens.dtype.kind not in "ui" or largest >= len(self.table.of_token):
            raise UsageError(f"the token {largest} is not of the vocabulary: were these made by another tokenizer?")
        return tokens


def _sizes(table: TermTable) -> tuple[int, int]:
    return len(table.of_token), table.terms


def _spans_of(
    tokenizer: Tokenizer, samples: Iterable[bytes], limit: int
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """The tokens of the samples and their mask, `[spans, 1024]` each; no span has tokens of two samples."""
    pieces: list[bytes] = []
    left = limit
    for sample in samples:
        if left <= 0:
            break
        pieces.append(sample[:left])
        left -= len(sample)
    found = [np.zeros((0, _SPAN), np.uint32)]
    masks = [np.zeros((0, _SPAN), np.bool_)]
    for encoded in at_once(lambda piece: tokenizer.encode([piece])[0], pieces):
        ids = encoded.ids
        padded = np.zeros(-(-len(ids) // _SPAN) * _SPAN, np.uint32)
        padded[: len(ids)] = ids
        found.append(padded.reshape(-1, _SPAN))
        masks.append((np.arange(len(padded)) < len(ids)).reshape(-1, _SPAN))
    return np.concatenate(found), np.concatenate(masks)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _pooled(children: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    total = np.zeros((len(children), children.shape[2]), np.float32)
    for position in range(children.shape[1]):
        np.add(total, children[:, position], out=total, where=mask[:, position, None])
    return total
