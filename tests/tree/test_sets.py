"""What is left of a gist set whose making was stopped, and which set is the default then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import NotFoundError, UsageError
from mctree.testing import ToyEncoder
from mctree.tree import sets
from mctree.tree.sets import checked_set_name


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[ToyEncoder()]) as tree:
        with tree.writer() as writer:
            writer.add("a", bytes(range(256)) * 20)
        yield tree


def stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("default", [None, True])
def test_no_commit_has_gist_sets_and_no_default(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch, default: bool | None
) -> None:
    """Found by trying: stopped between two commits, a first ingest left a set that was never the default."""
    monkeypatch.setattr(sets, "_BATCH_BLOCKS", 16)
    with pytest.raises(KeyboardInterrupt):
        tree.build_gists(ToyEncoder(), "one", default=default, progress=stop)
    for commit in tree.commits():
        with tree.snapshot(commit.number) as snapshot:
            assert (snapshot.default_gists == "one") == bool(snapshot.gist_sets())
    assert tree.snapshot().gists().rows(1) == 16


def test_a_default_set_is_replaced_by_a_complete_one(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.build_gists(ToyEncoder(), "one")
    monkeypatch.setattr(sets, "_BATCH_BLOCKS", 16)
    seen = []

    def look(done: int, _: int) -> None:
        seen.append((done, tree.snapshot().default_gists))

    tree.build_gists(ToyEncoder(), "two", default=True, progress=look)
    assert [name for _, name in seen] == ["one"] * (len(seen) - 1) + ["two"]
    assert len(seen) > 1
    newest = tree.commits()[-1].number
    tree.build_gists(ToyEncoder(), "two", default=True)
    assert tree.commits()[-1].number == newest, "there was nothing to commit"


def test_a_set_that_is_not_to_be_the_default_is_not(tree: mctree.Tree) -> None:
    with pytest.raises(NotFoundError, match="`mctree gist build`"):
        tree.snapshot().gists()
    tree.build_gists(ToyEncoder(), "one", default=False)
    assert tree.snapshot().default_gists is None
    with pytest.raises(NotFoundError, match="`mctree gist default`: one"):
        tree.snapshot().gists()


class Bad(ToyEncoder):
    """An encoder whose vectors cannot be stored."""

    kind = "bad"
    since = 1

    def encode(self, level: int, *rest: Any) -> Any:
        return super().encode(level, *rest) * (np.nan if level >= self.since else 1.0)


def test_an_encoder_that_fails_at_once_leaves_no_set(tree: mctree.Tree) -> None:
    """Found by trying: the set was there, empty, and every later writer failed because of it."""
    with pytest.raises(UsageError, match=r"gist set 'bad'.*not finite"):
        tree.build_gists(Bad(), "bad")
    assert tree.snapshot().gist_sets() == []
    with tree.writer() as writer:
        writer.add("b", b"x" * 100)
    assert not (Path(tree.path) / "gists" / "bad").exists()
    tree.build_gists(ToyEncoder(), "bad")
    assert tree.snapshot().gists().rows(1) == tree.snapshot().blocks


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("change", [-1, 1, None])
def test_an_encoder_that_returns_too_few_or_many_vectors_is_refused(
    tree: mctree.Tree, level: int, change: int | None
) -> None:
    """Found by reading: the rows after the missing one were stored for the wrong nodes, without a word."""

    class Miscounting(ToyEncoder):
        def encode(self, at: int, *rest: Any) -> Any:
            made = super().encode(at, *rest)
            if at != level:
                return made
            return made[:0] if change is None else np.resize(made, (len(made) + change, made.shape[1]))

    with tree.writer() as writer:
        writer.add("long", b"x" * 5000)
    with pytest.raises(UsageError, match=rf"gist set 'bad'.*nodes of level {level} and returned"):
        tree.build_gists(Miscounting(), "bad")
    assert tree.snapshot().gist_sets() == []


def test_an_encoder_that_adds_up_its_children_as_they_come_does_not_overflow(tree: mctree.Tree) -> None:
    """Found by reading: up to the span level children came as float16, in which sums lose digits and overflow."""

    class Average(ToyEncoder):
        def encode(self, level: int, children: Any, mask: Any, span: Any = None) -> Any:
            if level == 1:
                return np.full((len(children), self.dim), 3001, np.float32)
            return (children * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    with tree.writer() as writer:
        writer.add("long", b"x" * 5000)
    tree.build_gists(Average(span_level=2), "average", dtype="float16")
    gists = tree.snapshot().gists()
    assert np.all(gists.gather(2, np.arange(gists.rows(2))) == np.float16(3001))


def test_a_set_whose_encoder_fails_later_is_named(tree: mctree.Tree) -> None:
    tree.build_gists(ToyEncoder(), "fine", default=False)
    encoder = Bad()
    encoder.since = 9
    tree.build_gists(encoder, "bad")
    encoder.since = 1
    with pytest.raises(UsageError, match="gist set 'bad'"), tree.writer() as writer:
        writer.add("b", b"x" * 100)


def test_a_set_that_is_dropped_while_it_is_built(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "_BATCH_BLOCKS", 16)
    with pytest.raises(NotFoundError, match="dropped while"):
        tree.build_gists(ToyEncoder(), "one", progress=lambda *_: tree.drop_gists("one"))


@pytest.mark.parametrize("name", ["", "a b", "zarr.json", "../x", ".x", "x" * 65, None, 5])
def test_a_name_that_no_set_can_have(tree: mctree.Tree, name: Any) -> None:
    for act in (lambda: checked_set_name(name), lambda: tree.build_gists(ToyEncoder(), name)):
        with pytest.raises(UsageError, match="must be 1 to 64"):
            act()
    assert checked_set_name("a.B_c-1") == "a.B_c-1"
