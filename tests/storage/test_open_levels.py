"""A process keeps open what the newest commit sees, and beyond that only what somebody uses."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import UsageError
from mctree.storage import open_levels
from mctree.testing.toys import ToyEncoder

ROWS = np.arange(40)


@pytest.fixture
def tree(tmp_path: Path) -> mctree.Tree:
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=65536)
    with tree.writer() as writer:
        writer.add("a", np.random.default_rng(0).bytes(32 * 40))
    return tree


def maps() -> int:
    return Path("/proc/self/maps").read_text().count("\n")


def replace_set(tree: mctree.Tree, seed: int) -> None:
    """Make a set, read all its levels, and drop it."""
    tree.build_gists(ToyEncoder(seed=seed), "one")
    with tree.snapshot() as snapshot:
        view = snapshot.gists("one")
        for level in range(1, view.levels + 1):
            view.gather(level, np.arange(view.rows(level)))
    tree.drop_gists("one")


@pytest.mark.parametrize("portable", [False, True])
def test_a_store_that_is_closed_while_it_is_read_gives_no_rows_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    """The descriptor of its folder may be another store's by the time that a chunk is opened by it."""
    for name in "ab":
        with mctree.create(tmp_path / name, chunk_bytes=65536) as made, made.writer() as writer:
            writer.add(name, name.encode() * 64)
    others = list[mctree.Tree]()

    def opened(at: int, *args: Any) -> int:
        tree.close()
        while at not in [other.store.at for other in others]:
            assert len(others) < 9, "numbers are given anew, the lowest first"
            others.append(mctree.open(tmp_path / "b", writable=False))
        return real(at, *args)

    def gone(at: int, *args: Any) -> int:
        tree.close()
        return real(at, *args)

    real = open_levels.open_generation
    for hook in (opened, gone):
        monkeypatch.setattr(open_levels, "open_generation", hook)
        tree = mctree.open(tmp_path / "a", writable=False, portable=portable)
        with tree.snapshot() as snapshot, pytest.raises(UsageError, match="was closed; open it again"):
            snapshot.tokens(0, 64)
    for other in others:
        other.close()


def test_levels_of_dropped_sets_are_not_kept(tree: mctree.Tree) -> None:
    """Found by review: a process that went on for long kept a mapping of every array that there ever was."""
    replace_set(tree, 0)
    tree.snapshot().close()
    before = maps()
    gc.disable()  # what nobody uses goes at once, whether or not the collector ever comes
    try:
        for seed in range(1, 9):
            replace_set(tree, seed)
        tree.snapshot().close()
    finally:
        gc.enable()
    assert maps() <= before + 2


def test_generations_that_were_replaced_are_not_kept(tree: mctree.Tree) -> None:
    tree.build_gists(ToyEncoder(), "one")
    with tree.writer() as writer:
        for i in range(10):
            writer.add(f"{i}", np.random.default_rng(i).bytes(32 * 7))

    def refresh(i: int) -> None:
        with tree.writer() as writer:
            writer.remove(f"{i}")
        tree.refresh_gists("one")
        with tree.snapshot() as snapshot:
            snapshot.gists("one").gather(2, np.arange(1))

    refresh(0)
    before = maps()
    for i in range(1, 10):
        refresh(i)
    assert maps() <= before + 2


def test_a_dropped_set_in_use_is_read_on_and_goes_with_its_last_user(tree: mctree.Tree) -> None:
    tree.build_gists(ToyEncoder(), "one")
    with tree.snapshot() as snapshot:
        snapshot.gists("one").gather(1, ROWS)
    held = tree.snapshot()
    expected = held.gists("one").gather(1, ROWS)
    tree.drop_gists("one")
    tree.snapshot().close()
    before = maps()
    other = tree.snapshot(held.commit)
    assert np.array_equal(other.gists("one").gather(1, ROWS), expected)
    assert other.gists("one").level(1)._level is held.gists("one").level(1)._level
    assert np.array_equal(held.gists("one").gather(1, ROWS), expected)
    held.close()
    other.close()
    del held, other
    assert maps() < before


def test_snapshots_of_the_newest_commit_map_nothing_anew(tree: mctree.Tree) -> None:
    levels = set()
    for _ in range(3):
        with tree.snapshot() as snapshot:
            levels.add(id(snapshot.rows(0)._level))
            snapshot.tokens(0, 64)
    assert len(levels) == 1


def test_an_array_that_outgrows_its_level_gets_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mctree.storage.open_levels._LEAST_CHUNKS", 1)
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=65536)
    data, old = [], []
    for i in range(4):
        data.append(np.random.default_rng(i).bytes(65536))
        with tree.writer() as writer:
            writer.add(f"{i}", data[-1])
        old.append(tree.snapshot())
        for j, snapshot in enumerate(old):
            assert snapshot.document(f"{j}").read() == data[j]
