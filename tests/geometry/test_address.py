"""Addresses as numbers, codes and text."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.geometry import Address, pack, unpack

SPACES, LEVELS, INDICES = st.integers(0, 2**32 - 1), st.integers(0, 63), st.integers(0, 2**58 - 1)
ADDRESSES = st.builds(Address, SPACES, LEVELS, INDICES)


@given(ADDRESSES)
def test_text_comes_back(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert pickle.loads(pickle.dumps(address)) == address


def test_text_forms() -> None:
    assert str(Address(0, 2, 17)) == "2:17"
    assert str(Address(1, 2, 17)) == "a1/2:17"
    assert Address.parse("a1/2:17") == Address(1, 2, 17)


@given(st.one_of(st.text(), st.text(alphabet="a0123456789:/-+ _\n٣", max_size=12)))
@example("2:17\n")
@example("02:17")
@example("a0/2:17")
@example("2:" + "9" * 10**5)
@example("a4294967296/2:17")
@example("64:0")
@example("0:288230376151711744")
@example("٢:1")
@example("\x1b[31m2:17")
def test_other_text_is_refused_in_one_clean_line(text: str) -> None:
    try:
        address = Address.parse(text)
    except UsageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 200
    else:
        assert str(address) == text


@given(ADDRESSES, ADDRESSES)
def test_order(one: Address, other: Address) -> None:
    assert (one < other) == ((one.space, one.level, one.index) < (other.space, other.level, other.index))
    assert (pack(one.level, one.index) < pack(other.level, other.index)) == (
        (one.level, one.index) < (other.level, other.index)
    )


@given(LEVELS, INDICES)
def test_codes(level: int, index: int) -> None:
    code = pack(level, index)
    assert code == level * 2**58 + index < 2**64
    assert unpack(code) == (level, index)
    assert unpack(np.uint64(code)) == (level, index)


@given(st.lists(st.tuples(LEVELS, INDICES), max_size=6), st.sampled_from([np.int64, np.uint64]))
def test_arrays_of_codes(nodes: list[tuple[int, int]], kind: type) -> None:
    levels = np.array([level for level, _ in nodes], dtype=np.uint8)
    indices = np.array([index for _, index in nodes], dtype=kind)
    codes = pack(levels, indices)
    assert codes.dtype == np.uint64
    assert codes.tolist() == [pack(*node) for node in nodes]
    back, again = unpack(codes)
    assert (back.dtype, again.dtype) == (np.uint8, np.int64)
    assert (back.tolist(), again.tolist()) == (levels.tolist(), indices.tolist())
    assert pack(7, indices).tolist() == [pack(7, index) for _, index in nodes]
    assert pack(levels, 7).tolist() == [pack(level, 7) for level, _ in nodes]


@pytest.mark.parametrize(
    "wrong", [(2**32, 0, 0), (-1, 0, 0), (0, 64, 0), (0, -1, 0), (0, 0, 2**58), (0, 0, -1), (0, 0, 0.5)]
)
def test_numbers_out_of_bounds_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError):
        Address(*wrong)
    if wrong[0] == 0:
        with pytest.raises(UsageError):
            pack(*wrong[1:])
        with pytest.raises(UsageError):
            pack(np.array([0, wrong[1]]), np.array([0, wrong[2]]))


def test_wrong_codes_are_refused() -> None:
    for wrong in (-1, 2**64, np.array([1]), 0.5):
        with pytest.raises(UsageError):
            unpack(wrong)
