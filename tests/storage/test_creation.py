"""Nothing is left of what was begun and never finished, and nothing is taken from those who are still at it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.errors import StoreExistsError
from mctree.storage import creation
from mctree.testing.toys import ToyEncoder
from tools.crash.power import Walk
from tools.crash.trace import CALLS, read_trace
from tools.crash.victims import recorded

SMALL = 65536


def in_child(act: Callable[[], object]) -> int:
    """Run something in a forked child that may die; its process number."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except StoreExistsError:
            os._exit(17)
        except BaseException:
            os._exit(1)
    return pid


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die(*_: object, **__: object) -> None:
    os._exit(9)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("step", ["_make_folder", "describe_arrays", "build_store", "sync_tree", "_rename"])
def test_a_killed_creation_is_no_obstacle_and_is_swept_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(creation, step)

    def last(*args: object, **options: object) -> object:
        if step != "_rename":
            real(*args, **options)
        die()
        return None

    with monkeypatch.context() as patch:
        patch.setattr(creation, step, last)
        for _ in range(2):
            assert status(in_child(lambda: mctree.create(tmp_path / "t.mctree"))) == 9
    assert len(names(tmp_path)) == 1, "the second one swept the first one's away"
    assert names(tmp_path)[0].endswith(".creating")
    mctree.create(tmp_path / "other.mctree").close()
    assert len(names(tmp_path)) == 2, "what belongs to another name is not touched"
    mctree.create(tmp_path / "t.mctree").close()
    assert names(tmp_path) == ["other.mctree", "t.mctree"]


def test_a_creation_that_goes_on_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, go = os.pipe(), os.pipe()
    real = creation.sync_tree

    def wait(at: int) -> None:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        real(at)

    with monkeypatch.context() as patch:
        patch.setattr(creation, "sync_tree", wait)
        pid = in_child(lambda: mctree.create(tmp_path / "t.mctree"))
        os.read(ready[0], 1)
    try:
        with mctree.create(tmp_path / "t.mctree") as tree, tree.writer() as writer:
            writer.add("a", b"mine")
        assert len(names(tmp_path)) == 2
    finally:
        os.write(go[1], b".")
        ended = status(pid)
    assert ended == 17
    assert names(tmp_path) == ["t.mctree"]
    with mctree.open(tmp_path / "t.mctree") as tree:
        assert tree.snapshot().document("a").read() == b"mine"
    for fd in (*ready, *go):
        os.close(fd)


@pytest.mark.parametrize("after", ["mkdir", "open_directory"])
def test_a_folder_that_was_swept_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    swept: list[object] = []
    owner = os if after == "mkdir" else creation
    real = getattr(owner, after)

    def call(path: str, *args: int, **options: int) -> object:
        result = real(path, *args, **options)
        if path.endswith(".creating") and not swept:
            swept.append(path)
            creation._sweep("t.mctree", options["dir_fd"] if after == "mkdir" else args[0])
        return result

    monkeypatch.setattr(owner, after, call)
    mctree.create(tmp_path / "t.mctree").close()
    assert swept
    assert names(tmp_path) == ["t.mctree"]


@pytest.mark.parametrize("step", ["build_store", "sync_tree"])
def test_a_compaction_killed_while_it_makes_its_store_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL)
    with tree.writer() as writer:
        writer.add("a", b"text" * 100)
    with monkeypatch.context() as patch:
        patch.setattr(creation, step, die)
        assert status(in_child(lambda: mctree.open(tmp_path / "t.mctree").compact())) == 9
    assert names(tmp_path) == [".t.mctree.compacting", "t.mctree"]
    tree.writer().close()
    assert names(tmp_path) == ["t.mctree"]
    tree.compact()
    assert names(tmp_path) == ["t.mctree"]
    assert tree.snapshot().document("a").read() == b"text" * 100


def test_half_written_metadata_of_a_killed_writer_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL, encoders=[ToyEncoder()])
    with tree.writer() as writer:
        writer.add("a", np.random.default_rng(0).bytes(32 * 40))
    tree.build_gists(ToyEncoder(), "one")
    places = ["text/lod0", "text", "gists", "gists/one/text", "gists/one/text/lod2"]
    for place in places:
        (path / place / "zarr.json.new").write_text("{")
    (path / "gists/.DS_Store").write_text("somebody else's")
    tree.writer().close()
    assert [p for p in path.rglob("*") if ".new" in p.name] == []
    assert (path / "gists/.DS_Store").exists()
    assert list(tree.verify()) == []


def test_metadata_is_never_less_than_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by review: shapes were renamed into place unsynced, so that a power cut could leave an empty file."""
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL, encoders=[ToyEncoder()])
    synced: set[tuple[int, int]] = set()
    renamed, syncs = [], []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        found = os.fstat(fd)
        synced.add((found.st_dev, found.st_ino))
        syncs.append(os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    def rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        found = os.stat(source, dir_fd=src_dir_fd)
        assert (found.st_dev, found.st_ino) in synced, f"{target} may be empty after a power cut"
        renamed.append(target)
        real_rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    tree.build_gists(ToyEncoder(), "one")
    with tree.writer() as writer:
        writer.add("a", b"text " * 7 * 40)
    assert "gists/one/text/lod1/zarr.json" in renamed, "arrays are made with their metadata"
    with tree.writer() as writer:
        writer.add("b", b"text")
        writer.commit(gists=True)
        renamed.clear()
        syncs.clear()
        before = (path / "text/lod0/zarr.json").stat()
        for i in range(70):
            writer.add(f"{i}", b"text " * 20)
            writer.commit(gists=True)
        assert not renamed
        assert not [name for name in syncs if "zarr.json" in name], "appending syncs no metadata"
    after = (path / "text/lod0/zarr.json").stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    assert list(tree.verify()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"zarr_format": 3, "node_type": "array", "shape": [0]}'])
def test_metadata_that_is_not_as_it_was_made_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL)
    whole = (path / "text/lod0/zarr.json").read_bytes()
    (path / "text/lod0/zarr.json").write_bytes(content)
    with tree.writer() as writer:
        writer.add("a", b"x" * 64)
    mended = (path / "text/lod0/zarr.json").read_bytes()
    assert mended.replace(b"64, ", b" 0, ") != whole or len(mended) == len(whole)
    assert list(tree.verify()) == []


def test_half_written_metadata_of_a_first_set_that_was_never_committed_is_swept(tmp_path: Path) -> None:
    """Found by a sweep of kills: it stood there until a set was built."""
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL)
    (path / "gists").mkdir()
    (path / "gists/zarr.json.new").write_text("{")
    tree.writer().close()
    assert list((path / "gists").iterdir()) == []
    assert list(tree.verify()) == []


def test_folders_that_are_made_for_a_store_are_as_durable_as_it_is(tmp_path: Path) -> None:
    """Found by reading: their names were not synced, so that a power cut could take an acknowledged store with them."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def work(say: Callable[[str], None]) -> None:
        mctree.create(disk / "new" / "deep" / "t.mctree", chunk_bytes=SMALL).close()
        say("created")

    ending = recorded(work, CALLS, tmp_path / "calls")
    assert ending.acknowledged == ("created",), ending.failure
    walk = Walk(read_trace(tmp_path / "calls", str(disk), ending.acknowledged))
    while walk.forward():
        if walk.acknowledged:
            walk.disk.write_out(str(tmp_path / f"after {walk.moment}"))
            left = tmp_path / f"after {walk.moment}" / "new" / "deep"
            assert names(left) == ["t.mctree"]
            with mctree.open(left / "t.mctree") as tree:
                assert len(tree.commits()) == 1
