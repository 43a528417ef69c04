"""What a failing disk did to a store, found by letting one call after the other fail; each fault with its own test."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import mctree
from mctree.errors import WriterFailedError
from mctree.storage import leases
from mctree.testing.processes import in_child
from tools.crash.failing import Call, Ending, Plan, supervised


def added(path: Path, name: str) -> None:
    with mctree.open(path) as tree, tree.writer() as writer:
        writer.add(name, b"some text " * 50)


def header_write(path: Path, work: Callable[[Callable[[str], None]], object]) -> int:
    """Which of the calls of some work is the last write to the index: that of LMDB's header."""
    calls = supervised(str(path), work).calls
    return max(i for i, call in enumerate(calls, 1) if call == Call("pwrite64", "write", "index.lmdb/data.mdb"))


def names(tree: mctree.Tree) -> list[str]:
    with tree.snapshot() as snapshot:
        return [document.name for document in snapshot.documents()]


@pytest.mark.parametrize("anyway", [False, True])
@pytest.mark.parametrize("for_ever", [False, True])
def test_readers_of_the_process_go_on_when_lmdb_has_given_up(path: Path, anyway: bool, for_ever: bool) -> None:
    """LMDB refuses all calls after a header could not be written: open snapshots ended, and so did new ones."""

    def work(say: Callable[[str], None]) -> None:
        with mctree.open(path) as tree:
            held = tree.snapshot()
            try:
                added(path, "second")
            except WriterFailedError as error:
                say(str(error))
            say(",".join(document.name for document in held.documents()))
            say(",".join(names(tree)))
            if not for_ever:
                added(path, "third")
                say(",".join(names(tree)))

    def commit(say: Callable[[str], None]) -> None:
        with mctree.open(path) as tree:
            tree.snapshot()
            added(path, "counted")

    when = header_write(path, commit)
    ending: Ending = supervised(str(path), work, Plan(when, errno.EIO, for_ever=for_ever, anyway=anyway))
    assert ending.failed is not None
    assert ending.status == 0
    assert "could not be committed" in ending.said[0]
    assert ending.said[1:3] == ["first,counted"] * 2
    assert for_ever or ending.said[3] == "first,counted,third"


def test_the_index_that_lmdb_gave_up_is_the_one_that_is_opened_again(path: Path, tmp_path: Path) -> None:
    """It was looked for by a descriptor of the first handle, which may be closed, and another store's by now."""
    beside = tmp_path / "other.mctree"
    mctree.create(beside, chunk_bytes=65536).close()
    added(beside, "another")

    def work(say: Callable[[str], None], where: Path = path) -> None:
        first = mctree.open(where)
        with mctree.open(where) as tree:
            held = tree.snapshot()
            first.close()
            with mctree.open(beside, writable=False):
                with suppress(WriterFailedError):
                    added(where, "second")
                say(",".join(document.name for document in held.documents()))
                say(",".join(names(tree)))

    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    when = header_write(copy, lambda say: work(say, copy))
    ending = supervised(str(path), work, Plan(when, errno.EIO))
    assert ending.failed is not None
    assert ending.said == ["first"] * 2


def test_a_header_that_could_not_be_written_is_no_damage(path: Path) -> None:
    """LMDB puts the numbers of the older header back, but not its trees: the store was refused, or called damaged."""

    def work(_: Callable[[str], None], where: Path = path) -> None:
        with mctree.open(where) as tree, tree.writer() as writer:
            for i in range(200):  # so that the index grows
                writer.add(f"document {i}", bytes(range(256)) * 4)

    copy = Path(shutil.copytree(path, path.parent / "copy"))
    when = header_write(copy, lambda say: work(say, copy))
    ending = supervised(str(path), lambda say: _refused(work, say), Plan(when, errno.EIO))
    assert ending.failed is not None
    with mctree.open(path, writable=False) as tree:
        assert list(tree.verify()) == []


def _refused(work: Callable[[Callable[[str], None]], object], say: Callable[[str], None]) -> None:
    with pytest.raises(WriterFailedError):
        work(say)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EFBIG])
def test_a_lease_that_cannot_be_written_ends_no_reader(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(leases, "pwrite_all", fail)
    with mctree.open(path, writable=False) as tree:
        assert names(tree) == ["first"]


def test_what_cannot_be_put_in_order_is_told_as_one_error(path: Path) -> None:
    """The system's own error came out of `Tree.writer`, with a name that said nothing."""

    def work(say: Callable[[str], None]) -> None:
        with mctree.open(path) as tree:
            try:
                tree.writer()
            except WriterFailedError as error:
                say(str(error))

    calls = supervised(str(path), work).calls
    when = next(i for i, call in enumerate(calls, 1) if call.file == "lock")
    said = supervised(str(path), work, Plan(when, errno.EIO)).said
    assert said == [f"beginning to write to {path} failed: Input/output error"]


def test_counts_for_which_there_is_no_room_are_no_readers_error(path: Path) -> None:
    """Found by trying: who counted what it read ended with the system's own error on a full disk."""

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with mctree.open(path) as tree:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            with tree.access() as counts:
                counts.record(1, [0])
            assert counts.read(1, 0, 2).tolist() == [0, 0]

    assert in_child(child) == 0
