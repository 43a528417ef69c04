"""An index that has lost a record: whoever writes takes nothing away for it, and puts nothing in its place."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.errors import CorruptError
from mctree.format.commits import array_layout
from mctree.format.keys import Table, checksum_key, u32, u64
from mctree.storage import session
from mctree.storage.index import Writing
from mctree.storage.sums import RowSums, put_sums
from mctree.tree.sets import refresh_gists
from tests.losing import lose
from tests.storage.writing import SMALL, crash, fill


@pytest.mark.damages
@pytest.mark.parametrize("lost", [Table.CHUNK, Table.ARRAY])
def test_what_only_a_lost_record_names_is_not_swept(
    tmp_path: Path, toy_encoder: Callable[[], object], lost: Table
) -> None:
    """Found by writing to damaged stores: the next writer took away rows of commits whose record could not be found."""
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=SMALL, keep=0, encoders=[toy_encoder()]) as tree:
        with tree.writer() as writer:
            writer.add("first", b"some text " * 32)
            writer.add("second", b"more text " * 200)
        tree.build_gists(toy_encoder(), "toy")
        with tree.writer() as writer:
            writer.remove("first")
        refresh_gists(tree)
        fill(tree, "third")  # behind which nothing is to be published any more
    rows = [*(path / "generations").iterdir(), *(path / "gists").rglob("c.*")]
    older = [tuple(map(int, file.name.split("."))) for file in (path / "generations").iterdir()]
    assert older and len(rows) > len(older)
    if lost is Table.CHUNK:
        lose(path, lost, lambda key, _: struct.unpack(">IQQ", key) in older)
    else:
        lose(path, lost, lambda _, value: array_layout(value[4:]).path.startswith("gists/"))
    with mctree.open(path, encoders=[toy_encoder()]) as tree:
        tree.writer().close()
        assert f"index table '{lost.decode()}'" in [problem.where for problem in tree.verify()]
    assert all(file.exists() for file in rows)


def refreshed(path: Path, encoder: Callable[[], object], patches: pytest.MonkeyPatch, times: int, killed: bool) -> None:
    """A store whose gists were made anew; `killed`: the last time the writer was, before it published them."""
    with mctree.create(path, chunk_bytes=SMALL, keep=0, encoders=[encoder()]) as tree:
        with tree.writer() as writer:
            writer.add("first", b"some text " * 32)
            writer.add("second", b"more text " * 20)
            writer.add("third", b"text " * 400)
        tree.build_gists(encoder(), "toy")
        for name in ("first", "second")[:times]:
            with tree.writer() as writer:
                writer.remove(name)
            if killed and name == ("first", "second")[times - 1]:
                with patches.context() as patch, pytest.raises(KeyboardInterrupt):
                    patch.setattr(session, "publish", crash)
                    refresh_gists(tree)
            else:
                refresh_gists(tree)


def lose_generation(path: Path, which: int, of: int) -> None:
    """Take out the record of a generation of each chunk that has so many."""
    found: dict[bytes, list[bytes]] = {}
    with mctree.open(path, writable=False) as tree, tree.store.reading() as index:
        for key, _ in index.raw(Table.CHUNK):
            found.setdefault(key[1:-8], []).append(key[1:])
    lost = [generations[which] for generations in found.values() if len(generations) == of]
    lose(path, Table.CHUNK, lambda key, _: key in lost)


def generations_of(path: Path) -> list[bytes]:
    return sorted(file.read_bytes() for file in [*(path / "generations").iterdir(), *(path / "gists").rglob("c.*")])


def commit_no_rows(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.link((0, 32), (32, 64), kind="goes on")


@pytest.mark.damages
def test_a_generation_whose_record_is_lost_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable[[], object]
) -> None:
    """Found by writing to damaged stores: a refresh put another generation in its place."""
    path = tmp_path / "t.mctree"
    refreshed(path, toy_encoder, monkeypatch, 1, killed=False)
    with mctree.open(path, encoders=[toy_encoder()]) as tree, tree.writer() as writer:
        writer.remove("second")
    before = generations_of(path)
    lose_generation(path, 1, of=2)
    with mctree.open(path, encoders=[toy_encoder()]) as tree:
        with pytest.raises(CorruptError, match="not in the generation that the index has"):
            refresh_gists(tree)
        assert "index table 'k'" in [problem.where for problem in tree.verify()]
    assert generations_of(path) == before


@pytest.mark.damages
def test_rows_are_not_appended_to_a_generation_whose_record_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable[[], object]
) -> None:
    """They went into its file, while readers look into the one before it, and the commit was acknowledged."""
    path = tmp_path / "t.mctree"
    refreshed(path, toy_encoder, monkeypatch, 2, killed=False)
    lose_generation(path, 2, of=3)
    with mctree.open(path, encoders=[toy_encoder()]) as tree:
        newest = tree.commits()[-1].number
        with closing(tree.writer()) as writer:
            writer.add("fourth", b"text " * 4000)
            with pytest.raises(CorruptError, match="not in the generation that the index has"):
                writer.commit(gists=True)
        assert tree.commits()[-1].number == newest
        with closing(tree.writer()) as writer:  # goes on without
            writer.add("fourth", b"text " * 4000)
            writer.commit(gists=False)


@pytest.mark.damages
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_crash_before_publication_and_a_lost_record_drop_no_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable[[], object], lost: int
) -> None:
    """The next writer put the generation that was not published in the place of one whose record was lost."""
    path = tmp_path / "t.mctree"
    refreshed(path, toy_encoder, monkeypatch, 2, killed=True)
    before = generations_of(path)
    lose_generation(path, lost, of=3)
    with mctree.open(path, encoders=[toy_encoder()]) as tree:
        for _ in range(2):
            with pytest.raises(CorruptError, match="not in the generation") if lost == 1 else nullcontext():
                commit_no_rows(tree)
        assert "index table 'k'" in [problem.where for problem in tree.verify()]
    assert set(before) <= set(generations_of(path))


@pytest.mark.damages
def test_what_cannot_be_published_yet_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable[[], object]
) -> None:
    """Where the record of the generation before it was lost, the next commit said that it was published."""
    path = tmp_path / "t.mctree"
    refreshed(path, toy_encoder, monkeypatch, 1, killed=True)
    before = generations_of(path)
    lose_generation(path, 0, of=2)
    with mctree.open(path, encoders=[toy_encoder()]) as tree:
        for _ in range(2):
            commit_no_rows(tree)
        with tree.store.reading() as index:
            assert list(index.scan(Table.PUBLISH))
    assert generations_of(path) == before


@pytest.mark.damages
@pytest.mark.parametrize("lost", ["pixels", "statistics-1"])
def test_a_new_array_takes_no_place_of_one_that_nothing_leads_to(tmp_path: Path, lost: str) -> None:
    """Found by writing to damaged stores: the rows of all images were cut off where the setting was lost."""
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=SMALL, keep=0) as tree, tree.writer() as writer:
        writer.add_image("icon", np.arange(256, dtype=np.uint8).reshape(16, 16, 1))
    # Not of the others, behind whose committed rows new ones may have been written.
    before = {file: file.read_bytes() for file in (path / "images" / lost.replace("-", "")).rglob("c.*")}
    assert before
    lose(path, Table.SETTING, lambda key, _: key.startswith(lost.encode()))
    with mctree.open(path) as tree:
        with closing(tree.writer()) as writer, pytest.raises(CorruptError, match="the index does not lead to"):
            writer.add_image("another", np.zeros((16, 16, 1), np.uint8))
            writer.commit()
        assert "index table 'n'" in [problem.where for problem in tree.verify()]
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.damages
def test_commits_are_kept_where_the_setting_of_how_many_is_lost(tmp_path: Path) -> None:
    """It was taken to be 64, so that older commits of a store that keeps all of them were dropped."""
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=SMALL, keep=0) as tree:
        for _ in range(80):
            commit_no_rows(tree)
        before = [commit.number for commit in tree.commits()]
    lose(path, Table.SETTING, lambda key, _: key.startswith(b"keep"))
    with mctree.open(path) as tree:
        for _ in range(64):
            commit_no_rows(tree)
        assert [commit.number for commit in tree.commits()][: len(before)] == before


def test_sums_of_rows_in_a_chunk_whose_record_is_lost_are_refused(tmp_path: Path) -> None:
    """Found by writing to damaged stores, to images: it was an assertion that failed."""
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL) as tree:
        layout = tree.store.array(0, 1)
        sums = RowSums(0, 0, np.zeros(1, np.uint32))
        with pytest.raises(CorruptError, match="is not in the index"), tree.store.environment.writing() as txn:
            put_sums(Writing(txn, 2, {}), sums, layout, 2)


def test_sums_of_rows_are_not_put_in_the_place_of_lost_ones(tmp_path: Path) -> None:
    """Found by reading: they were taken for those of the first rows of their page, which were called damaged."""
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL) as tree:
        layout = tree.store.array(0, 1)
        with pytest.raises(CorruptError, match="are missing"), tree.store.environment.writing() as txn:
            index = Writing(txn, 2, {})
            index.put(Table.CHUNK + u32.pack(0) + u64.pack(0) + u64.pack(2), b"\x01")
            put_sums(index, RowSums(0, 0, np.zeros(3, np.uint32)), layout, 2)
            index.delete(checksum_key(0, 0, 2, 0))
            put_sums(index, RowSums(0, 3, np.zeros(1, np.uint32)), layout, 2)
