"""One process writes at a time: the harness as the suite runs it, and faults for it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mctree.errors import LockedError
from mctree.storage import lock
from mctree.storage.files import open_file
from mctree.storage.lock import LOCK_NAME, WriterLock
from mctree.testing.stores import scratch
from tools.crash import writers
from tools.crash.writers import Tries

Patch = pytest.MonkeyPatch


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


def test_one_process_writes_at_a_time(folder: Path) -> None:
    result = writers.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert len(result.rows) == 4
    assert result.points >= 70


class Locks:
    """The module `fcntl`, as one room sees it."""

    def __init__(self, flock: Callable[[int, int], None]) -> None:
        self.flock = flock

    def __getattr__(self, name: str) -> object:
        return getattr(fcntl, name)


def locking(patch: Patch, flock: Callable[[int, int], None]) -> None:
    """Let writers, and nobody else, lock so."""
    patch.setattr(lock, "fcntl", Locks(flock))


def everybody_gets_the_lock(patch: Patch, folder: Path) -> Tries:
    locking(patch, lambda fd, how: None)
    return writers.refuse(folder, 1)


def two_write_at_once(patch: Patch, folder: Path) -> Tries:
    locking(patch, lambda fd, how: None)
    return writers.contend(folder, 200)


def a_second_writer_waits(patch: Patch, folder: Path) -> Tries:
    locking(patch, lambda fd, how: fcntl.flock(fd, how & ~fcntl.LOCK_NB))
    patch.setattr(writers, "_ATTEMPTS", 2)
    return writers.refuse(folder, 1, ("a forked process",))


def nobody_says_who_writes(patch: Patch, folder: Path) -> Tries:
    patch.setattr(lock, "pwrite_all", lambda fd, data, offset: None)
    return writers.refuse(folder, 1)


def the_note_is_the_lock(patch: Patch, folder: Path) -> Tries:
    """A lock that is a file, as others have it: who is killed leaves it."""
    take, release = WriterLock.__init__, WriterLock.release

    def init(self: WriterLock, at: int, where: str) -> None:
        fd = open_file(LOCK_NAME, os.O_RDWR | os.O_CREAT, at)
        noted = os.pread(fd, 256, 0).strip(b"\0 \n")
        os.close(fd)
        if noted:
            raise LockedError(f"{where} is being written to by {noted.decode()}")
        take(self, at, where)

    def free(self: WriterLock) -> None:
        if self.held:
            os.ftruncate(self._fds[0], 0)
        release(self)

    patch.setattr(WriterLock, "__init__", init)
    patch.setattr(WriterLock, "release", free)
    return writers.kill_writers(folder, 12)


def a_child_keeps_the_lock(patch: Patch, folder: Path) -> Tries:
    """What a child inherits stays open in it, and the parent only closes its own."""
    release = WriterLock.release

    def free(self: WriterLock) -> None:
        if self._pid == os.getpid():
            release(self)
        self.held = False

    patch.setattr(WriterLock, "release", free)
    locking(patch, lambda fd, how: None if how == fcntl.LOCK_UN else fcntl.flock(fd, how))
    return writers.fork_writers(folder, 1)


def a_child_believes_that_it_holds_the_lock(patch: Patch, folder: Path) -> Tries:
    release = WriterLock.release

    def free(self: WriterLock) -> None:
        release(self)
        self.held = self._pid != os.getpid()

    patch.setattr(WriterLock, "release", free)
    return writers.fork_writers(folder, 1)


MUTANTS: dict[Callable[[Patch, Path], Tries], str] = {
    everybody_gets_the_lock: "a second writer goes to work",
    two_write_at_once: "two write(s)? at once",
    a_second_writer_waits: "is not refused within a second",
    nobody_says_who_writes: "is not told that .* writes: .*an unknown process",
    the_note_is_the_lock: "a lock left by a killed writer is not free",
    a_child_believes_that_it_holds_the_lock: "a forked child that writes is told: (BusyError|nothing)",
    a_child_keeps_the_lock: "a forked child holds the lock of its parent",
}
"""Each with the words that tell of it."""


@pytest.mark.damages
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_planted_faults_are_found(folder: Path, monkeypatch: Patch, mutant: Callable[[Patch, Path], Tries]) -> None:
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match=MUTANTS[mutant]):
        list(mutant(patch, folder))
