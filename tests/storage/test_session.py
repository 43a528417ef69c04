"""Commits in the one safe order, what a failure leaves, and what the next session mends."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest

import mctree
from mctree.errors import (
    CorruptError,
    LockedError,
    NotAStoreError,
    ReadOnlyError,
    StoreExistsError,
    UsageError,
    WriterFailedError,
)
from mctree.format.facts import Stamp
from mctree.format.keys import Table, commit_key
from mctree.storage import chunks, environment, session
from mctree.storage.index import Writing
from mctree.storage.pages import read_meta
from mctree.tree.sets import refresh_gists
from tests.storage.writing import SMALL, crash, fill


@pytest.mark.parametrize("call", ["fdatasync", "pwrite", "open"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_ends_the_writer_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL)
    fill(tree, "first")
    writer = tree.writer()
    writer.add("second", b"x" * 300)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(session.os, call, fail)
        with pytest.raises(WriterFailedError, match=r"open .* again"):
            writer.commit()
    with pytest.raises(WriterFailedError, match=r"open .* again"):
        writer.commit()  # never tried again, although it would go well now
    writer.close()
    assert [d.name for d in tree.snapshot().documents()] == ["first"]
    fill(tree, "third")
    assert [d.name for d in tree.snapshot().documents()] == ["first", "third"]
    assert list(tree.verify()) == []


def test_an_error_before_the_sync_that_waits_for_it_ends_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells an error once: it may be to whoever lets it begin to write, and a sync then finds all well."""
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL)
    fill(tree, "first")
    writer = tree.writer()
    writer.add("second", b"x" * 70_000)  # so much that it does not wait for its sync
    begin = chunks.start_writing

    def on_a_closed_file(fd: int) -> None:
        gone = os.dup(fd)
        os.close(gone)
        begin(gone)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "start_writing", on_a_closed_file)
        with pytest.raises(WriterFailedError, match="Bad file descriptor"):
            writer.commit()
    with pytest.raises(WriterFailedError, match=r"open .* again"):
        writer.commit()
    writer.close()
    fill(tree, "third")
    assert [d.name for d in tree.snapshot().documents()] == ["first", "third"]
    assert list(tree.verify()) == []
    reading, writing = os.pipe()
    begin(writing)  # what cannot begin early is no error
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("own", [0, 1, 2], ids=lambda own: f"after {own} of its own commits")
def test_a_commit_of_somebody_who_does_not_hold_the_lock_is_noticed(tmp_path: Path, own: int) -> None:
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL)
    writer = tree.writer()
    for k in range(own):
        writer.add(f"mine {k}", b"x" * 300)
        writer.commit()
    newest = writer.next.session.newest
    with tree.store.environment.writing() as txn:
        stranger = Writing(txn, newest.number + 1, newest.tables)
        stranger.put(commit_key(Table.COMMIT, newest.number + 1), newest.encode())
    writer.add("another", b"x" * 300)
    with pytest.raises(WriterFailedError, match="without holding its lock"):
        writer.commit()
    writer.close()
    assert tree.snapshot().commit == newest.number + 1


def test_records_that_are_no_commit_are_nobody_s_business(tmp_path: Path) -> None:
    """Stamps change the index between two commits of one writer, by its own hand or another's."""
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL)
    writer = tree.writer()
    for k in range(3):
        writer.stamp(b"item", Stamp(k, 0, 0, 0, 0, b""))
        writer.keep_stamps()
        with tree.store.environment.writing() as txn:
            Writing(txn, 0, {}).put(Table.STAMP + bytes(16), b"")
        writer.add(f"document {k}", b"x" * 300)
        writer.commit()
    writer.close()
    assert tree.snapshot().documents_count == 3


def test_the_index_grows_when_its_map_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_MAP_BYTES", 1 << 20)
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL)
    held = tree.snapshot()
    for i in range(3):
        with tree.writer() as writer:
            for j in range(1500):
                writer.add(f"{i}/{j}", b"tiny")
    assert (tmp_path / "t.mctree" / "index.lmdb" / "data.mdb").stat().st_size > 1 << 20, "the map was full"
    assert tree.snapshot().documents_count == 4500
    assert held.documents_count == 0
    assert list(held.documents()) == []
    assert list(tree.verify()) == []


def test_another_process_may_grow_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_MAP_BYTES", 1 << 20)
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL)
    fill(tree, "first")
    pid = os.fork()
    if pid == 0:
        try:
            with mctree.open(path).writer() as writer:
                for j in range(8000):
                    writer.add(f"{j}", b"tiny")
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert tree.snapshot().documents_count == 8001
    fill(tree, "last")
    assert tree.snapshot().document("last").read() == b"some text " * 50


def test_a_store_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.mctree"

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("mctree.storage.creation.sync_tree", fail)
        with pytest.raises(WriterFailedError, match=f"making {path} failed: no space"):
            mctree.create(path)
    assert list(tmp_path.iterdir()) == []
    mctree.create(path).close()
    with pytest.raises(StoreExistsError, match="exists already"):
        mctree.create(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreExistsError):
        mctree.create(tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "t.mctree"]


@pytest.mark.parametrize("trusted", [True, False])
def test_what_is_no_store_is_named_as_such(tmp_path: Path, trusted: bool) -> None:
    """`mctree verify` of a folder that is no store called its index damaged, and wished it restored from a copy."""
    with pytest.raises(NotAStoreError, match="does not exist"):
        mctree.open(tmp_path / "nothing", trusted=trusted)
    with pytest.raises(NotAStoreError, match=f"^{tmp_path} holds no index"):
        mctree.open(tmp_path, trusted=trusted)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotAStoreError):
        mctree.open(tmp_path / "file", trusted=trusted)


@pytest.mark.damages
@pytest.mark.parametrize("size", [0, 1, 100, 512, 4096, 4097, 8191, 8192, 12288])
def test_a_cut_off_index_is_an_error_and_no_signal(tmp_path: Path, size: int) -> None:
    path = tmp_path / "t.mctree"
    with mctree.create(path) as tree:
        fill(tree, "first")
    os.truncate(path / "index.lmdb/data.mdb", size)
    with pytest.raises(CorruptError, match=rf"index.lmdb/data.mdb is cut off: it has {size} bytes"):
        mctree.open(path)


@pytest.mark.damages
def test_a_cut_off_index_with_two_headers_of_one_number_is_refused(tmp_path: Path) -> None:
    """Found by reading: two headers of one number were taken for a writer at work, and looked at for ever."""
    path = tmp_path / "t.mctree"
    with mctree.create(path) as tree:
        fill(tree, "first")
    data = path / "index.lmdb/data.mdb"
    held = bytearray(data.read_bytes()[: 3 * 4096])
    for meta in range(2):
        held[meta * 4096 + 136 : meta * 4096 + 152] = (99).to_bytes(8, "little") + (7).to_bytes(8, "little")
    data.write_bytes(held)
    with pytest.raises(CorruptError, match="would not have written there"):
        mctree.open(path)


@pytest.mark.damages
def test_an_index_that_ends_before_its_last_page_is_whole_if_nothing_in_use_is_missing(tmp_path: Path) -> None:
    """Found by a long run of the state machine: LMDB never writes pages that a transaction takes and gives back."""
    path = tmp_path / "t.mctree"
    data = path / "index.lmdb/data.mdb"

    def missing() -> int:
        held = data.read_bytes()
        newest = max((read_meta(held[start:]) for start in (0, 4096)), key=lambda meta: meta.number)
        return (newest.last + 1) * 4096 - len(held)

    with mctree.create(path) as tree:
        fill(tree, "first")
    with closing(lmdb.open(str(data.parent), map_size=1 << 26)) as index:
        for _ in range(9):
            with index.begin(write=True) as txn:
                for number in range(5):
                    txn.put(b"~%d" % number, bytes(9000))
                for number in range(5):
                    txn.delete(b"~%d" % number)
            if missing():
                break
    assert missing() > 0
    before = data.read_bytes()
    with mctree.open(path) as tree:
        assert [d.name for d in tree.snapshot().documents()] == ["first"]
        assert list(tree.verify()) == []
        fill(tree, "second")
    assert missing() <= 0
    with mctree.open(path) as tree:
        assert list(tree.verify()) == []
    data.write_bytes(before[: 4 * 4096])
    with pytest.raises(CorruptError, match="is cut off"):
        mctree.open(path)


@pytest.mark.damages
@pytest.mark.parametrize("damage", ["zeros", "noise", "text", "second page", "page size", "folder"])
def test_what_is_no_index_is_named_as_a_damaged_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.mctree"
    with mctree.create(path) as tree:
        fill(tree, "first")
    file = path / "index.lmdb/data.mdb"
    data = file.read_bytes()
    changed = {
        "zeros": bytes(len(data)),
        "noise": np.random.default_rng(0).bytes(len(data)),
        "text": b"some text " * 5000,
        "second page": data[:4096] + np.random.default_rng(0).bytes(4096) + data[8192:],
        "page size": data[:40] + b"\7" * 4 + data[44:],
    }
    file.unlink()
    if damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(changed[damage])
    with pytest.raises(CorruptError, match=r"index.lmdb/data.mdb is (damaged|no regular file)"):
        mctree.open(path)


@pytest.mark.damages
def test_an_older_index_in_the_place_of_the_newest_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    data = path / "index.lmdb/data.mdb"
    with mctree.create(path) as tree:
        fill(tree, "first")
    older = data.read_bytes()
    with mctree.open(path) as tree:
        fill(tree, "second")
    data.write_bytes(older)
    with pytest.raises(CorruptError, match="older state"):
        mctree.open(path)


def test_a_closed_or_reading_handle_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    mctree.create(path).close()
    with mctree.open(path, writable=False) as tree, pytest.raises(ReadOnlyError):
        tree.writer()
    with pytest.raises(UsageError, match="closed"):
        tree.snapshot()
    tree = mctree.open(path)
    writer = tree.writer()
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        mctree.open(path).writer()
    writer.close()
    writer.close()
    with pytest.raises(UsageError, match="closed"):
        writer.commit()


@pytest.mark.parametrize("step", ["link", "rename", "none"])
def test_a_crash_while_publishing_is_finished_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, toy_encoder: Callable[[], object]
) -> None:
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL, encoders=[toy_encoder()])
    tree.build_gists(toy_encoder(), "toy")
    with tree.writer() as writer:
        for i in range(70):
            writer.add(f"{i}", np.random.default_rng(i).bytes(1100))
    held = tree.snapshot()
    before = held.gists().level(2).read(0, held.gists().rows(2))
    with tree.writer() as writer:
        writer.remove("3")

    with monkeypatch.context() as patch:
        if step != "none":
            patch.setattr(f"mctree.storage.chunks.os.{step}", crash)
            with pytest.raises(KeyboardInterrupt):
                refresh_gists(tree)
        else:
            refresh_gists(tree)
    newest = tree.snapshot()
    after = newest.gists().level(2).read(0, newest.gists().rows(2))
    assert np.any(after != before)
    assert list(tree.verify()) == []
    tree.writer().close()  # what a crash left undone is done now
    zarr = pytest.importorskip("zarr")
    published = zarr.open_array(path / "gists/toy/text/lod2", mode="r")
    assert np.array_equal(published[: len(after)], after)
    assert np.array_equal(held.gists().level(2).read(0, len(before)), before)
    again = mctree.open(path, encoders=[toy_encoder()]).snapshot(held.commit)
    assert np.array_equal(again.gists().level(2).read(0, len(before)), before)


def test_what_was_staged_and_not_committed_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    tree = mctree.create(path, chunk_bytes=SMALL)
    fill(tree, "first")
    for name in ("0.0.99", "nonsense", "1.2.3.4", f"{1 << 70}.0.1"):
        (path / "generations" / name).write_bytes(b"left over")
    tree.writer().close()
    assert list((path / "generations").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (lmdb.CorruptedError, CorruptError),
        (lmdb.PageNotFoundError, CorruptError),
        (lmdb.DiskError, WriterFailedError),
    ],
)
def test_what_lmdb_says_while_it_is_written_to_is_an_error_of_ours(
    tmp_path: Path, said: type[lmdb.Error], means: type[Exception]
) -> None:
    """Found by writing to damaged stores: a page that LMDB would not read was told in its own words."""
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL) as tree:
        with pytest.raises(means, match=r"the index .*\(located page\)"), tree.store.environment.writing():
            raise said("located page")
        fill(tree, "goes on")


def test_a_link_in_the_place_of_what_is_to_go_fails_no_commit(tmp_path: Path) -> None:
    """What was freed is removed after the commit, which is durable by then."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"")
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL) as tree, tree.writer() as writer:
        (tmp_path / "t.mctree" / "gists").mkdir(exist_ok=True)
        (tmp_path / "t.mctree" / "gists" / "one").symlink_to(outside)
        writer.next.session.remove([(0, 0, 1)], ["gists/one/lod1"])
        writer.add("a", b"goes on")
    assert (outside / "precious").exists()
    assert list(mctree.open(tmp_path / "t.mctree").verify()) == []


def test_too_many_open_files_are_no_damage(tmp_path: Path) -> None:
    fill(mctree.create(tmp_path / "t.mctree", chunk_bytes=SMALL), "first")
    script = (
        "import os, resource, sys, mctree\n"
        "from mctree.errors import MctreeError\n"
        "taken = len(os.listdir('/proc/self/fd'))\n"
        "for more in range(20):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + more, 4096))\n"
        "    try:\n"
        "        mctree.open(sys.argv[1], writable=False).close()\n"
        "        print('opened')\n"
        "    except (MctreeError, OSError) as error:\n"
        "        print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "t.mctree"], capture_output=True, check=True)
    said = done.stdout.decode().split()
    assert {"BusyError", "opened"} <= set(said) and "CorruptError" not in said, said


@pytest.mark.parametrize("bit", [45, 50])
def test_a_header_that_claims_more_pages_than_can_be_is_damage(tmp_path: Path, bit: int) -> None:
    """LMDB finds no addresses for them, which was told as a want of the process."""
    path = tmp_path / "t.mctree"
    fill(mctree.create(path, chunk_bytes=SMALL), "first")
    index = bytearray((path / "index.lmdb/data.mdb").read_bytes())
    for header in (0, 4096):
        # The number of the last page stands behind the page's own header and 120 bytes of this one.
        index[header + 16 + 120 + bit // 8] ^= 1 << bit % 8
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    (copy / "index.lmdb/data.mdb").write_bytes(index)
    with pytest.raises(
        CorruptError, match=r"is damaged: its page \d says that there are more pages than can be; restore"
    ):
        mctree.open(copy)
