"""The fast conversion gives what NumPy's own gives, for every half that there is and what lies between two."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mctree.format.half import _STRIP, from_half, to_half

ALL = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = ALL[np.isfinite(ALL)]


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert np.array_equal(found.view(f"u{found.itemsize}"), wanted.view(f"u{wanted.itemsize}"))


def test_every_half_comes_back_as_it_was() -> None:
    same(to_half(FINITE.astype(np.float32)), FINITE)
    same(from_half(FINITE), FINITE.astype(np.float32))


def test_halfway_and_beside_it() -> None:
    each = np.sort(FINITE[FINITE >= 0]).astype(np.float64)
    middle = ((each[1:] + each[:-1]) / 2).astype(np.float32)
    numbers = np.concatenate([middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(1e9))])
    numbers = np.concatenate([numbers, -numbers])
    same(to_half(numbers), numbers.astype(np.float16))


@given(
    bits=st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=64),
    rows=st.sampled_from([1, 2]),
)
def test_any_number(bits: list[int], rows: int) -> None:
    numbers = np.tile(np.array(bits, np.uint32).view(np.float32), (rows, 1))
    numbers = np.where(np.abs(numbers) <= 65504, numbers, np.float32(1))[:, ::-1]
    same(to_half(numbers), numbers.astype(np.float16))


def test_more_numbers_than_are_rounded_at_a_time() -> None:
    numbers = np.random.default_rng(0).normal(scale=2.0**-13, size=(7, 23456)).astype(np.float32)
    assert numbers.size > 2 * _STRIP and (np.abs(numbers) < 2.0**-14).any()
    same(to_half(numbers), numbers.astype(np.float16))
    same(to_half(numbers[:, ::-2]), numbers[:, ::-2].astype(np.float16))


def test_rows_that_do_not_lie_together() -> None:
    numbers = FINITE[:63488].reshape(-1, 4, 32)
    for part in (numbers[::3], numbers[:, 1], numbers.T):
        same(from_half(part), np.ascontiguousarray(part).astype(np.float32))


def test_nothing() -> None:
    same(from_half(np.empty((0, 8), np.float16)), np.empty((0, 8), np.float32))
    same(to_half(np.empty((0, 8), np.float32)), np.empty((0, 8), np.float16))
