"""Facts as of a commit, records bound to their keys, and the sums that a commit carries."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import CorruptError
from mctree.format.commits import Commit
from mctree.format.keys import Table, commit_key, split_version, u64, version_key
from mctree.format.values import frame, unframe
from mctree.storage.index import Reading, Writing, table_sums
from tests.bare import empty

KEYS = st.sampled_from([u64.pack(n) for n in (0, 1, 2, 255, 256, 2**63)])
EDITS = st.lists(st.tuples(KEYS, st.binary(max_size=4)), max_size=6)


def test_what_a_commit_says_and_takes_back_was_never_said(env: lmdb.Environment) -> None:
    """Found by reading: a fact that came again and ended within one commit had two ends in a row."""
    fact = u64.pack(7)
    with env.begin(write=True) as txn:
        empty(txn)
        for before in ([], [b"this"], [b"this", b""]):
            index = Writing(txn, 9, {})
            for number, payload in enumerate(before, 1):
                Writing(txn, number, {}).put_version(Table.TAIL, fact, payload)
            was = list(index.raw())
            for payload in (b"that", b"another", b""):
                index.put_version(Table.TAIL, fact, payload)
            if before and before[-1]:
                assert index.version(Table.TAIL, fact, 9) is None and index.version(Table.TAIL, fact, 8) == b"this"
            else:
                assert list(index.raw()) == was
            empty(txn)


@given(history=st.lists(EDITS, min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_fact_says_at_each_commit_what_it_said_then(env: lmdb.Environment, history: list) -> None:
    states: list[dict[bytes, bytes]] = [{}]
    with env.begin(write=True) as txn:
        empty(txn)
        tables: dict[str, tuple[int, int]] = {}
        for number, edits in enumerate(history, 1):
            index = Writing(txn, number, tables)
            state = dict(states[-1])
            for key, payload in edits:
                index.put_version(Table.DOCUMENT, key, payload)
                state[key] = payload
                if not payload:
                    state.pop(key)
            tables = index.tables
            states.append(state)
        reading = Reading(txn)
        for number, state in enumerate(states):
            for key in (u64.pack(n) for n in (0, 1, 2, 255, 256, 2**63)):
                assert reading.version(Table.DOCUMENT, key, number) == state.get(key)
            found = {key: payload for key, _, payload in reading.versions(Table.DOCUMENT, number)}
            assert found == state
        assert {tag: (n, total) for tag, n, total in table_sums(reading) if n} == {
            tag: sums for tag, sums in tables.items() if sums[0]
        }
        # Every version but the newest of a fact has a grave that names the commit which ended it.
        graves = {rest for rest, _ in reading.scan(Table.GRAVE)}
        for key in {key for edits in history for key, _ in edits}:
            born = [split_version(Table.DOCUMENT + key + rest)[1] for rest, _ in reading.scan(Table.DOCUMENT + key)]
            for since, ended in pairwise(born):
                assert u64.pack(ended) + version_key(Table.DOCUMENT, key, since) in graves


@given(keys=st.sets(st.binary(min_size=1, max_size=3), max_size=20), wanted=st.binary(max_size=3))
@settings(max_examples=150, deadline=None)
def test_floor_is_the_last_key_not_above(env: lmdb.Environment, keys: set[bytes], wanted: bytes) -> None:
    with env.begin(write=True) as txn:
        empty(txn)
        index = Writing(txn, 1, {})
        for prefix in (b"m", b"n123456789", b"o"):
            for key in keys:
                index.put(prefix + key, key)
        below = [key for key in keys if key <= wanted]
        found = index.floor(b"n123456789", wanted)
        assert found == ((max(below), max(below)) if below else None)


@given(key=st.binary(min_size=1, max_size=8), other=st.binary(min_size=1, max_size=8), payload=st.binary(max_size=64))
def test_a_value_is_bound_to_its_key(key: bytes, other: bytes, payload: bytes) -> None:
    value = frame(key, payload)
    assert unframe(key, value) == payload
    if other != key:
        with pytest.raises(CorruptError):
            unframe(other, value)


@given(payload=st.binary(min_size=1, max_size=64), data=st.data())
def test_every_flipped_bit_is_noticed(payload: bytes, data: st.DataObject) -> None:
    value = bytearray(frame(b"d1", payload))
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptError):
        unframe(b"d1", bytes(value))


@pytest.mark.parametrize("change", [lambda index, key: index.put(key, b"another"), Writing.delete])
def test_a_damaged_record_is_not_taken_out_of_the_sums(
    env: lmdb.Environment, change: Callable[[Writing, bytes], object]
) -> None:
    """Found by writing to damaged stores: what was lost to another key went unnoticed once that was written over."""
    first, lost, other = (Table.RUN + u64.pack(document) + u64.pack(0) for document in (1, 2, 10))
    with env.begin(write=True) as txn:
        empty(txn)
        index = Writing(txn, 1, {})
        index.put(first, b"a run")
        index.put(lost, b"another run")
        before = index.tables
        moved = txn.pop(lost)
        assert moved is not None
        txn.put(other, moved)
        with pytest.raises(CorruptError, match="fails its checksum"):
            change(Writing(txn, 2, before), other)


def test_the_newest_commit_is_the_last_one(env: lmdb.Environment) -> None:
    with env.begin(write=True) as txn:
        empty(txn)
        index = Writing(txn, 1, {})
        assert index.commit() is None
        for number in (1, 255, 256, 70_000):
            index.put(commit_key(Table.COMMIT, number), Commit(number, number - 1, 0).encode())
        newest = index.commit()
        assert newest is not None
        assert (newest.number, newest.parent) == (70_000, 69_999)
        assert index.commit(257) is None
        assert index.commit_numbers() == [1, 255, 256, 70_000]


def test_a_damaged_index_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="commit 3"):
        Commit.decode(3, b"\xc1")
    with pytest.raises(CorruptError, match="next"):
        Commit.decode(3, b"\x80")
