"""What a snapshot answers to questions that make no sense, and to those at the edges of what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctree
from mctree.errors import CommitGoneError, MctreeError, NotFoundError, UsageError
from mctree.geometry import Address
from mctree.testing import ToyEncoder, scratch, strategies
from mctree.testing.checks import Expected, check_node, check_range, check_snapshot
from mctree.testing.edits import Edit
from mctree.testing.stores import Plan, Sample, made

ANY = st.integers(-(2**70), 2**70) | st.sampled_from([-1, 0, 1, 31, 32, 2**31, 2**32, 2**58, 2**62, 2**63, 2**64])


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    """Three documents, one of them dead, one open with a tail, and gists."""
    rounds = (
        (Edit("add", b"a", b"first " * 300), Edit("add", b"b", b"second" * 100)),
        (Edit("remove", b"b"), Edit("begin", b"c"), Edit("write", b"c", b"third " * 20)),
    )
    with made(Plan(rounds)) as sample:
        yield sample


@pytest.fixture(scope="module")
def snapshot(sample: Sample) -> Iterator[mctree.Snapshot]:
    with sample.tree.snapshot() as snapshot:
        yield snapshot


QUESTIONS: dict[str, Callable[[mctree.Snapshot, int, int, int], Any]] = {
    "tokens": lambda s, a, b, _: s.tokens(a, b),
    "view": lambda s, a, b, _: s.view(a, b),
    "counts": lambda s, a, b, _: s.counts(a, b),
    "packed": lambda s, a, b, _: s.packed(a, b),
    "text": lambda s, a, b, _: s.text(a, b),
    "cover": lambda s, a, b, _: s.cover(a, b),
    "provenance": lambda s, a, b, _: s.provenance(a, b),
    "links": lambda s, a, b, c: s.links(a, b, c),
    "block_records": lambda s, a, b, _: s.block_records(a, min(b, 2**70)),
    "node": lambda s, a, b, _: s.node((a, b)),
    "address": lambda s, a, b, c: s.node(Address(c, a, b)),
    "at": lambda s, a, b, _: s.at(a, b),
    "document": lambda s, a, _, __: s.document(a),
    "find": lambda s, a, _, __: s.find(b"a", a),
    "gist rows": lambda s, a, _, __: s.gists().rows(a),
    "gist level": lambda s, a, _, __: s.gists().level(a),
    "commit": lambda s, a, _, __: s.tree.snapshot(a).close(),
}


@pytest.mark.parametrize("question", QUESTIONS)
@given(a=ANY, b=ANY, c=ANY)
def test_integers_of_any_size_get_an_answer_or_one_of_our_errors(
    snapshot: mctree.Snapshot, question: str, a: int, b: int, c: int
) -> None:
    try:
        QUESTIONS[question](snapshot, a, b, c)
    except MctreeError as error:
        assert "\n" not in str(error)


@given(data=st.data())
def test_any_stretch_and_any_node(sample: Sample, snapshot: mctree.Snapshot, data: st.DataObject) -> None:
    expected = sample.expected
    check_range(snapshot, expected, *data.draw(strategies.ranges(snapshot.positions)))
    level = data.draw(st.integers(0, 3))
    check_node(snapshot, expected, level, data.draw(st.integers(0, snapshot.positions // 32**level + 1)))


def test_what_lies_outside_is_named(snapshot: mctree.Snapshot) -> None:
    end = snapshot.positions
    with pytest.raises(NotFoundError, match=f"0..{end}"):
        snapshot.tokens(0, end + 1)
    with pytest.raises(NotFoundError, match="node 9:0 does not exist at commit"):
        snapshot.node("9:0")
    with pytest.raises(NotFoundError, match="space 1"):
        snapshot.node("a1/2:0")
    with pytest.raises(UsageError, match="no address"):
        snapshot.node("2.0")
    with pytest.raises(NotFoundError, match="no document 'nobody'"):
        snapshot.document("nobody")
    with pytest.raises(NotFoundError, match="'b'"):
        snapshot.document("b")
    with pytest.raises(NotFoundError, match="no gist set 'fine'; the store has: default"):
        snapshot.gists("fine")
    with pytest.raises(NotFoundError, match="levels 1"):
        snapshot.gists().level(7)
    with pytest.raises(CommitGoneError, match="commit 99"):
        snapshot.tree.snapshot(99)


@given(source=st.text() | st.binary())
def test_a_source_of_any_name_is_found_or_is_not(snapshot: mctree.Snapshot, source: str | bytes) -> None:
    try:
        document = snapshot.document(source)
    except NotFoundError:
        assert source not in ("a", b"a", "c", b"c")
    except UsageError:
        assert isinstance(source, str)
        with pytest.raises(UnicodeEncodeError):
            source.encode("utf-8", "surrogateescape")
    else:
        assert source in (document.source, document.name)


def test_what_is_read_cannot_be_written(snapshot: mctree.Snapshot) -> None:
    for array in (snapshot.view(), snapshot.gists().level(1).view()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_rows_go_into_a_buffer_of_the_caller(snapshot: mctree.Snapshot) -> None:
    out = np.empty((3, 4), np.float16)
    assert snapshot.gists().gather(1, np.array([2, 0, 2]), out) is out
    assert np.array_equal(out, snapshot.gists().level(1).view()[[2, 0, 2]])
    with pytest.raises(UsageError, match="out must be"):
        snapshot.gists().gather(1, np.array([0]), np.empty((1, 4), np.float32))


def test_whether_a_node_exists_is_asked_as_the_node_is(tmp_path: Path) -> None:
    """Found by trying: a tuple, which `node` takes, was an AttributeError."""
    with mctree.create(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            writer.add("a", b"x" * 40)
        with tree.snapshot() as snapshot:
            for address, there in (((1, 1), True), ("1:1", True), ((1, 2), False), ("0:39", True), ("0:40", False)):
                assert snapshot.exists(address) == there


def test_the_newest_and_the_oldest_commit() -> None:
    with made(Plan(())) as sample, sample.tree.snapshot(1) as empty:
        check_snapshot(empty, Expected(sample.model.commits[1]))
        assert (empty.top, empty.positions, len(empty.cover())) == (0, 0, 0)
        assert empty.world.tokens_before(np.array([0])).tolist() == [0]
        with pytest.raises(NotFoundError, match="no default gist set"):
            empty.gists()
        assert empty.default_gists is None


def test_a_closed_handle_says_so(tmp_path: Path) -> None:
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[ToyEncoder()])
    tree.build_gists(ToyEncoder())
    with tree.writer() as writer:
        writer.add("a", b"text " * 20)
    closed, orphan = tree.snapshot(), tree.snapshot()
    view, rows = orphan.view(), orphan.gists().level(1)
    before = view.copy()
    closed.close()
    closed.close()
    with pytest.raises(UsageError, match="snapshot was closed"):
        closed.tokens(0, 1)
    with pytest.raises(UsageError, match="snapshot was closed"):
        list(closed.documents())
    tree.close()
    tree.close()
    for act in (tree.commits, tree.snapshot, tree.writer, lambda: orphan.document("a"), lambda: tree.keep(3)):
        with pytest.raises(UsageError, match="was closed"):
            act()
    assert np.array_equal(view, before), "what was handed out before stays readable"
    assert len(rows) == 4
    orphan.close()


def test_a_handle_for_reading_does_not_write(tmp_path: Path) -> None:
    """Found by reading: handles of one process share the index, and the last word was that of whoever came first."""
    path = tmp_path / "t.mctree"
    mctree.create(path, chunk_bytes=65536).close()
    for order in ((False, True), (True, False)):
        handles = {writable: mctree.open(path, writable=writable) for writable in order}
        with pytest.raises(mctree.MctreeError, match="opened for reading"):
            handles[False].writer()
        with handles[True].writer() as writer:
            writer.add("a", b"text", replace=True)
        for handle in handles.values():
            handle.close()


def test_the_store_may_be_given_as_anything_that_names_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mctree.create("t.mctree").close()
    for name in ("t.mctree", "./t.mctree/", tmp_path / "t.mctree"):
        with mctree.open(name) as tree:
            assert tree.path == str((tmp_path / "t.mctree").resolve())
    with scratch() as folder:
        assert Path(folder).is_dir()
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_bytes": 0},
        {"chunk_bytes": 65537},
        {"chunk_bytes": -65536},
        {"chunk_bytes": 1 << 40},
        {"vocabulary": 0},
        {"vocabulary": (1 << 32) + 1},
        {"keep": -1},
        {"keep": 1 << 32},
    ],
)
def test_a_store_that_cannot_be_is_not_made(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        mctree.create(tmp_path / "t.mctree", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_of_a_closed_store_touches_nothing(tmp_path: Path) -> None:
    """Found by reading: it went on with the number of the closed directory, which may be another one's by then."""
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=65536)
    writer = tree.writer()
    writer.add("a", b"text " * 20)
    tree.close()
    (tmp_path / "other").mkdir()
    other = os.open(tmp_path / "other", os.O_RDONLY)
    with pytest.raises(UsageError, match="was closed"):
        writer.commit()
    writer.close()
    os.close(other)
    assert list((tmp_path / "other").iterdir()) == []
    with mctree.open(tmp_path / "t.mctree") as tree, tree.writer() as writer:
        writer.add("b", b"text")
