"""What is kept, what is freed, and what has to be on disk before a commit may rely on it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mctree
from mctree.errors import CommitGoneError, NotFoundError
from mctree.format.facts import Stamp
from mctree.format.keys import Table
from mctree.storage.environment import WriteTransaction
from mctree.testing import ToyEncoder


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, keep=2, encoders=[ToyEncoder()]) as tree:
        yield tree


def age(tree: mctree.Tree, commits: int = 40) -> None:
    """Make commits that change nothing a snapshot sees, each by a writer of its own."""
    for i in range(commits):
        with tree.writer() as writer:
            writer.stamp(b"age", Stamp(i, 0, 0, 0, 0, b""))


def records(tree: mctree.Tree, *tables: Table) -> int:
    with tree.snapshot() as snapshot, snapshot.reading() as index:
        return sum(1 for table in tables for _ in index.scan(table))


def test_old_commits_go_although_every_writer_makes_only_one(tree: mctree.Tree) -> None:
    """Found by reading: each writer counted its own commits, and none came far enough to collect."""
    age(tree, 60)
    numbers = [commit.number for commit in tree.commits()]
    assert len(numbers) <= 2 + 2 * 16
    assert numbers[-2:] == [60, 61]
    with pytest.raises(CommitGoneError):
        tree.snapshot(1)


def test_nothing_is_left_of_a_document_whose_versions_were_freed_out_of_order(tree: mctree.Tree) -> None:
    """Found by reading: its runs stayed for ever if its last version went before its first."""
    with tree.writer() as writer:
        writer.begin("a").write(b"x" * 100)
    held = tree.snapshot()
    with tree.writer() as writer:
        writer.reopen("a").close()
    with tree.writer() as writer:
        writer.remove("a")
    age(tree)
    assert held.document("a").read() == b"x" * 100
    held.close()
    age(tree)
    assert records(tree, Table.DOCUMENT, Table.SOURCE, Table.TAIL, Table.RUN, Table.ORIGINAL) == 0
    assert records(tree, Table.GRAVE) <= 40, "what is left are the graves of what was kept lately"
    assert list(tree.verify()) == []


def test_a_tail_that_comes_and_goes_leaves_nothing_behind(tree: mctree.Tree) -> None:
    """Found by reading: the mark that it had ended was forgotten, but not that it had been followed by another."""
    for i in range(60):
        with tree.writer() as writer:
            (writer.reopen("a") if i else writer.begin("a")).write(b"x" * 16)
        assert list(tree.verify()) == []
    assert records(tree, Table.TAIL) <= 40


def test_the_end_of_what_came_again_goes_with_its_grave(tree: mctree.Tree) -> None:
    """Found under fire: verify told of a grave that named nothing, where the first to come again was gone already."""
    with tree.writer() as writer:
        writer.begin("a").write(b"x" * 16)
    with_tail = tree.snapshot()
    with tree.writer() as writer:
        writer.reopen("a").write(b"x" * 16)
    without = tree.snapshot()
    for _ in range(2):
        with tree.writer() as writer:
            writer.reopen("a").write(b"x" * 8)
    for held in with_tail, without:
        age(tree)
        assert list(tree.verify()) == []
        held.close()
    age(tree)
    assert list(tree.verify()) == []
    assert records(tree, Table.TAIL) == 1


def test_a_dropped_set_is_gone_with_its_files(tree: mctree.Tree) -> None:
    tree.build_gists(ToyEncoder(), "gone")
    with tree.writer() as writer:
        writer.add("a", b"x" * 32 * 40)
        writer.add("b", b"x" * 32 * 40)
    with tree.writer() as writer:
        writer.remove("a")
    assert tree.refresh_gists("gone") == 1, "one of the two nodes is wholly dead"
    old = tree.snapshot()
    kept = old.gists("gone").level(1).view().copy()
    tree.drop_gists("gone")
    with tree.snapshot() as snapshot, pytest.raises(NotFoundError):
        snapshot.gists("gone")
    age(tree)
    assert (old.gists("gone").level(1).view() == kept).all()
    tree.build_gists(ToyEncoder(seed=5), "gone")
    old.close()
    age(tree)
    assert sorted(p.name for p in (Path(tree.path) / "gists").iterdir()) == ["gone.2", "zarr.json"]
    assert list((Path(tree.path) / "generations").iterdir()) == []
    assert list(tree.verify()) == []


class Bare(ToyEncoder):
    """An encoder with nothing to remember, as the tokenizer of bytes has."""

    kind = "bare"

    def dump(self) -> bytes:
        return b""


def test_an_encoder_that_goes_takes_only_its_own_blob(tree: mctree.Tree) -> None:
    """Found by reading: blobs are kept by their content, and the tokenizer's may be the same: it went along."""
    tree.build_gists(Bare(), "bare")
    tree.build_gists(ToyEncoder(), "toy")
    tree.drop_gists("bare")
    tree.drop_gists("toy")
    age(tree)
    assert records(tree, Table.BLOB) == 1
    with mctree.open(tree.path) as again:
        assert again.tokenizer is not None


@contextmanager
def nothing_unsynced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """At every commit of the index, all files that were written to since the last are on disk, and so are their names.

    Gives the names of the files that were written to.
    """
    dirty: set[tuple[str, int]] = set()
    written: list[str] = []
    entries: set[str] = set()

    def name(fd: int) -> str:
        return re.sub(r".*\.mctree(\.compacting|\.[0-9a-f]+\.creating)?(/|$)", "", os.readlink(f"/proc/self/fd/{fd}"))

    with monkeypatch.context() as patch:
        for call in ("pwrite", "ftruncate", "fdatasync", "fsync", "open"):
            real = getattr(os, call)

            def spy(*args: Any, _call: str = call, _real: Any = real, **options: Any) -> Any:
                result = _real(*args, **options)
                if _call in ("pwrite", "ftruncate"):
                    dirty.add((name(args[0]), args[0]))
                    written.append(name(args[0]))
                elif _call in ("fdatasync", "fsync"):
                    gone = name(args[0])
                    dirty.difference_update({one for one in dirty if one[0] == gone})
                    entries.discard(gone)
                elif args[1] & os.O_CREAT and "/c." in str(args[0]):
                    entries.add(str(args[0]).rpartition("/")[0])
                return result

            patch.setattr(os, call, spy)
        leave = WriteTransaction.__exit__

        def commit(self: WriteTransaction, kind: type[BaseException] | None, *rest: Any) -> None:
            unsynced = {one for one, _ in dirty if "/c." in one or one.startswith("generations/")}
            assert not unsynced, f"{unsynced} may not be on disk"
            assert not entries, f"the names in {entries} may not be on disk"
            leave(self, kind, *rest)

        patch.setattr(WriteTransaction, "__exit__", commit)
        yield written


def test_everything_is_on_disk_before_a_commit_says_so(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: counts of full blocks are what their file is filled with, and the file was never synced."""
    with nothing_unsynced(monkeypatch) as written:
        with tree.writer() as writer:
            writer.add("a", b"x" * 32 * 40)
        assert "text/count/c.0" in written
        tree.build_gists(ToyEncoder(), "one")
        with tree.writer() as writer:
            writer.add("b", b"y" * 32 * 3000)
            writer.commit(gists=False)
            writer.remove("a")
        assert tree.refresh_gists("one") > 0
        tree.compact()
    assert {"text/lod0/c.0", "text/lod0/c.1", "text/before/c.0"} <= set(written)
    assert any(name.startswith("generations/") for name in written)
