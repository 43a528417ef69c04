"""Where a store may lie, and what becomes of those who have it open when it is moved, linked or replaced."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mctree
from mctree.errors import BusyError, CorruptError, MctreeError, PlaceError, ReadOnlyError
from mctree.storage import epochs, place
from mctree.tree import compact as compacting


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536) as tree:
        add(tree, "first")
        yield tree


def add(tree: mctree.Tree, name: str) -> None:
    with tree.writer() as writer:
        writer.add(name, f"text of {name} ".encode() * 20)


def names(path: Path | str) -> list[str]:
    with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
        assert not list(tree.verify())
        return [document.name for document in snapshot.documents()]


@pytest.mark.parametrize("moment", ["while it is written", "between the two steps", "nothing is left between them"])
def test_a_compaction_does_not_replace_what_was_put_in_its_place(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Found by reading: a compaction exchanged whatever stood at its path, and then removed it as an old epoch."""
    here, elsewhere = tmp_path / "t.mctree", tmp_path / "elsewhere"
    with mctree.create(tmp_path / "other", chunk_bytes=65536) as other:
        add(other, "of somebody else")

    def move() -> None:
        here.rename(elsewhere)
        if not moment.startswith("nothing"):
            (tmp_path / "other").rename(here)

    if moment == "while it is written":
        real_links = compacting._copy_links

        def copy_links(*args: Any) -> None:
            real_links(*args)
            move()

        monkeypatch.setattr(compacting, "_copy_links", copy_links)
    else:
        real, waiting = epochs.exchange, [move]

        def exchange(*args: Any) -> None:
            if waiting:
                waiting.pop()()
            real(*args)

        monkeypatch.setattr(epochs, "exchange", exchange)
    with pytest.raises(BusyError, match="was moved while it was compacted"):
        tree.compact()
    other_place = tmp_path / "other" if moment.startswith("nothing") else here
    assert names(other_place) == ["of somebody else"]
    assert names(elsewhere) == ["first"]
    assert sorted(os.listdir(tmp_path)) == sorted(["elsewhere", other_place.name])
    monkeypatch.undo()
    with mctree.open(elsewhere) as moved:
        moved.compact()
    assert names(elsewhere) == ["first"]


def test_who_has_a_store_open_goes_on_when_it_is_moved(tree: mctree.Tree, tmp_path: Path) -> None:
    writer = tree.writer()
    with tree.snapshot() as snapshot:
        (tmp_path / "t.mctree").rename(tmp_path / "elsewhere")
        writer.add("second", b"text " * 5000)
        writer.commit()
        writer.close()
        assert snapshot.document("first").read() == b"text of first " * 20
    assert names(tmp_path / "elsewhere") == ["first", "second"]
    with pytest.raises(MctreeError, match="no mctree store"):
        tree.snapshot()


def test_text_is_read_where_the_folder_was_moved_away_before_anybody_asked(tmp_path: Path) -> None:
    """Found by the harness of moves: how tokens are made was looked for at the old path."""
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536) as tree:
        add(tree, "first")
    with mctree.open(tmp_path / "t.mctree") as tree, tree.snapshot() as snapshot:
        (tmp_path / "t.mctree").rename(tmp_path / "elsewhere")
        assert snapshot.document("first").read() == b"text of first " * 20


@pytest.mark.parametrize("says", [-(10**18), -1, 0, 1 << 63, 1 << 64, 1 << 80])
def test_a_clock_that_says_what_cannot_be_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: int
) -> None:
    """Found by the harness of clocks: a commit made before 1970 could not be read again, nor the store opened."""
    with monkeypatch.context() as patch:
        patch.setattr("time.time_ns", lambda: says)
        with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536) as tree:
            add(tree, "first")
            tree.compact()
    assert names(tmp_path / "t.mctree") == ["first"]


def test_a_store_that_shares_its_index_is_read_and_not_written_to(tree: mctree.Tree, tmp_path: Path) -> None:
    """Found by reading: after `cp -rl` two writers, each with a lock of its own, wrote to one index."""
    tree.close()
    shutil.copytree(tmp_path / "t.mctree", tmp_path / "linked", copy_function=os.link)
    for path in (tmp_path / "t.mctree", tmp_path / "linked"):
        assert names(path) == ["first"]
        with mctree.open(path) as opened, pytest.raises(ReadOnlyError, match="has 2 names"):
            opened.writer()
    with mctree.open(tmp_path / "linked") as linked:
        linked.backup(tmp_path / "copy")
    shutil.rmtree(tmp_path / "linked")
    for path in (tmp_path / "t.mctree", tmp_path / "copy"):
        with mctree.open(path) as opened:
            add(opened, "second")
        assert names(path) == ["first", "second"]


def test_a_network_file_system_is_refused(tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.close()
    monkeypatch.setattr(place, "_magic", lambda at: 0x6969)
    for use in (
        lambda: mctree.open(tmp_path / "t.mctree"),
        lambda: mctree.open(tmp_path / "t.mctree", writable=False, trusted=False),
        lambda: mctree.create(tmp_path / "new"),
    ):
        with pytest.raises(PlaceError, match=r"is on NFS.*put the store on a local disk.*MCTREE_NETWORK=allow"):
            use()
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("MCTREE_NETWORK", "allow")
    with mctree.open(tmp_path / "t.mctree") as opened:
        add(opened, "second")
        opened.backup(tmp_path / "new")
    assert names(tmp_path / "new") == ["first", "second"]


@pytest.mark.parametrize(
    ("magic", "mounted", "kind"),
    [
        (0xEF53, "ext4", None),
        (0x01021994, "tmpfs", None),
        (0x9123683E, "btrfs", None),
        (0x58465342, "xfs", None),
        (0x794C7630, "overlay", None),
        (0x6969, "nfs4", "NFS"),
        (0xFF534D42, "cifs", "CIFS"),
        (0xFE534D42, "smb3", "SMB2"),
        (0x01021997, "9p", "9P"),
        (0x65735546, "fuse.sshfs", "fuse.sshfs"),
        (0x65735546, "fuse.rclone", "fuse.rclone"),
        (0x65735546, "fuse.mergerfs", None),
        (0x65735546, "fuseblk", None),
        (0x65735546, "virtiofs", None),
        (None, "ext4", None),
    ],
)
def test_what_counts_as_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, magic: int | None, mounted: str, kind: str | None
) -> None:
    monkeypatch.setattr(place, "_magic", lambda at: magic)
    monkeypatch.setattr(place, "_mounted_as", lambda device: mounted)
    at = os.open(tmp_path, os.O_RDONLY)
    try:
        assert place.network_kind(at) == kind
    finally:
        os.close(at)


def test_the_kernel_is_asked(tmp_path: Path) -> None:
    at, memory = os.open(tmp_path, os.O_RDONLY), os.open("/proc", os.O_RDONLY)
    try:
        assert place._magic(memory) == 0x9FA0
        assert place._magic(at) not in (None, 0x9FA0)
        assert place._mounted_as(os.fstat(memory).st_dev) == "proc"
        assert place._mounted_as(os.makedev(4000, 4000)) is None
    finally:
        os.close(at)
        os.close(memory)


def test_a_store_is_looked_at_by_another_process_while_somebody_writes(tree: mctree.Tree) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            for i in range(10_000):
                with mctree.open(tree.path) as own, own.writer() as writer:
                    writer.add(f"{i % 50}", f"{i} ".encode() * 200, replace=True)
        finally:
            os._exit(1)
    try:
        seen = set()
        for _ in range(12):
            with mctree.open(tree.path, trusted=False) as opened, opened.snapshot() as snapshot:
                seen.add(snapshot.commit)
        assert len(seen) > 3, "nobody wrote meanwhile"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def program(path: Path, does: str) -> str:
    """A program that stands in for the interpreter of the process that looks."""
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.damages
def test_what_ends_the_process_that_looks_ends_no_other(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.close()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CorruptError, match="cannot be looked at"):
        mctree.open(tmp_path / "t.mctree", trusted=False)
    monkeypatch.setattr(sys, "executable", program(tmp_path / "killed", "kill -SEGV $$"))
    with pytest.raises(CorruptError, match=r"ends the process that reads it \(SIGSEGV\)"):
        mctree.open(tmp_path / "t.mctree", trusted=False)


@pytest.mark.damages
def test_what_opens_to_nobody_is_told_in_the_same_words_whoever_looks(tmp_path: Path) -> None:
    """What another process says comes out as it is: one remedy, and the path."""
    path = tmp_path / "t\u00f6.mctree"
    mctree.create(path).close()
    os.truncate(path / "index.lmdb/data.mdb", 100)
    said = []
    for trusted in (True, False):
        with pytest.raises(CorruptError) as caught:
            mctree.open(path, trusted=trusted)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_process_that_looks_and_has_no_room_says_nothing_of_the_store(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Want of room is no damage."""
    tree.close()
    told = "printf 'BusyError\\nno addresses'; exit 4"
    monkeypatch.setattr(sys, "executable", program(tmp_path / "busy", told))
    with pytest.raises(BusyError, match=r"^no addresses$"):
        mctree.open(tmp_path / "t.mctree", trusted=False)
