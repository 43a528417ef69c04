"""Which terms does each token of a vocabulary hold, and how rare is each term?

`TermTable` answers both with arrays that are made once (`TermTable.count`) and stored.  It does not assume that a
token is a word, or has any term at all; white space and signs have none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.protocol import Tokenizer
from mctree.encoders.terms import hash_of_term, split, terms_of
from mctree.errors import CorruptError

__all__ = ["TermTable"]

BLOCK: Final = 32
_WIDTH: Final = 2
_SCALE: Final = 24.0
_HEADER: Final = struct.Struct("<8sIII32s")
_MAGIC: Final = b"mcterms1"
_MAX_RARITY: Final = 24.0
# The weights of the terms of a block add up to less than 2^15, whatever stands in it.
_MAX_WEIGHT: Final = (1 << 15) // (BLOCK * _WIDTH) - 1


@dataclass(frozen=True, eq=False)
class TermTable:
    """Terms of tokens, and their rarity.

    Attributes:
        tokenizer: fingerprint of the tokenizer whose tokens these are.
        of_token: `int32 [vocabulary, width]`: the terms of each token, −1 where it has no more.
        hashes: `uint64 [terms]`: what each term's vector follows from.
        rarity: `float32 [terms]`: log(1 + blocks / blocks with the term) in the sample.
    """

    tokenizer: str
    of_token: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    rarity: NDArray[np.float32]

    @classmethod
    def count(cls, tokenizer: Tokenizer, samples: Iterable[bytes], sample_bytes: int) -> TermTable:
        """Make the table of a vocabulary, with the rarity found in a sample."""
        index: dict[str, int] = {}
        of_token = np.full((tokenizer.vocabulary, _WIDTH), -1, np.int32)
        for token in range(tokenizer.vocabulary):
            text = tokenizer.decode(np.array([token], np.uint32)).decode("utf-8", "ignore")
            for position, term in enumerate(terms_of(text)[:_WIDTH]):
                of_token[token, position] = index.setdefault(term, len(index))
        hashes = np.array([hash_of_term(term) for term in index], np.uint64)
        found = np.zeros(len(index), np.int64)
        blocks = 0
        left = sample_bytes
        table = cls(tokenizer.fingerprint, of_token, hashes, np.ones(len(index), np.float32))
        for sample in samples:
            if left <= 0:
                break
            ids = tokenizer.encode([sample[:left]])[0].ids
            left -= len(sample)
            padded = np.zeros(-(-len(ids) // BLOCK) * BLOCK, np.uint32)
            padded[: len(ids)] = ids
            mask = np.arange(len(padded)) < len(ids)
            _, terms, _ = table.weights(padded.reshape(-1, BLOCK), mask.reshape(-1, BLOCK))
            found += np.bincount(terms, minlength=len(index))
            blocks += len(padded) // BLOCK
        rarity = np.log1p(max(blocks, 1) / np.maximum(found, 0.5)).astype(np.float32)
        return cls(tokenizer.fingerprint, of_token, hashes, rarity)

    def weights(
        self, tokens: NDArray[np.generic], mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int16]]:
        """The distinct terms of each row, and their weights.

        Args:
            tokens: integers `[n, positions]`, of the vocabulary where `mask` holds.
            mask: `bool [n, positions]`.

        Returns:
            Row (ascending), term and weight of each pair: log2(1 + count)·rarity in fixed point.
        """
        width = self.of_token.shape[1]
        found = np.where(mask[:, :, None], self.of_token[np.where(mask, tokens, 0)], -1)
        found = np.sort(found.reshape(len(tokens), -1), axis=1)
        first = np.ones(found.shape, np.bool_)
        first[:, 1:] = found[:, 1:] != found[:, :-1]
        flat = np.flatnonzero(first)
        lengths = np.diff(flat, append=found.size)
        terms = found.reshape(-1)[flat]
        real = terms >= 0
        rows, terms, lengths = flat[real] // (width * tokens.shape[1]), terms[real], lengths[real]
        weights = np.rint(np.log2(1.0 + lengths) * self.rarity[terms] * _SCALE)
        return rows, terms, np.minimum(weights, _MAX_WEIGHT).astype(np.int16)

    def terms_of_query(self, tokenizer: Tokenizer, text: str) -> NDArray[np.int32]:
        """The distinct terms that the words of a question have as tokens, with and without a space before them."""
        words = split(text)
        pieces = [
            (space + form).encode("utf-8", "replace")
            for word in words
            for space in (" ", "")
            for form in {word, word.lower()}
        ]
        ids = [encoded.ids for encoded in tokenizer.encode(pieces)]
        if not ids:
            return np.zeros(0, np.int32)
        terms = np.unique(self.of_token[np.concatenate(ids)])
        return terms[terms >= 0]

    def dump(self) -> bytes:
        """The table as bytes: a header with sizes, then the arrays, little-endian."""
        header = _HEADER.pack(_MAGIC, *self.of_token.shape, len(self.hashes), bytes.fromhex(self.tokenizer))
        return b"".join(
            [
                header,
                self.of_token.astype("<i4").tobytes(),
                self.hashes.astype("<u8").tobytes(),
                self.rarity.astype("<f4").tobytes(),
            ]
        )

    @classmethod
    def load(cls, dump: bytes) -> TermTable:
        """Read what `dump` gave.

        Raises:
            CorruptError: the bytes are no such table.
        """
        if len(dump) < _HEADER.size:
            raise CorruptError("the stored term table is cut short")
        magic, vocabulary, width, terms, tokenizer = _HEADER.unpack_from(dump)
        if magic != _MAGIC or len(dump) != _HEADER.size + vocabulary * width * 4 + terms * 12:
            raise CorruptError("the stored term table does not have the size that its header says")
        offset = _HEADER.size
        of_token = np.frombuffer(dump, "<i4", vocabulary * width, offset).astype(np.int32)
        hashes = np.frombuffer(dump, "<u8", terms, offset + of_token.size * 4).astype(np.uint64)
        rarity = np.frombuffer(dump, "<f4", terms, len(dump) - 4 * terms).astype(np.float32)
        if of_token.size and not (of_token.min() >= -1 and of_token.max() < terms):
            raise CorruptError("the stored term table names terms that it does not have")
        if not np.all((rarity >= 0) & (rarity <= _MAX_RARITY)):
            raise CorruptError("the stored term table has rarities that no sample can give")
        return cls(tokenizer.hex(), of_token.reshape(vocabulary, width), hashes, rarity)
