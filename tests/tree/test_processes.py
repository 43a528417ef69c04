"""Forks, pickles, threads, forgotten handles, and others who do something at the worst moment."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import BusyError, CommitGoneError, CorruptError, LockedError, UsageError, WriterFailedError
from mctree.storage import environment, epochs, gate, leases
from mctree.storage.environment import Environment
from mctree.storage.index import Reading
from mctree.storage.store import Store
from mctree.testing import ToyEncoder
from mctree.testing.processes import in_child
from mctree.tree import tree as trees


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, keep=2) as tree:
        add(tree, "first")
        yield tree


def add(tree: mctree.Tree, name: str) -> None:
    with tree.writer() as writer:
        writer.add(name, f"text of {name} ".encode() * 20, replace=True)


def names(tree: mctree.Tree) -> list[str]:
    with tree.snapshot() as snapshot:
        return [document.name for document in snapshot.documents()]


def in_thread(work: Callable[[], object]) -> None:
    """Do something that must not block for ever."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it blocks"


def test_parent_and_child_go_on_with_what_both_have_open(tree: mctree.Tree) -> None:
    snapshot = tree.snapshot()
    tokens = snapshot.view().copy()

    def child() -> None:
        assert np.array_equal(snapshot.view(), tokens)
        assert snapshot.document("first").read().startswith(b"text")
        add(tree, "of the child")
        assert names(tree) == ["first", "of the child"]
        assert [d.name for d in snapshot.documents()] == ["first"]
        snapshot.close()

    assert in_child(child) == 0
    assert names(tree) == ["first", "of the child"]
    add(tree, "of the parent")
    assert in_child(lambda: add(tree, "of another child")) == 0
    assert names(tree) == ["first", "of the child", "of the parent", "of another child"]
    assert [d.name for d in snapshot.documents()] == ["first"]
    snapshot.close()


def test_a_writer_stays_with_its_process(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        document = writer.begin("a")
        document.write("text " * 20)

        def child() -> None:
            for act in (writer.commit, lambda: writer.commit(gists=False)):
                with pytest.raises(UsageError, match="another process"):
                    act()
            with pytest.raises(LockedError, match=str(os.getppid())):
                tree.writer()
            writer.close()

        assert in_child(child) == 0
        with pytest.raises(LockedError, match=str(os.getpid())):
            tree.writer()
    assert names(tree) == ["first", "a"]


def tokens_of(snapshot: mctree.Snapshot) -> tuple[int, bytes]:
    return snapshot.commit, snapshot.view().tobytes()


def test_snapshots_are_sent_to_other_processes(tree: mctree.Tree) -> None:
    old = tree.snapshot()
    add(tree, "second")
    new = tree.snapshot()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(tokens_of, [old, new]) == [tokens_of(old), tokens_of(new)]
    old.close()
    new.close()


def test_a_snapshot_that_cannot_be_had_again_says_so(tree: mctree.Tree, tmp_path: Path) -> None:
    snapshot = tree.snapshot()
    sent = pickle.dumps(snapshot)
    snapshot.close()
    for i in range(40):
        add(tree, f"{i % 3}")
    with pytest.raises(CommitGoneError):
        pickle.loads(sent)
    sent = pickle.dumps(tree.snapshot())
    tree.close()
    (tmp_path / "t.mctree").rename(tmp_path / "elsewhere")
    mctree.create(tmp_path / "t.mctree").close()
    with pytest.raises(CommitGoneError, match="no longer holds"):
        pickle.loads(sent)


def test_a_forgotten_writer_frees_its_lock(tree: mctree.Tree) -> None:
    """Found by reading: the store stayed locked for as long as the process lived."""
    writer = tree.writer()
    document = writer.begin("forgotten")
    del writer, document
    gc.collect()
    add(tree, "second")
    assert names(tree) == ["first", "second"]


def test_snapshots_die_wherever_the_collector_finds_them(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: a snapshot in a cycle gave its lease up in the middle of another's, and waited for itself."""
    real = leases.pwrite_all

    class Cycle:
        def __init__(self) -> None:
            self.snapshot, self.me = tree.snapshot(1), self

    def collecting(*args: Any) -> None:
        gc.collect()
        real(*args)

    Cycle()
    monkeypatch.setattr(leases, "pwrite_all", collecting)
    in_thread(lambda: tree.snapshot().close())
    assert leases.held_commits(tree.store.at) == set()


def test_stores_die_wherever_the_collector_finds_them(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: a handle in a cycle gave its index up while another was opened, and waited for itself."""

    class Cycle:
        def __init__(self) -> None:
            self.tree, self.me = mctree.open(tree.path), self

    mctree.create(tmp_path / "other").close()
    lost = weakref.ref(Cycle())
    real = environment.check_index

    def collecting(*args: Any) -> None:
        gc.collect()
        real(*args)

    monkeypatch.setattr(environment, "check_index", collecting)
    in_thread(lambda: mctree.open(tmp_path / "other").close())
    assert lost() is None
    assert names(tree) == ["first"]


def test_a_commit_while_the_store_is_opened(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: what a writer noted between two looks passed for an older index in the newest one's place."""
    writer = tree.writer()
    writer.add("second", b"text")
    real, once = Reading.commit, [writer]

    def commit(self: Reading, number: int | None = None) -> Any:
        found = real(self, number)
        if once:
            once.pop().commit()
        return found

    monkeypatch.setattr(Reading, "commit", commit)
    with mctree.open(tree.path) as other:
        assert not once
        assert names(other) == ["first", "second"]
    writer.close()


def test_an_index_that_grows_while_its_header_is_read(
    tree: mctree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: its new header was held against its old length, and it passed for cut off."""
    copy = tmp_path / "data.mdb"
    copy.write_bytes((Path(tree.path) / "index.lmdb/data.mdb").read_bytes())
    real = os.pread

    def growing(fd: int, size: int, offset: int) -> bytes:
        pages = copy.stat().st_size // 4096
        with copy.open("r+b") as file:
            file.truncate((pages + 5) * 4096)
            for meta in (0, 1):
                file.seek(meta * 4096 + 136)
                file.write(struct.pack("<Q", pages + 4))
        return real(fd, size, offset)

    with copy.open("rb") as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", growing)
            gate.check_index(file.fileno(), "here")
        gate.check_index(file.fileno(), "here")
        os.truncate(copy, 3 * 4096)
        with pytest.raises(CorruptError, match=r"here/index\.lmdb/data\.mdb is cut off"):
            gate.check_index(file.fileno(), "here")


def test_a_compaction_while_a_writer_is_opened(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: the writer got the lock of the old epoch, and what it wrote was lost."""
    real, once = trees.Session, [mctree.open(tree.path)]

    def session(store: Any) -> Any:
        if once:
            with once.pop() as other:
                other.compact()
        return real(store)

    monkeypatch.setattr(trees, "Session", session)
    add(tree, "second")
    assert not once
    assert tree.epoch == 1
    with mctree.open(tree.path) as other:
        assert names(other) == ["first", "second"]


def test_a_store_that_is_moved_is_not_written_to(tree: mctree.Tree, tmp_path: Path) -> None:
    with tree.snapshot() as snapshot:
        (tmp_path / "t.mctree").rename(tmp_path / "elsewhere")
        assert snapshot.document("first").tokens == 280
        with pytest.raises(UsageError, match="no mctree store"):
            tree.writer()
    with mctree.open(tmp_path / "elsewhere") as moved:
        assert names(moved) == ["first"]


def test_a_snapshot_of_a_child_outlives_its_parents_lease(tmp_path: Path) -> None:
    """A child that holds a commit keeps it, although its parent has let it go and the store has moved on."""
    tree = mctree.create(tmp_path / "t", chunk_bytes=65536, keep=1, encoders=[ToyEncoder()])
    tree.build_gists(ToyEncoder())
    add(tree, "a")
    snapshot = tree.snapshot()
    before = snapshot.view().copy()
    ready, done = os.pipe(), os.pipe()

    def child() -> None:
        assert snapshot.blocks
        snapshot.document("a")
        os.write(ready[1], b"!")
        os.read(done[0], 1)
        assert snapshot.document("a").read() == b"text of a " * 20
        assert np.array_equal(snapshot.view(), before)

    def parent() -> None:
        os.read(ready[0], 1)
        snapshot.close()
        for _ in range(40):
            add(tree, "a")
        os.write(done[1], b"!")

    thread = threading.Thread(target=parent)
    thread.start()
    assert in_child(child) == 0
    thread.join()
    tree.close()


def test_a_child_does_not_wait_for_a_thread_of_its_parent(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by reading: a fork while another thread asked for the store left a lock that nobody gave back."""
    asking, go = threading.Event(), threading.Event()
    real = Store.moved.fget
    assert real is not None

    def slowly(store: Store) -> bool:
        if threading.current_thread() is not threading.main_thread():
            asking.set()
            go.wait()
        return bool(real(store))

    monkeypatch.setattr(Store, "moved", property(slowly))
    thread = threading.Thread(target=tree.snapshot)
    thread.start()
    asking.wait()

    def child() -> None:
        signal.alarm(20)
        assert names(tree) == ["first"]

    try:
        assert in_child(child) == 0
    finally:
        go.set()
        thread.join()


@pytest.mark.parametrize("killed", ["before it is moved", "before older ones are moved up"])
def test_a_snapshot_is_sent_while_its_epoch_is_between_two_places(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    """Found by reading: until the next writer came by, a snapshot that was held could not be opened elsewhere."""

    def compact(step: str = "") -> None:
        with mctree.open(tree.path) as own:
            if step:
                setattr(epochs, step, lambda *_: os._exit(9))
            own.compact()

    held = [tree.snapshot()]
    if killed == "before older ones are moved up":
        assert in_child(compact) == 0
        held.append(tree.snapshot())
        monkeypatch.setattr(epochs, "drop_epochs", lambda at: None)
        assert in_child(lambda: compact("drop_epochs")) == 9
    else:
        assert in_child(lambda: compact("_keep_epoch")) == 9
    for snapshot in held:
        tokens, sent = snapshot.view().copy(), pickle.dumps(snapshot)
        with pickle.loads(sent) as received:
            assert np.array_equal(received.view(), tokens)
    add(tree, "second")
    assert sorted(names(tree)) == ["first", "second"]


@pytest.mark.parametrize("refusal", [BusyError("too many files"), OSError(errno.EMFILE, "too many files")])
def test_an_epoch_that_cannot_be_looked_at_is_not_taken_for_one_half_made(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    """Found by reading: the next writer, who could open no more files, removed an epoch that was read."""

    def compact() -> None:
        with mctree.open(tree.path) as own:
            epochs._keep_epoch = lambda *_: os._exit(9)  # type: ignore[assignment]  # this process ends by it
            own.compact()

    def refuse(*_: object, **__: object) -> None:
        raise refusal

    with tree.snapshot() as snapshot:
        assert in_child(compact) == 9
        with monkeypatch.context() as patch:
            patch.setattr(epochs, "Store", refuse)
            with mctree.open(tree.path) as other, pytest.raises((BusyError, WriterFailedError), match="too many"):
                other.writer()
        assert snapshot.document("first").read() == b"text of first " * 20
        add(tree, "second")
        assert snapshot.document("first").read() == b"text of first " * 20
    assert sorted(names(tree)) == ["first", "second"]


def test_one_who_looks_into_an_index_that_outgrows_its_map_does_not_wait_for_himself(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: a look-up within another, as when a copy is made or damage is named, waited for ever."""

    code = (
        "import sys, mctree\n"
        "from mctree.format.facts import Stamp\n"
        "with mctree.open(sys.argv[1]) as tree, tree.writer() as writer:\n"
        "    for i in range(400): writer.stamp(b'%d' % i, Stamp(i, 0, 0, 0, 0, bytes(400)))\n"
    )
    monkeypatch.setattr(environment, "_MAP_BYTES", 1 << 17)
    monkeypatch.setattr(environment, "_SMALLEST_MAP", 1 << 17)

    def read() -> None:
        with mctree.open(tree.path, writable=False) as small:
            with small.store.reading() as index:
                number = index.commit_numbers()[-1]
                subprocess.run([sys.executable, "-c", code, tree.path], check=True)
                with small.store.reading() as within:
                    assert within.commit(number) is not None
            assert names(small) == ["first"]
            assert len(small.commits()) > 1

    assert in_child(lambda: (signal.alarm(60), read())) == 0


def test_a_child_whose_index_is_held_by_a_thread_that_it_lacks_is_told_so(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by trying: LMDB opens no index twice in a process, and that was called damage."""
    reading, go = threading.Event(), threading.Event()

    def read() -> None:
        with tree.store.reading():
            reading.set()
            go.wait()

    def child() -> None:
        with pytest.raises(BusyError, match=r"forked while .* spawn"):
            tree.snapshot()

    monkeypatch.setattr(environment, "_FORK_WAIT", 0.1)
    thread = threading.Thread(target=read)
    thread.start()
    reading.wait()
    try:
        assert in_child(child) == 0
    finally:
        go.set()
        thread.join()


def test_an_inherited_index_is_not_used(tree: mctree.Tree) -> None:
    inherited: Environment = tree.store.environment

    def child() -> None:
        with pytest.raises(BusyError, match="crossed a fork"), inherited.reading():
            pass
        with pytest.raises(BusyError, match="crossed a fork"), inherited.writing():
            pass

    assert in_child(child) == 0


def test_threads_share_a_handle(tree: mctree.Tree) -> None:
    failed: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(30):
                with tree.snapshot() as snapshot:
                    for document in snapshot.documents():
                        assert document.read() == f"text of {document.name} ".encode() * 20
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(30):
        add(tree, f"{i % 4}")
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
