"""A store is opened, whatever others do to it at that moment."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

import mctree
import mctree.storage.store as store_module
from mctree import Snapshot
from mctree.errors import BusyError, CommitGoneError, CorruptError, NotAStoreError
from mctree.storage import environment, epochs
from mctree.storage.epochs import drop_epochs
from mctree.storage.gate import MAX_READERS
from mctree.testing.processes import forked, in_child


@pytest.mark.parametrize("times", [1, 3])
def test_an_epoch_that_goes_while_it_is_opened_is_not_damage(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by backups under compactions: the folder that was open had lost its index, and was called damaged."""
    path = tmp_path / "t.mctree"
    with mctree.create(path) as tree, tree.writer() as writer:
        writer.add("a", b"text " * 100)
    real, left = store_module._open_index, [times]

    def meanwhile(*args: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            shutil.copytree(path, tmp_path / "new")
            shutil.rmtree(path)
            (tmp_path / "new").rename(path)
        return real(*args, **options)

    monkeypatch.setattr(store_module, "_open_index", meanwhile)
    with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
        assert snapshot.document("a").read() == b"text " * 100
    assert not left[0]


def test_a_store_that_stands_where_it_was_and_lacks_its_index_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    mctree.create(path).close()
    shutil.rmtree(path / "index.lmdb")
    with pytest.raises(NotAStoreError, match="holds no index"):
        mctree.open(path)
    shutil.rmtree(path)


@pytest.fixture
def older(tmp_path: Path) -> Iterator[tuple[Path, Snapshot]]:
    """A store in its second epoch, and a snapshot of the first."""
    path = tmp_path / "t.mctree"
    with mctree.create(path) as tree:
        with tree.writer() as writer:
            writer.add("a", b"text " * 100)
        with tree.snapshot() as held:
            tree.compact()
            yield path, held


def opened_anew(held: Snapshot) -> bytes:
    """What another process reads, that was sent a snapshot."""
    with pickle.loads(pickle.dumps(held)) as sent:
        return bytes(sent.document("a").read())


def test_an_older_epoch_that_the_next_one_takes_along_while_it_is_looked_for_is_found(
    older: tuple[Path, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by readers under fire: a child was told that what it had been left was gone."""
    path, held = older
    real, left = store_module._open_epoch, [2]

    def meanwhile(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            with mctree.open(path) as tree:
                tree.compact()
        return real(*args)

    def child() -> None:
        assert held.document("a").read() == b"text " * 100

    monkeypatch.setattr(store_module, "_open_epoch", meanwhile)
    assert in_child(child) == 0
    assert opened_anew(held) == b"text " * 100
    assert not left[0]


def test_an_older_epoch_that_is_put_where_it_belongs_while_it_is_looked_for_is_found(
    older: tuple[Path, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: it went from place to place in front of who looked at one after the other."""
    path, held = older
    with monkeypatch.context() as patch, mctree.open(path) as tree:
        patch.setattr(epochs, "_keep_epoch", lambda *_: None)
        tree.compact()  # as if it was killed right behind the exchange of names
    real, moved = store_module._open_epoch_at, []

    def meanwhile(name: str, at: int, *rest: Any) -> Any:
        found = real(name, at, *rest)
        if not moved:
            moved.append(name)
            epochs._keep_epoch(str(path), at, 1)
        return found

    monkeypatch.setattr(store_module, "_open_epoch_at", meanwhile)
    assert opened_anew(held) == b"text " * 100
    assert moved


def test_an_older_epoch_that_goes_while_it_is_opened_is_gone(
    older: tuple[Path, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: what stands at the path was said to be no store."""
    path, held = older
    sent, real = pickle.dumps(held), store_module._open_index

    def meanwhile(at: int, *args: Any, **options: Any) -> Any:
        if held._held and not os.path.samestat(os.fstat(at), path.stat()):
            held.close()
            with mctree.open(path) as tree:
                drop_epochs(tree.store.at)
        return real(at, *args, **options)

    monkeypatch.setattr(store_module, "_open_index", meanwhile)
    with pytest.raises(CommitGoneError, match="no longer holds epoch 0"):
        pickle.loads(sent).document("a")
    assert not held._held


@pytest.mark.parametrize("where", ["epochs/.DS_Store", "../.t.mctree.compacting"])
def test_a_file_among_older_epochs_hides_none(older: tuple[Path, Snapshot], where: str) -> None:
    path, held = older
    (path / where).write_bytes(b"")
    assert opened_anew(held) == b"text " * 100
    sent = pickle.dumps(held)
    held.close()
    with mctree.open(path) as tree:
        drop_epochs(tree.store.at)
    with pytest.raises(CommitGoneError, match="no longer holds epoch 0"):
        pickle.loads(sent).document("a")
    (path / where).unlink()


@pytest.mark.parametrize("times", [3, environment._MOST_OUTGROWN])
def test_an_index_that_outgrows_its_map_while_it_is_opened_is_not_damage(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by readers under fire: a child was told that it had been forked at the wrong moment."""
    path = tmp_path / "t.mctree"
    mctree.create(path).close()
    real, left = lmdb.open, [times]

    def outgrown(*args: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise lmdb.MapResizedError("mdb_txn_begin: MDB_MAP_RESIZED")
        return real(*args, **options)

    monkeypatch.setattr(environment.lmdb, "open", outgrown)
    if times < environment._MOST_OUTGROWN:
        mctree.open(path).close()
    else:
        with pytest.raises(CorruptError, match="MAP_RESIZED"):
            mctree.open(path)
    assert not left[0]


def test_an_index_of_which_all_readers_places_are_taken_is_not_damage(tmp_path: Path) -> None:
    """Found by reading: it was to be restored from a copy."""
    path = tmp_path / "t.mctree"
    mctree.create(path).close()
    held, holding = os.pipe()
    going, go = os.pipe()

    def hold() -> None:
        os.close(go)
        with lmdb.open(str(path / "index.lmdb"), max_readers=MAX_READERS, max_spare_txns=0) as index:
            readers = [index.begin() for _ in range(MAX_READERS)]
            os.write(holding, b"x")
            os.read(going, 1)
            readers.pop().abort()
            os.write(holding, b"x")
            os.read(going, 1)

    holder = forked(hold)
    os.close(holding)
    os.close(going)
    try:
        assert os.read(held, 1)
        with pytest.raises(BusyError, match="retry"):
            mctree.open(path, writable=False)
        os.write(go, b"x")
        assert os.read(held, 1)
        mctree.open(path, writable=False).close()
    finally:
        os.close(go)
        os.close(held)
        assert os.waitpid(holder, 0)[1] == 0


def test_the_places_of_killed_readers_are_free(tmp_path: Path) -> None:
    path = tmp_path / "t.mctree"
    mctree.create(path).close()

    def die_reading() -> None:
        with lmdb.open(str(path / "index.lmdb"), max_readers=MAX_READERS) as index:
            _readers = [index.begin() for _ in range(MAX_READERS // 2)]
            os.kill(os.getpid(), signal.SIGKILL)

    with mctree.open(path, writable=False) as held:
        for _ in range(3):
            assert in_child(die_reading) == -signal.SIGKILL
            assert in_child(lambda: mctree.open(path, writable=False).close()) == 0
        assert held.commits()
