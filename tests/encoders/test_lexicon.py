"""How much of a question a block holds: the same as counted by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.encoders import BytesTokenizer, Lexicon, MeanEncoder, shares
from mctree.encoders.table import TermTable


class Words:
    """A lexicon of eight tokens with two terms at most."""

    def __init__(self, of_token: NDArray[np.int32], rarity: NDArray[np.float32]) -> None:
        self.table = TermTable(of_token, np.arange(len(rarity), dtype=np.uint64))
        self.rarity = rarity


@given(st.integers(0, 2**32 - 1))
def test_terms_are_counted_wherever_they_stand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = int(rng.integers(1, 6))
    words = Words(rng.integers(-1, terms, (8, 2)).astype(np.int32), rng.uniform(0.1, 9, terms).astype(np.float32))
    wanted = np.sort(rng.permutation(terms)[: rng.integers(1, terms + 1)]).astype(np.int32)
    tokens = rng.integers(0, 8, (5, 7)).astype(np.uint32)
    mask = rng.random((5, 7)) < 0.7
    tokens[~mask] = 999
    found = shares(words, wanted, tokens, mask)
    for row, real, share in zip(tokens, mask, found, strict=True):
        held = [term for token in row[real] for term in words.table.of_token[token].tolist()]
        parts = [words.rarity[term] * held.count(term) / (held.count(term) + 1.2) for term in wanted.tolist()]
        assert abs(share - sum(parts) / words.rarity[wanted].sum()) < 1e-5
    assert np.all((found >= 0) & (found < 1))


def test_no_blocks_have_no_shares_and_not_every_encoder_is_a_lexicon() -> None:
    words = Words(np.zeros((8, 2), np.int32), np.ones(1, np.float32))
    none = np.zeros((0, 32), np.uint32)
    assert isinstance(words, Lexicon)
    assert shares(words, np.zeros(1, np.int32), none, none > 0).shape == (0,)
    assert not isinstance(MeanEncoder(BytesTokenizer()), Lexicon)
