"""What is in every span is taken off a question: the equation is solved, and words that tell count for more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.encoders import LexicalEncoder, train_bpe
from mctree.encoders.crosstalk import Crosstalk


@given(st.integers(1, 60), st.integers(2, 48), st.integers(0, 2**32 - 1))
def test_the_equation_is_solved_to_a_hundredth(terms: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((terms, dim)).astype(np.float32)
    rarity = rng.uniform(0.7, 12, terms).astype(np.float32)
    wanted = rng.standard_normal(dim).astype(np.float32)
    share = np.minimum(1 / np.expm1(rarity.astype(np.float64)), 1)
    scatter = (vectors.T * (share * (1 - share) * rarity.astype(np.float64) ** 1.5)) @ vectors
    scatter *= dim / np.trace(scatter)
    exact = np.linalg.solve(scatter + 0.3 * np.eye(dim), wanted)
    found = Crosstalk(vectors, rarity).removed(wanted)
    cosine = float(found @ exact) / float(np.linalg.norm(found) * np.linalg.norm(exact))
    assert cosine > 0.98


@pytest.mark.parametrize("rarity", [np.log(2.0), 15.0])
def test_where_nothing_scatters_a_question_stays_what_it_is(rarity: float) -> None:
    wanted = np.arange(1, 9, dtype=np.float32)
    found = Crosstalk(np.zeros((3, 8), np.float32), np.full(3, rarity, np.float32)).removed(wanted)
    assert np.allclose(found / np.linalg.norm(found), wanted / np.linalg.norm(wanted))
    assert not Crosstalk(np.ones((3, 8), np.float32), np.full(3, rarity, np.float32)).removed(wanted * 0).any()


def test_a_word_of_every_other_span_is_no_longer_mistaken_for_one_that_tells() -> None:
    """Two words of nearly one direction: one is everywhere, the other is asked for."""
    rng = np.random.default_rng(1)
    common, apart = rng.standard_normal((2, 64)).astype(np.float32)
    vectors = np.stack([common, common + np.float32(0.3) * apart])
    rarity = np.array([1.1, 6.0], np.float32)
    asked = Crosstalk(vectors, rarity).removed(vectors[1])
    before = float(vectors[1] @ vectors[0]) / float(vectors[1] @ vectors[1])
    after = float(asked @ vectors[0]) / float(asked @ vectors[1])
    assert after < before / 2


def test_all_levels_above_the_blocks_are_asked_alike_and_blocks_by_words_alone() -> None:
    text = b"the reader maps every chunk of the level, the writer adds a row " * 40
    encoder = LexicalEncoder.fit(train_bpe([text], 300), [text], 64)
    assert np.array_equal(encoder.encode_query("maps chunk", 2), encoder.encode_query("maps chunk", 5))
    assert not np.allclose(encoder.encode_query("maps chunk", 1), encoder.encode_query("maps chunk", 2))
    for level in (1, 2):
        assert abs(np.linalg.norm(encoder.encode_query("maps chunk", level)) - 1) < 1e-5
        assert not encoder.encode_query("?!", level).any()
