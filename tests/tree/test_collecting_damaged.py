"""Old commits of a store whose index is damaged: nothing goes because the record that would have kept it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import mctree
from mctree.errors import CorruptError
from mctree.format.facts import GistSetRecord, Stamp
from mctree.format.keys import Table, commit_key, grave_key, u64
from mctree.storage.index import Writing
from mctree.testing import ToyEncoder
from mctree.tree.retention import collect
from tests.losing import lose, misplace

pytestmark = pytest.mark.damages
ENCODER = ToyEncoder()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a store is made that keeps two commits."""
    mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, keep=2, encoders=[ENCODER]).close()
    yield tmp_path / "t.mctree"


def opened(path: Path) -> mctree.Tree:
    return mctree.open(path, encoders=[ENCODER])


def age(tree: mctree.Tree, until: int) -> None:
    """Make commits that change nothing a snapshot sees, until one has a number."""
    while tree.commits()[-1].number < until:
        with tree.writer() as writer:
            writer.stamp(b"age", Stamp(1, 0, 0, 0, 0, b""))


def raw(tree: mctree.Tree, table: Table) -> list[tuple[bytes, bytes]]:
    with tree.store.reading() as index:
        return list(index.raw(table))


def tables_with_problems(tree: mctree.Tree) -> set[str]:
    return {problem.where.removeprefix("index table ") for problem in tree.verify() if problem.kind == "table"}


def removed_where_a_record_is_lost(tree: mctree.Tree, held: mctree.Snapshot) -> None:
    """Document `a` is removed, its record that came with a held commit lost, and whatever can go goes but its runs."""
    with tree.writer() as writer:
        writer.remove("a")
    with tree.store.environment.writing() as txn, tree.store.reading() as index:
        lost = [key for key, _ in index.raw(Table.DOCUMENT) if key.endswith(u64.pack(held.commit))]
        assert len(lost) == 1 and txn.delete(lost[0])
    age(tree, 50)
    assert tables_with_problems(tree) == {"'d'"}
    with tree.store.reading() as index:
        assert list(index.scan(Table.RUN))


def test_an_encoder_stays_whose_set_may_be_lost(path: Path) -> None:
    """Found by reading: with a set that was dropped went the encoder of another, whose record was lost."""
    with opened(path) as tree:
        tree.build_gists(ENCODER, "kept")
        tree.build_gists(ENCODER, "dropped")
        tree.drop_gists("dropped")
        age(tree, 30)
        digest = tree.snapshot().gists("kept").record.blob
    lose(path, Table.GIST_SET, lambda _, value: len(value) > 4 and GistSetRecord.decode(value[4:]).name == "kept")
    with opened(path) as tree:
        age(tree, 50)
        assert tables_with_problems(tree) == {"'g'"}
        with tree.store.reading() as index:
            assert index.get(Table.BLOB + digest) is not None


def test_no_more_commits_go_where_the_setting_of_how_many_is_lost(path: Path) -> None:
    """Found by reading: what it had said before was taken for what it says."""
    with opened(path) as tree:
        tree.keep(0)
        age(tree, 30)
        before = [commit.number for commit in tree.commits()]
    lose(path, Table.SETTING, lambda key, value: key.startswith(b"keep") and value[4:] == bytes(4))
    with opened(path) as tree:
        age(tree, 50)
        assert [commit.number for commit in tree.commits()][: len(before)] == before
        assert tables_with_problems(tree) == {"'n'"}


def test_a_document_keeps_its_runs_where_a_commit_is_kept_whose_record_of_it_is_lost(path: Path) -> None:
    """Found by reading: once its other versions had gone, it was taken to be one that had ended before."""
    with opened(path) as tree:
        with tree.writer() as writer:
            writer.begin("a").write(b"x" * 100)
        with tree.writer() as writer:
            writer.reopen("a").close()
        with tree.snapshot() as held:
            removed_where_a_record_is_lost(tree, held)


def test_a_document_keeps_its_runs_where_an_early_record_of_it_is_lost(path: Path) -> None:
    """Found by reading: only the version right before its end was looked for."""
    with opened(path) as tree:
        with tree.writer() as writer:
            writer.begin("a").write(b"x" * 100)
        with tree.snapshot() as held:
            with tree.writer() as writer:
                writer.reopen("a").close()
            with tree.writer() as writer:
                writer.reopen("a").write(b"x" * 100)
            removed_where_a_record_is_lost(tree, held)


@pytest.mark.parametrize("other", [5 ^ 1 << 5, 5 ^ 1 << 40])
def test_a_condemned_commit_under_another_number_is_told_of(path: Path, other: int) -> None:
    """Found by reading: it was an `IndexError`."""
    with opened(path) as tree:
        age(tree, 30)
    misplace(path, commit_key(Table.CONDEMNED, 5), commit_key(Table.CONDEMNED, other))
    with opened(path) as tree:
        with pytest.raises(CorruptError, match="index record 'v'"):
            age(tree, 50)
        assert any("stands under another key" in problem.what for problem in tree.verify())


def test_a_condemned_commit_under_the_number_of_one_that_went_is_not_taken_out(path: Path) -> None:
    """Found by reading: `verify` had found it, and was silent then, though what only it needed had not gone."""
    with opened(path) as tree:
        age(tree, 50)
        condemned = [key for key, _ in raw(tree, Table.CONDEMNED)]
    other = commit_key(Table.CONDEMNED, 3)
    misplace(path, condemned[0], other)
    with opened(path) as tree:
        with pytest.raises(CorruptError, match="index record 'v'"):
            age(tree, 66)
        assert other in [key for key, _ in raw(tree, Table.CONDEMNED)]


def test_nothing_is_collected_where_the_list_of_commits_ends_too_early(path: Path) -> None:
    """Found by writing to damaged stores: a key that is out of its place ended it, and what others need would go."""
    with opened(path) as tree:
        age(tree, 24)
        with (
            pytest.raises(CorruptError, match="does not list commit 29, the newest"),
            tree.store.environment.writing() as txn,
        ):
            collect(Writing(txn, 30, {}), 2, set())


def test_a_commit_that_is_listed_but_not_found_is_told_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by writing to damaged stores: an assertion failed."""
    with opened(path) as tree:
        age(tree, 31)
        monkeypatch.setattr(Writing, "get", lambda index, key: None)
        with pytest.raises(CorruptError, match="is listed but not found"), closing(tree.writer()) as writer:
            writer.stamp(b"age", Stamp(1, 0, 0, 0, 0, b""))
            writer.commit()


def test_a_commit_that_is_held_is_kept_where_its_record_is_lost(path: Path) -> None:
    """Found by reading: what no other commit needed went with it."""
    with opened(path) as tree:
        with tree.writer() as writer:
            writer.add("a", b"x" * 100)
        with tree.snapshot() as held:
            with tree.writer() as writer:
                writer.remove("a")
            with tree.store.environment.writing() as txn:
                assert txn.delete(commit_key(Table.COMMIT, held.commit))
            age(tree, 66)
            assert held.document("a").read() == b"x" * 100


def test_what_a_stranger_says_was_collected_is_not_believed(path: Path) -> None:
    """Found by reading: commits to come, and graves of what has no versions."""
    with opened(path) as tree:
        age(tree, 30)
        with tree.store.environment.writing() as txn:
            Writing(txn, 1, {}).put(commit_key(Table.CONDEMNED, 1 << 40), b"")
        with pytest.raises(CorruptError, match="before it was made"):
            age(tree, 50)
        with tree.store.environment.writing() as txn:
            index = Writing(txn, 1, {})
            index.delete(commit_key(Table.CONDEMNED, 1 << 40))
            index.put(grave_key(3, b"?" * 20), b"")
        with pytest.raises(CorruptError, match="which is no version"):
            age(tree, 50)
