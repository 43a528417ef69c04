"""Is every number hit once, and does the order look like chance?"""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mctree.errors import UsageError

pytest.importorskip("torch", reason="the extra `torch` is not installed")
from mctree_torch.permutation import MOST, Permutation

KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=4)
SURE = 1e-6
"""Tests of chance have fixed keys; so improbable a result would be no chance."""


@given(n=st.integers(1, 3000), key=KEYS)
def test_every_number_is_hit_once(n: int, key: list[int]) -> None:
    assert sorted(Permutation(n, *key)(np.arange(n)).tolist()) == list(range(n))


@given(data=st.data(), n=st.integers(1, MOST) | st.integers(0, 62).map(lambda bits: 1 << bits), key=KEYS)
def test_a_place_gives_the_same_alone_and_among_others(data: st.DataObject, n: int, key: list[int]) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20)))
    found = Permutation(n, *key)(index)
    assert ((found >= 0) & (found < n)).all()
    assert found.tolist() == [int(Permutation(n, *key)(np.array([i]))[0]) for i in index.tolist()]
    assert len(set(found.tolist())) == len(set(index.tolist()))


def test_it_is_the_same_for_ever() -> None:
    assert Permutation(10, 0, 0)(np.arange(10)).tolist() == [6, 2, 5, 7, 1, 3, 8, 0, 4, 9]
    assert Permutation(1 << 40, 7, 2)(np.array([0, 1, 12345678901])).tolist() == [
        1017094427491,
        1016338061035,
        355685873508,
    ]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_orders_of_a_few_are_about_equally_frequent(n: int) -> None:
    found = Counter(tuple(Permutation(n, key)(np.arange(n)).tolist()) for key in range(3000))
    assert stats.chisquare([found[order] for order in permutations(range(n))]).pvalue > SURE


@pytest.mark.parametrize("n", [97, 1000, 1500, 4096])
def test_every_place_holds_any_number_and_neighbours_are_strangers(n: int) -> None:
    orders = np.stack([Permutation(n, key, n)(np.arange(n)) for key in range(400)])
    for place in (0, 1, n // 2, n - 1):
        assert stats.kstest(orders[:, place] / n, "uniform").pvalue > SURE
    steps = np.diff(orders, axis=1).ravel() % n
    counts = np.bincount(steps, minlength=n)[1:]
    assert stats.chisquare(counts).pvalue > SURE
    fixed = (orders == np.arange(n)).sum(axis=1)
    assert stats.poisson(400).sf(int(fixed.sum()) - 1) > SURE
    assert stats.poisson(400).cdf(int(fixed.sum())) > SURE


def test_orders_of_neighbouring_keys_and_first_parts_of_orders_are_unlike() -> None:
    n = 5000
    first, second, other = (Permutation(n, *key)(np.arange(n)) for key in ((0, 0), (0, 1), (1, 0)))
    for one, two in ((first, second), (first, other), (second, other)):
        assert abs(stats.spearmanr(one, two).statistic) < 0.1
        assert (one == two).sum() < 12
    assert stats.kstest(first[:500] / n, "uniform").pvalue > SURE
    large = Permutation(10**12, 3)(np.arange(100_000))
    assert stats.kstest(large / 10**12, "uniform").pvalue > SURE
    assert stats.chisquare(np.bincount(large % 64)).pvalue > SURE
    assert abs(np.corrcoef(large[1:].astype(float), large[:-1].astype(float))[0, 1]) < 0.02


@pytest.mark.parametrize(("n", "key"), [(0, ()), (-1, ()), (MOST + 1, ()), (5, (-1,)), (5, (1 << 64,))])
def test_what_cannot_be_is_refused(n: int, key: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        Permutation(n, *key)
