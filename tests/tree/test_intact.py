"""Nothing that is made of damaged data gets a checksum that is valid: it is not made, and the damage stays found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest

import mctree
from mctree.errors import CorruptError
from mctree.format.keys import Table
from mctree.testing import ToyEncoder

pytestmark = pytest.mark.damages
ENCODER = ToyEncoder()
GIST_BYTES = 2 * ENCODER.dim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.mctree"


def made(path: Path) -> mctree.Tree:
    return mctree.create(path, chunk_bytes=65536, encoders=[ENCODER])


def opened(path: Path) -> mctree.Tree:
    return mctree.open(path, encoders=[ENCODER])


def flip(path: Path, name: str, offset: int) -> None:
    with (path / name).open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def found(tree: mctree.Tree) -> list[str]:
    return [problem.where for problem in tree.verify()]


def test_a_compaction_does_not_take_damaged_tokens(path: Path) -> None:
    """Found by trying: the new epoch verified, for its checksums were those of the damage."""
    with made(path) as tree:
        with tree.writer() as writer:
            writer.begin("stream").write(b"abcdefg " * 100)
            writer.add("dead", b"x" * 100)
        with tree.writer() as writer:
            writer.remove("dead")
            writer.reopen("stream").close()
        newest = tree.commits()[-1].number
    flip(path, "text/lod0/c.0", 40)
    with opened(path) as tree:
        with pytest.raises(CorruptError, match=r"node 1:1, bytes 32\.\.64 of 'stream'.*restore .* or remove"):
            tree.compact()
        assert tree.epoch == 0
        assert tree.commits()[-1].number == newest
        assert found(tree) == ["node 1:1"]
        assert not list(path.parent.glob(".*.compacting"))
        with tree.writer() as writer:
            writer.add("stream", b"abcdefg " * 100, replace=True)
        tree.compact()
        assert tree.snapshot().document("stream").read() == b"abcdefg " * 100
        assert found(tree) == []


@pytest.mark.parametrize("table", [Table.DOCUMENT, Table.RUN, Table.TAIL, Table.DEATH, Table.LINK])
def test_a_compaction_leaves_nothing_out_that_the_index_has_lost(path: Path, table: Table) -> None:
    """Found by writing to damaged stores: a document whose record was lost was left out, and the new epoch verified."""
    with made(path) as tree:
        with tree.writer() as writer:
            writer.begin("stream").write(b"abcdefg " * 100 + b"tail")
            writer.add("kept", b"x" * 100)
            writer.add("dead", b"y" * 100)
            writer.link((0, 32), (32, 64), kind="about")
        with tree.writer() as writer:
            writer.remove("dead")
    with lmdb.open(str(path / "index.lmdb"), map_size=1 << 30) as index, index.begin(write=True) as txn:
        txn.delete(next(bytes(key) for key, _ in txn.cursor() if key[:1] == table))
    with opened(path) as tree:
        with pytest.raises(CorruptError, match=f"table '{table.decode()}' does not hold what commit"):
            tree.compact()
        assert tree.epoch == 0
        assert f"index table '{table.decode()}'" in found(tree)
    assert not list(path.parent.glob(".*.compacting"))


@pytest.fixture
def stale(path: Path) -> Path:
    """A store of 3200 blocks with a set in which 2:0 and 3:0 are stale, for blocks 0 … 15 are dead."""
    rng = np.random.default_rng(0)
    with made(path) as tree:
        with tree.writer() as writer:
            for i in range(200):
                writer.add(f"{i}", rng.integers(97, 120, 512, np.uint8).tobytes())
        tree.build_gists(ENCODER, "a")
        with tree.writer() as writer:
            writer.remove("0")
    return path


@pytest.mark.parametrize(("level", "node"), [(2, 50), (1, 20), (2, 5), (3, 2)])
def test_a_refresh_does_not_take_damaged_gists(stale: Path, level: int, node: int) -> None:
    """Found by trying: it copies whole chunks, and gave rows that it never touched checksums of what it found."""
    flip(stale, f"gists/a/text/lod{level}/c.0.0", node * GIST_BYTES)
    with opened(stale) as tree:
        with pytest.raises(CorruptError, match=rf"node {level}:{node}, bytes .* set 'a' .* drop the set and build"):
            tree.refresh_gists("a")
        assert found(tree) == [f"node {level}:{node}"]
        tree.drop_gists("a")
        tree.build_gists(ENCODER, "a")
        assert not [where for where in found(tree) if "chunk" in where]


@pytest.mark.parametrize(("level", "node"), [(2, 0), (3, 0)])
def test_a_refresh_mends_what_it_makes_again(stale: Path, level: int, node: int) -> None:
    flip(stale, f"gists/a/text/lod{level}/c.0.0", node * GIST_BYTES)
    with opened(stale) as tree:
        assert tree.refresh_gists("a") == 2
        with tree.snapshot() as snapshot:
            assert not snapshot.gists("a").stale(level, np.array([node])).any()
        tree.keep(1)
        for i in range(40):
            with tree.writer() as writer:
                writer.add(f"n{i}", b"x")
        assert found(tree) == []


@pytest.fixture
def waiting(stale: Path) -> Path:
    """The same, and a gist that waits for its parent and is damaged."""
    with opened(stale) as tree, tree.writer() as writer:
        writer.add("more", b"x" * 32 * 5)
    flip(stale, "gists/a/text/lod1/c.0.0", 3202 * GIST_BYTES)
    return stale


def test_a_parent_is_not_made_of_a_damaged_child(waiting: Path) -> None:
    """The last children of a level wait for their parent; another writer reads them back."""
    with opened(waiting) as tree:
        with pytest.raises(CorruptError, match="node 1:3202"), tree.writer() as writer:
            writer.add("yet more", b"x" * 32 * 40)
        assert found(tree) == ["node 1:3202"]


def test_a_writer_goes_on_without_gists_where_one_that_waits_is_damaged(waiting: Path) -> None:
    """Found by reading: it was ended, and what it held was lost, though nothing had been written yet."""
    with opened(waiting) as tree:
        with closing(tree.writer()) as writer:
            writer.add("yet more", b"x" * 32 * 300)
            for attempt in (writer.commit, writer.make_gists, lambda: writer.commit(gists=True)):
                with pytest.raises(CorruptError, match=r"node 1:3202.*drop the set"):
                    attempt()
            writer.commit(gists=False)
        assert tree.snapshot().document("yet more").read() == b"x" * 32 * 300
        assert found(tree) == ["node 1:3202"]
        tree.drop_gists("a")
        tree.build_gists(ENCODER, "a")
        with tree.writer() as writer:
            writer.add("more than that", b"x" * 32 * 300)
        assert tree.snapshot().gists("a").rows(1) == tree.snapshot().blocks


def tokens(path: Path) -> None:
    flip(path, "text/lod0/c.0", 5)


def count(path: Path) -> None:
    flip(path, "text/count/c.0", 50)


@pytest.mark.parametrize("lag", [False, True])
@pytest.mark.parametrize("span_level", [0, 2])
def test_gists_are_not_made_of_damaged_tokens(path: Path, lag: bool, span_level: int) -> None:
    """Found by trying: a set that was built of a damaged block verified."""
    encoder = ToyEncoder(span_level=span_level)
    with mctree.create(path, encoders=[encoder]) as tree:
        if lag:
            tree.build_gists(encoder, "a")
        writer = tree.writer()
        writer.add("damaged", b"abcdefgh" * 200)
        writer.add("whole", b"abcdefgh" * 200)
        writer.commit(gists=False)
        writer.close()
    tokens(path)

    def commit(tree: mctree.Tree) -> None:
        with tree.writer() as writer:
            writer.add("new", b"x")

    act: Callable[[mctree.Tree], object] = commit if lag else lambda tree: tree.build_gists(encoder, "a")
    with mctree.open(path, encoders=[encoder]) as tree:
        with pytest.raises(CorruptError, match=r"node 1:0, bytes 0\.\.32 of 'damaged'"):
            act(tree)
        assert found(tree) == ["node 1:0", "document 1"]
        with tree.writer() as writer:
            writer.remove("damaged")
        act(tree)
        assert tree.snapshot().gists("a").rows(1) >= 100


def test_gists_do_not_depend_on_damaged_counts(path: Path) -> None:
    with made(path) as tree, tree.writer() as writer:
        writer.add("a", b"abcdefgh" * 201)
    count(path)
    with opened(path) as tree:
        tree.build_gists(ENCODER, "a")
        grid = tree.snapshot().tokens(50 * 32, 51 * 32).reshape(1, 32)
        wanted = ENCODER.encode(1, grid, np.arange(32)[None] < 8)
        assert np.array_equal(tree.snapshot().gists("a").gather(1, np.array([50])), wanted.astype(np.float16))
