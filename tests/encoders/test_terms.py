"""Terms forget how a word is written, and their vectors follow from the term alone, for ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.encoders.sums import _STRIP, unit_rows, weighted_sums
from mctree.encoders.terms import hash_of_term, signs, split, terms_of


def test_case_identifiers_and_endings_do_not_matter() -> None:
    assert terms_of("HTTPServers parse_Date2") == terms_of("http server parsing date 2")
    assert terms_of("") == terms_of("… --- \n") == []


@given(text=st.text(max_size=60))
def test_terms_are_those_of_the_words(text: str) -> None:
    assert terms_of(text) == [term for word in split(text) for term in terms_of(word)]
    assert all(term and len(term) <= 32 * 3 for term in terms_of(text))


def test_vectors_are_the_same_on_every_machine() -> None:
    # Gists in existing stores depend on these very values.
    number = hash_of_term("reader")
    assert number == 0xB9EB5C376B3BF663
    row = signs(np.array([number], np.uint64), 70)[0]
    assert (
        "".join("+" if sign > 0 else "-" for sign in row)
        == "++++-+-+----+-+--+--+-+-+++++--+-+-+++---+++++++++-+++---+---++-++---+"
    )


def test_vectors_are_balanced_and_nearly_orthogonal() -> None:
    vectors = signs(np.array([hash_of_term(str(i)) for i in range(200)], np.uint64), 1000).astype(np.float64)
    products = vectors @ vectors.T / 1000
    assert np.abs(products - np.eye(200)).max() < 0.2
    assert np.abs(vectors.mean(axis=0)).max() < 0.4


@given(data=st.data())
def test_weighted_sums_are_the_product_with_the_sparse_matrix(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 600))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    matrix = draw.integers(-3, 4, (count, 9)) * (draw.random((count, 9)) < draw.random((count, 1)))
    table = draw.integers(-9, 10, (9, 5))
    rows, columns = np.nonzero(matrix)
    for kind in (np.int16, np.float32):
        found = weighted_sums(rows, columns, matrix[rows, columns].astype(kind), table.astype(kind), count)
        assert found.dtype == kind and np.array_equal(found, matrix @ table)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_more_rows_than_are_divided_at_a_time(kind: type) -> None:
    sums = np.random.default_rng(0).normal(scale=1000, size=(300, 700)).astype(kind)
    assert sums.size > 3 * _STRIP and len(sums) % (_STRIP // sums.shape[1])
    alone = np.concatenate([unit_rows(row[None]) for row in sums])
    assert unit_rows(sums).tobytes() == alone.tobytes()


@given(scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e12]), seed=st.integers(0, 99))
def test_unit_rows_have_norm_one_or_are_zero(scale: float, seed: int) -> None:
    sums = np.random.default_rng(seed).standard_normal((4, 33)) * scale
    sums[2] = 0
    norms = np.linalg.norm(unit_rows(sums), axis=1)
    assert norms[2] == 0 and np.allclose(np.delete(norms, 2), 1, atol=1e-5)
