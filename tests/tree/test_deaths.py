"""Every snapshot sees what had died by its commit, whoever looked before, and whichever commit they looked at."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctree
from mctree.errors import CorruptError
from mctree.format.keys import Table, death_key
from mctree.format.records import DEATH_DTYPE, encode_death
from mctree.format.values import frame, unframe, unframe_fixed
from mctree.testing import scratch
from mctree.tree import world


def died(tree: mctree.Tree, commit: int) -> list[tuple[int, int, int, int]]:
    """What the index says, read record by record."""
    found = []
    with tree.store.reading() as index:
        for key, payload in index.scan(Table.DEATH):
            born, start = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
            if born <= commit:
                found.append((start, born, *(int.from_bytes(payload[i : i + 8], "little") for i in (0, 8))))
    return sorted(found)


@given(
    steps=st.lists(st.lists(st.integers(0, 11), max_size=3, unique=True), min_size=1, max_size=5),
    order=st.permutations(range(7)),
    data=st.data(),
)
def test_the_dead_of_any_commit_in_any_order(steps: list[list[int]], order: list[int], data: st.DataObject) -> None:
    with scratch() as folder, mctree.create(f"{folder}/t", chunk_bytes=65536, keep=0) as tree:
        with tree.writer() as writer:
            for i in range(12):
                writer.add(f"{i}", bytes([i]) * 70)
        gone: set[int] = set()
        for step in steps:
            with tree.writer() as writer:
                for i in set(step) - gone:
                    writer.remove(f"{i}")
                writer.add(f"new {len(gone)} {step}", b"x" * 40, replace=True)
            gone |= set(step)
            if data.draw(st.booleans()):
                with tree.snapshot() as snapshot:
                    assert snapshot.world.deaths is not None
        commits = [commit.number for commit in tree.commits()]
        with mctree.open(tree.path) as other:
            for i, turn in enumerate(order):
                handle = (tree, other)[i % 2]
                with handle.snapshot(commits[turn % len(commits)]) as snapshot:
                    runs = snapshot.world.deaths.runs
                    found = [(int(r["start"]), int(r["commit"]), int(r["stop"]), int(r["tokens"])) for r in runs]
                    assert found == died(tree, snapshot.commit)
                    flat = snapshot.world.deaths.intervals.reshape(-1)
                    assert (np.diff(flat) > 0).all()


def test_deaths_are_read_once_for_all_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by review: each handle read all deaths there ever were, one by one, and each snapshot sorted them."""
    with mctree.create(tmp_path / "t", chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            for i in range(40):
                writer.add(f"{i}", b"x" * 40)
        with tree.writer() as writer:
            for i in range(0, 40, 2):
                writer.remove(f"{i}")
        with tree.snapshot() as snapshot:
            assert len(snapshot.world.deaths.runs) == 20
        asked = []
        real = world.read_deaths
        monkeypatch.setattr(
            world, "read_deaths", lambda index, after, until: asked.append(after) or real(index, after, until)
        )
        with mctree.open(tree.path) as other:
            one, two = tree.snapshot(), other.snapshot()
            assert one.world.deaths is two.world.deaths
            assert not asked
            with tree.writer() as writer:
                writer.remove("1")
            three = other.snapshot()
            assert len(three.world.deaths.runs) == 21
            assert asked == [one.commit]
            assert len(two.world.deaths.runs) == 20
            one.close()
            two.close()
            three.close()


def test_a_forked_child_reads_deaths_for_itself(tmp_path: Path) -> None:
    tree = mctree.create(tmp_path / "t", chunk_bytes=65536)
    with tree.writer() as writer:
        for name in "abc":
            writer.add(name, b"x" * 40)
    with tree.writer() as writer:
        writer.remove("a")
    snapshot = tree.snapshot()
    assert len(snapshot.world.deaths.runs) == 1
    pid = os.fork()
    if pid == 0:
        try:
            with mctree.open(tree.path) as own, own.writer() as writer:
                writer.remove("c")
            good = len(snapshot.world.deaths.runs) == 1 and len(tree.snapshot().world.deaths.runs) == 2
            os._exit(0 if good else 2)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(tree.snapshot().world.deaths.runs) == 2


RECORDS = st.lists(st.tuples(st.binary(min_size=3, max_size=3), st.binary(min_size=5, max_size=5)), max_size=8)


@given(records=RECORDS, data=st.data())
def test_records_read_together_are_those_read_one_by_one(
    records: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    framed = [(b"x" + key, frame(b"x" + key, payload)) for key, payload in records]
    keys, payloads = unframe_fixed(framed, 1, 3, 5)
    assert [(key.tobytes(), payload.tobytes()) for key, payload in zip(keys, payloads, strict=True)] == records
    if framed:
        at = data.draw(st.integers(0, len(framed) - 1))
        key, value = framed[at]
        bit = data.draw(st.integers(0, 8 * len(value) - 1))
        broken = bytearray(value)
        broken[bit // 8] ^= 1 << bit % 8
        framed[at] = (key, bytes(broken))
        with pytest.raises(CorruptError, match=key[1:].hex()):
            unframe(*framed[at])
        with pytest.raises(CorruptError, match=key[1:].hex()):
            unframe_fixed(framed, 1, 3, 5)
        framed[at] = (key, value + b"x")
        with pytest.raises(CorruptError, match="bytes, not"):
            unframe_fixed(framed, 1, 3, 5)


@pytest.mark.damages
@pytest.mark.parametrize("damage", ["flip", "short", "key"])
def test_a_damaged_death_is_an_error(tmp_path: Path, damage: str) -> None:
    tree = mctree.create(tmp_path / "t", chunk_bytes=65536)
    with tree.writer() as writer:
        writer.add("a", b"x" * 40)
    with tree.writer() as writer:
        writer.remove("a")
    commit = tree.commits()[-1].number
    tree.close()
    key = death_key(commit, 0)
    with lmdb.open(str(tmp_path / "t/index.lmdb"), max_dbs=0) as env, env.begin(write=True) as txn:
        if damage == "flip":
            txn.put(key, txn.get(key)[:-1] + b"\xff")
        elif damage == "short":
            txn.put(key, frame(key, encode_death(1, 1)[:-1]))
        else:
            txn.put(key + b"\0", frame(key + b"\0", encode_death(1, 1)))
    with mctree.open(tmp_path / "t") as tree, tree.snapshot() as snapshot, pytest.raises(CorruptError, match="record"):
        _ = snapshot.world


def test_no_deaths_are_an_array_of_their_type(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t") as tree, tree.snapshot() as snapshot:
        assert snapshot.world.deaths.runs.dtype == DEATH_DTYPE
