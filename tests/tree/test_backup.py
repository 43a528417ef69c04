"""A copy is the tree as of one commit, whatever happens to the tree meanwhile, or there is none."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

import mctree
from mctree.errors import CommitGoneError, CorruptError, StoreExistsError, UsageError, WriterFailedError
from mctree.format.facts import Stamp
from mctree.format.keys import Table
from mctree.storage import backup, leases
from mctree.storage.leases import held_commits
from mctree.testing import ToyEncoder
from mctree.testing.processes import KILLED, in_child, kill_after
from mctree.tree import backup as backups

ENCODER = ToyEncoder(dim=64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a past: generations, deaths, tails, links, a dropped set, commits about to be collected."""
    path = tmp_path_factory.mktemp("backup") / "t.mctree"
    with mctree.create(path, chunk_bytes=65536, keep=3, encoders=[ENCODER, ToyEncoder(dim=4)]) as tree:
        tree.build_gists(ENCODER)
        with tree.writer() as writer:
            writer.add("large", bytes(range(256)) * 300)
        tree.build_gists(ToyEncoder(dim=4), "small")
        for i in range(24):
            with tree.writer() as writer:
                writer.add(f"{i}", f"text number {i} ".encode() * 40)
                if i >= 3:
                    writer.remove(f"{i - 3}")
                if i == 5:
                    writer.begin("open").write("the tail of it")
                    writer.link((0, 10), (64, 90), kind="about")
            if i % 9 == 8:
                tree.refresh_gists()
        tree.drop_gists("small")
    return path


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.open(shutil.copytree(made, tmp_path / "t.mctree"), encoders=[ENCODER, ToyEncoder(dim=4)]) as tree:
        yield tree


def state(snapshot: mctree.Snapshot) -> dict[str, Any]:
    gists = {view.name: [view.level(n).read(0, view.rows(n)).tobytes() for n in range(1, view.levels + 1)]
             for view in snapshot.gist_sets()}  # fmt: skip
    return {
        "documents": {document.source: document.read() for document in snapshot.documents()},
        "tokens": snapshot.view().tobytes(),
        "gists": gists,
        "default": snapshot.default_gists,
        "links": snapshot.all_links(),
        "tails": [document.name for document in snapshot.tails()],
        "deaths": snapshot.world.deaths.runs.tolist(),
    }


def states(tree: mctree.Tree) -> dict[int, dict[str, Any]]:
    found = {}
    for commit in tree.commits():
        with tree.snapshot(commit.number) as snapshot:
            found[commit.number] = state(snapshot)
    return found


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".creating")]


def test_a_copy_is_the_tree_at_every_commit(tree: mctree.Tree, tmp_path: Path) -> None:
    newest = tree.backup(tmp_path / "copy")
    assert newest == tree.commits()[-1].number
    with mctree.open(tmp_path / "copy", writable=False, encoders=[ENCODER]) as copy:
        assert states(copy) == states(tree)
        assert len(states(copy)) > 3
        assert not list(copy.verify())
        with copy.store.reading() as index:
            assert index.commit_numbers(Table.CONDEMNED) == []
        with tree.store.reading() as index:
            assert index.commit_numbers(Table.CONDEMNED) != [], "or the test says nothing of them"
    assert held_commits(tree.store.at) == set()
    assert leftovers(tmp_path) == []


def test_a_copy_goes_on_by_itself(tree: mctree.Tree, tmp_path: Path) -> None:
    tree.backup(tmp_path / "copy")
    before = states(tree)
    with mctree.open(tmp_path / "copy", encoders=[ENCODER, ToyEncoder(dim=4)]) as copy:
        for i in range(40):
            with copy.writer() as writer:
                writer.add(f"of the copy {i}", b"more " * 99)
        with copy.writer() as writer:
            writer.reopen("open").write(" goes on")
        copy.refresh_gists()
        assert not list(copy.verify())
        copy.compact()
        assert not list(copy.verify())
        assert copy.snapshot().document("open").read() == b"the tail of it goes on"
    assert states(tree) == before
    assert not list(tree.verify())


def test_copies_of_copies_are_copies(tree: mctree.Tree, tmp_path: Path) -> None:
    tree.backup(tmp_path / "copy")
    with mctree.open(tmp_path / "copy", writable=False, encoders=[ENCODER]) as copy:
        copy.backup(tmp_path / "another")
    with mctree.open(tmp_path / "another", writable=False, encoders=[ENCODER]) as another:
        assert states(another) == states(tree)


def test_an_empty_tree_and_one_of_bare_tokens(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t", vocabulary=70_000, chunk_bytes=65536) as tree:
        tree.backup(tmp_path / "empty")
        with tree.writer() as writer:
            writer.begin("a").extend([69_999] * 100)
        tree.backup(tmp_path / "copy")
    with mctree.open(tmp_path / "empty") as empty, mctree.open(tmp_path / "copy") as copy:
        assert empty.snapshot().documents_count == 0
        assert copy.snapshot().document("a").read_tokens().tolist() == [69_999] * 100
        for opened in (empty, copy):
            assert not list(opened.verify())


@pytest.mark.parametrize("what", ["file", "empty folder", "folder", "store", "link to nothing"])
def test_nothing_is_overwritten(tree: mctree.Tree, tmp_path: Path, what: str) -> None:
    place = tmp_path / "copy"
    match what:
        case "file":
            place.write_bytes(b"precious")
        case "store":
            mctree.create(place).close()
        case "link to nothing":
            place.symlink_to(tmp_path / "nowhere")
        case _:
            place.mkdir()
            if what == "folder":
                (place / "precious").write_bytes(b"")
    before = sorted(path.name for path in tmp_path.rglob("*") if "t.mctree" not in path.parts)
    with pytest.raises(StoreExistsError):
        tree.backup(place)
    assert sorted(path.name for path in tmp_path.rglob("*") if "t.mctree" not in path.parts) == before


def test_a_copy_does_not_lie_in_what_it_is_a_copy_of(tree: mctree.Tree, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree.path)
    for place in (Path(tree.path) / "copy", Path(tree.path) / "text/lod0/copy", tmp_path / "link/copy"):
        with pytest.raises(UsageError, match="itself"):
            tree.backup(place)
        assert not place.exists()


def flip(file: Path, offset: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        (value,) = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([value ^ 4]))


def flip_token(path: Path) -> None:
    flip(path / "text/lod0/c.0", 1000)


def flip_gist(path: Path) -> None:
    flip(path / "gists/default/text/lod1/c.0.0", 500)


def flip_record(path: Path) -> None:
    with lmdb.open(str(path / "index.lmdb"), map_size=1 << 30) as index, index.begin(write=True) as txn:
        key, value = next(item for item in txn.cursor() if item[0][:1] == Table.STAMP or item[0][:1] == Table.RUN)
        txn.put(key, value[:-1] + bytes([value[-1] ^ 4]))


def zero_page(path: Path) -> None:
    with (path / "index.lmdb/data.mdb").open("r+b") as opened:
        opened.seek(int.from_bytes(_root(path), "little") * 4096)
        opened.write(bytes(4096))


def _root(path: Path) -> bytes:
    data = (path / "index.lmdb/data.mdb").read_bytes()
    newest = max((0, 4096), key=lambda page: int.from_bytes(data[page + 144 : page + 152], "little"))
    return data[newest + 128 : newest + 136]


def lose_chunk(path: Path) -> None:
    (path / "text/before/c.0").unlink()


@pytest.mark.damages
@pytest.mark.parametrize("damage", [flip_token, flip_gist, flip_record, zero_page, lose_chunk])
def test_damage_is_not_copied(tree: mctree.Tree, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    where = Path(shutil.copytree(tree.path, tmp_path / "damaged"))
    damage(where)

    def child() -> None:
        with pytest.raises(CorruptError), mctree.open(where) as damaged:
            damaged.backup(tmp_path / "copy")

    assert in_child(child) == 0
    assert not (tmp_path / "copy").exists()
    assert leftovers(tmp_path) == []


def write_on(path: str, rounds: int) -> None:
    """Make commits in each of which `count` says how many documents there are, and all ways to change a store."""
    with mctree.open(path, encoders=[ENCODER, ToyEncoder(dim=4)]) as tree:
        for i in range(rounds):
            with tree.writer() as writer:
                writer.add(f"new {i}", f"{i} ".encode() * 200)
                with tree.snapshot() as now:
                    names = {document.name for document in now.documents()} - {"count"}
                if i % 2:
                    writer.remove(f"new {i - 1}")
                    names -= {f"new {i - 1}"}
                writer.add("count", str(len(names) + 1), replace=True)
            if i % 5 == 4:
                tree.refresh_gists()
            if i % 11 == 10:
                tree.compact()


def test_copies_while_somebody_writes_refreshes_and_compacts(tree: mctree.Tree, tmp_path: Path) -> None:
    with tree.writer() as writer:
        writer.add("count", str(tree.snapshot().documents_count))
    pid = os.fork()
    if pid == 0:
        try:
            write_on(tree.path, 10_000)
        finally:
            os._exit(1)
    try:
        seen = []
        for i in range(12):
            with mctree.open(tree.path, encoders=[ENCODER]) as here:
                number = here.backup(tmp_path / f"copy {i}")
            with mctree.open(tmp_path / f"copy {i}", writable=False, encoders=[ENCODER]) as copy:
                assert not list(copy.verify())
                for commit in copy.commits():
                    with copy.snapshot(commit.number) as snapshot:
                        if snapshot.number(b"count"):
                            others = [document.read() for document in snapshot.documents() if document.name != "count"]
                            assert snapshot.document("count").read() == str(len(others)).encode()
                assert copy.commits()[-1].number == number
                seen.append((copy.epoch, number))
            shutil.rmtree(tmp_path / f"copy {i}")
        assert seen == sorted(seen)
        assert len({number for _, number in seen}) > 3, "nobody wrote meanwhile"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_what_a_copy_needs_is_held_while_it_is_made(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, before = backups.copy_store, states(tree)

    def copy(*args: Any) -> None:
        for i in range(40):
            with tree.writer() as writer:
                writer.add(f"meanwhile {i}", b"text " * 50)
            if i % 10 == 5:
                tree.refresh_gists()
        tree.compact()
        real(*args)

    monkeypatch.setattr(backups, "copy_store", copy)
    tree.backup(tmp_path / "copy")
    with mctree.open(tmp_path / "copy", writable=False, encoders=[ENCODER]) as made:
        assert states(made) == before


def test_who_may_hold_nothing_is_told_that_commits_went(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backups.copy_store

    def copy(store: Any, *args: Any) -> None:
        real(store, *args)
        with mctree.open(tree.path, encoders=[ENCODER]) as other:
            for i in range(40):
                with other.writer() as writer:
                    writer.add(f"meanwhile {i}", b"text " * 50)

    monkeypatch.setattr(backups, "copy_store", copy)
    tree.store.leases.writable = False  # as for a user who may not write there
    with pytest.raises(CommitGoneError, match="while it was copied"):
        tree.backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert leftovers(tmp_path) == []


def test_a_killed_copy_is_none_and_stands_in_nobodys_way(tree: mctree.Tree, tmp_path: Path) -> None:
    before, whole = states(tree), False
    for calls in (*range(0, 90, 9), 1000):

        def child(calls: int = calls) -> None:
            with mctree.open(tree.path, encoders=[ENCODER]) as own:
                kill_after(calls)
                own.backup(tmp_path / "copy")

        ended = in_child(child)
        assert ended in (0, KILLED)
        if (tmp_path / "copy").exists():
            with mctree.open(tmp_path / "copy", writable=False, encoders=[ENCODER]) as copy:
                assert states(copy) == before
            shutil.rmtree(tmp_path / "copy")
            whole = True
    assert whole
    tree.backup(tmp_path / "copy")
    assert leftovers(tmp_path) == []


def test_holes_stay_holes(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t", chunk_bytes=16 << 20) as tree:
        with tree.writer() as writer:
            writer.add("zeros", bytes(8 << 20))
            writer.add("text", b"text")
        tree.backup(tmp_path / "copy")
        with tree.snapshot() as snapshot:
            rows = snapshot.positions
    file = tmp_path / "copy/text/lod0/c.0"
    assert file.stat().st_size == 16 << 20
    assert file.stat().st_blocks * 512 < 1 << 20
    with mctree.open(tmp_path / "copy") as copy, copy.snapshot() as snapshot:
        assert np.count_nonzero(snapshot.view()) == 4
        assert snapshot.positions == rows


def test_rows_that_nobody_committed_do_not_come_along(tree: mctree.Tree, tmp_path: Path) -> None:
    secret = b"not committed " * 40
    with tree.snapshot() as snapshot:
        stop = snapshot.positions
    with Path(tree.path, "text/lod0/c.1").open("r+b") as file:
        file.seek(stop - 65536)
        file.write(secret)
    tree.backup(tmp_path / "copy")
    assert secret not in (tmp_path / "copy/text/lod0/c.1").read_bytes()


def test_progress_goes_up_to_all_of_it(tree: mctree.Tree, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    tree.backup(tmp_path / "copy", progress=lambda done, whole: said.append((done, whole)))
    assert len({whole for _, whole in said}) == 1
    assert said == sorted(said)
    assert said[-1][0] == said[-1][1]


def test_a_copy_is_made_where_its_folder_was_not(tree: mctree.Tree, tmp_path: Path) -> None:
    tree.backup(tmp_path / "some/where/copy")
    with mctree.open(tmp_path / "some/where/copy") as copy:
        assert copy.snapshot().documents_count == tree.snapshot().documents_count


def test_a_relative_path_and_one_with_a_slash(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree.backup("copy/")
    mctree.open(tmp_path / "copy").close()


def test_a_copy_for_which_there_is_no_room_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by trying: LMDB's error about the copy was told as one about the store, to be restored from a copy."""
    with mctree.create(tmp_path / "t", chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            for i in range(300):
                writer.stamp(b"%d" % i, Stamp(i, 0, 0, 0, 0, bytes(400)))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

        def child() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, limit))
            with pytest.raises(WriterFailedError, match=r"the index of .*copy.* could not be written"):
                tree.backup(tmp_path / "copy")

        assert in_child(child) == 0
    assert os.listdir(tmp_path) == ["t"]


def test_many_commits_are_held_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: each wrote the list of all anew, so that a long past took for ever to be copied."""
    written: list[int] = []
    real = leases.pwrite_all

    def pwrite_all(fd: int, data: bytes, offset: int) -> None:
        written.append(len(data))
        real(fd, data, offset)

    with mctree.create(tmp_path / "t", chunk_bytes=1 << 16, keep=0) as tree:
        with closing(tree.writer()) as writer:
            for i in range(100):
                writer.add(f"{i}", b"x")
                writer.commit()
        monkeypatch.setattr(leases, "pwrite_all", pwrite_all)
        with backup.held_still(tree.store) as index:
            assert len(index.commit_numbers()) == 101
            assert held_commits(tree.store.at) == set(index.commit_numbers())
            assert len(written) == 1
        assert held_commits(tree.store.at) == set()
