"""An old commit is held, and what came after it goes: the store is sound, says so, and is copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mctree
from mctree.format.facts import Stamp
from mctree.format.keys import Table
from mctree.sources.images import Box
from mctree.testing import ToyEncoder
from tests.tree.albums import EYES, JOINT, SMALL, WORDS, pixels

ENCODERS = [EYES, JOINT, WORDS, ToyEncoder(dim=64)]


def made(path: Path, keep: int) -> mctree.Tree:
    return mctree.create(path, chunk_bytes=SMALL, keep=keep, encoders=ENCODERS)


def age(tree: mctree.Tree, until: int) -> None:
    """Make commits that change nothing a snapshot sees, until one has a number."""
    with tree.writer() as writer:
        while writer.commit() < until:
            writer.stamp(b"age", Stamp(1, 0, 0, 0, 0, b""))


def records(tree: mctree.Tree, table: Table) -> int:
    with tree.store.reading() as index:
        return sum(1 for _ in index.scan(table))


def is_sound(tree: mctree.Tree, copy: Path) -> None:
    assert list(tree.verify()) == []
    tree.backup(copy)
    with mctree.open(copy, encoders=ENCODERS) as other:
        assert list(other.verify()) == []


def test_a_store_that_keeps_one_commit_is_copied_right_behind_a_collection(tmp_path: Path) -> None:
    """Found by reading: its commits were said to be listed too early, until one more was made."""
    with made(tmp_path / "t.mctree", keep=1) as tree:
        for newest in (16, 17, 31, 32):
            age(tree, newest)
            assert tree.commits()[-1].number == newest
            is_sound(tree, tmp_path / f"copy {newest}")


def test_pages_of_a_dropped_set_that_nobody_sees_any_more_are_no_damage(tmp_path: Path) -> None:
    """Found by reading: they were said to lie behind what the last commit sees that sees the set."""
    with made(tmp_path / "t.mctree", keep=1) as tree:
        tree.build_gists(EYES, "eyes")
        with tree.writer() as writer:
            writer.add_image("seen", pixels(300, 300))
        held = tree.snapshot()
        with tree.writer() as writer:
            writer.add_image("later", pixels(700, 700, seed=1))
        tree.drop_gists("eyes")
        age(tree, 50)
        is_sound(tree, tmp_path / "copy")
        assert held.gists("eyes").stale_in_images() == 0
        held.close()
        age(tree, 82)
        is_sound(tree, tmp_path / "another")


def test_a_generation_that_went_on_for_commits_that_went_is_copied(tmp_path: Path) -> None:
    """Found by reading: the rows behind those that a commit sees are not copied, but were missed in the copy."""
    with made(tmp_path / "t.mctree", keep=1) as tree:
        tree.build_gists(ENCODERS[3], "gone")
        with tree.writer() as writer:
            writer.add("a", b"x" * 32 * 100)
        held = tree.snapshot()
        kept = held.gists("gone").level(1).view().copy()
        with tree.writer() as writer:
            writer.add("b", b"y" * 32 * 400)
        with tree.writer() as writer:
            writer.remove("a")
        assert tree.refresh_gists("gone") > 0
        tree.drop_gists("gone")
        age(tree, 50)
        is_sound(tree, tmp_path / "copy")
        assert np.array_equal(held.gists("gone").level(1).view(), kept)
        with mctree.open(tmp_path / "copy", encoders=ENCODERS) as copy, copy.snapshot(held.commit) as there:
            assert np.array_equal(there.gists("gone").level(1).view(), kept)
        held.close()


def test_of_an_image_that_changed_and_was_removed_in_one_commit_nothing_stays(tmp_path: Path) -> None:
    """Found by reading: its change was put down behind its end, so that it never ended."""
    with made(tmp_path / "t.mctree", keep=1) as tree:
        with tree.writer() as writer:
            writer.add_image("a", pixels(64, 64))
            writer.add_image("b", pixels(64, 64))
        with tree.writer() as writer:
            writer.change_image("a", pixels(8, 8, seed=1), Box(0, 0, 8, 8))
            writer.remove("a")
            writer.change_image("b", pixels(8, 8, seed=1), Box(0, 0, 8, 8))
            writer.add_image("b", pixels(32, 32), replace=True)
        age(tree, 50)
        assert records(tree, Table.IMAGE) == 1
        is_sound(tree, tmp_path / "copy")
