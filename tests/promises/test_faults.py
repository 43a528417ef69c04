"""A disk that fails loses nothing that was acknowledged, ends no reader, and is told of once: as the suite runs it."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import lmdb
import pytest

from mctree.format.arrays import ArrayLayout
from mctree.format.commits import Commit
from mctree.storage import chunks, leases, session
from mctree.storage.chunks import ArrayWriter, generation_name, publish
from mctree.storage.environment import Environment
from mctree.storage.files import opened, pwrite_all
from mctree.storage.session import Session
from mctree.storage.store import Store
from mctree.testing.stores import scratch
from tools.crash import faults
from tools.crash.failing import Call, Ending, Plan, supervised
from tools.crash.lives import LIVES
from tools.crash.stopped import DONE_ANYWAY
from tools.crash.sweep import prepare

Patch = pytest.MonkeyPatch


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


def test_a_disk_that_fails_is_told_of_and_loses_nothing(folder: Path) -> None:
    result = faults.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert len(result.rows) == (len(faults.PLANS) + 3) * len(LIVES)
    assert result.points >= 70


@pytest.fixture(scope="module")
def prepared() -> Iterator[str]:
    with scratch() as folder:
        prepare(Path(folder))
        yield folder


def first(prepared: str, act: str, does: str, file: str, last: bool = False) -> int:
    """The number of the first (or last) call of a kind on a file, which may be a pattern, in an act."""
    calls = [(when, call) for when, call in enumerate(faults.calls_of(prepared, act), 1)]
    found = [when for when, call in calls if call.does == does and fnmatchcase(call.file, f"store/{file}")]
    assert found, f"{does} of {file} is none of the calls"
    return found[-1 if last else 0]


TOKENS = ("append", "sync", "text/lod0/c.0")


def a_failed_sync_is_not_told(patch: Patch) -> None:
    def sync(self: ArrayWriter) -> None:
        try:
            real(self)
        except OSError:
            self._dirty.clear()

    real = ArrayWriter.sync
    patch.setattr(ArrayWriter, "sync", sync)


def a_failed_sync_is_tried_again(patch: Patch) -> None:
    def sync(self: ArrayWriter) -> None:
        try:
            real(self)
        except OSError:
            real(self)

    real = ArrayWriter.sync
    patch.setattr(ArrayWriter, "sync", sync)


def a_writer_goes_on_after_a_failure(patch: Patch) -> None:
    def check(self: Session) -> None:
        self._failed = None

    patch.setattr(Session, "check", check)


def the_error_is_the_systems_own(patch: Patch) -> None:
    def fail(self: Session, error: OSError) -> None:
        raise error

    patch.setattr(Session, "_fail", fail)


def readers_end_when_lmdb_has_given_up(patch: Patch) -> None:
    def open_again(self: Environment, given_up: lmdb.Environment) -> None:
        pass

    patch.setattr(Environment, "_open_again", open_again)


def readers_need_a_lease(patch: Patch) -> None:
    patch.setattr(leases, "_NO_LEASE", ())


def readers_note_that_they_read(patch: Patch) -> None:
    def hold(self: Store, number: int | None) -> Commit:
        with opened("read", os.O_RDWR | os.O_CREAT, self.at) as fd:
            os.pwrite(fd, b"once more", 0)
        return real(self, number)

    real = Store.hold
    patch.setattr(Store, "hold", hold)


def a_rename_that_failed_is_undone(patch: Patch) -> None:
    """The second name of the generation before is taken away, as it has its first one still, unless that was done."""

    def undoing(at: int, array: int, layout: ArrayLayout, chunk: int, old: int, new: int) -> None:
        try:
            publish(at, array, layout, chunk, old, new)
        except OSError:
            os.unlink(generation_name(array, chunk, old), dir_fd=at)
            raise

    patch.setattr(session, "publish", undoing)


def what_finds_no_room_is_left_out(patch: Patch) -> None:
    def write(fd: int, data: bytes | memoryview, offset: int) -> None:
        try:
            pwrite_all(fd, data, offset)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    patch.setattr(chunks, "pwrite_all", write)


FAULTS: dict[Callable[[Patch], None], tuple[tuple[str, str, str], Plan, str]] = {
    a_failed_sync_is_not_told: (TOKENS, Plan(0, errno.EIO), "nobody was told that a sync failed"),
    a_failed_sync_is_tried_again: (TOKENS, Plan(0, errno.EIO), "again after it had failed"),
    a_writer_goes_on_after_a_failure: (TOKENS, Plan(0, errno.EIO), "the writer goes on working"),
    the_error_is_the_systems_own: (TOKENS, Plan(0, errno.EIO), "is not a clear one: OSError"),
    readers_end_when_lmdb_has_given_up: (
        ("append", "write", "index.lmdb/data.mdb"),
        Plan(0, errno.EIO),
        "a reader meanwhile",
    ),
    readers_need_a_lease: (TOKENS, Plan(0, errno.ENOSPC, for_ever=True), "a reader meanwhile: OSError"),
    readers_note_that_they_read: (TOKENS, Plan(0, errno.EIO, for_ever=True), "a reader meanwhile: OSError"),
    a_rename_that_failed_is_undone: (
        ("refresh", "rename", "generations/*"),
        Plan(0, errno.EIO, anyway=True),
        "a reader meanwhile: .* held, and was opened anew, reads something else",
    ),
    what_finds_no_room_is_left_out: (
        ("append", "write", "text/lod0/c.0"),
        Plan(0, errno.ENOSPC),
        r"node 1:\d+ its tokens are not those that were committed",
    ),
}
"""Each with the call that fails, how it does, and the words in which the fault is told."""


@pytest.mark.damages
@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(prepared: str, monkeypatch: Patch, plant: Callable[[Patch], None]) -> None:
    (act, does, file), plan, sign = FAULTS[plant]
    when = first(prepared, act, does, file, last=file.endswith(".mdb"))
    point = faults.Point(prepared, act, replace(plan, when=when))
    assert faults.attempt(point).problems == ()
    plant(monkeypatch)
    found = faults.attempt(point).problems
    assert any(re.search(sign, problem) for problem in found), found


def test_calls_of_lmdb_itself_are_seen(prepared: str) -> None:
    calls = faults.calls_of(prepared, "append")
    assert Call("fdatasync", "sync", "store/index.lmdb/data.mdb") in calls
    assert Call("pwrite64", "write", "store/index.lmdb/data.mdb") in calls
    assert {"write", "sync", "make"} <= {call.does for call in calls}
    assert not any(os.path.isabs(call.file) for call in calls)


def _make_everything_change(folder: str, say: Callable[[str], object]) -> None:
    """Make each kind of call that changes something, whether the one before it failed or not."""
    at = os.open(folder, os.O_RDONLY)
    fd = os.open("file", os.O_RDWR | os.O_CREAT, dir_fd=at)
    libc = ctypes.CDLL(None, use_errno=True)

    def exchange() -> None:
        if libc.renameat2(at, b"other", at, b"moved", 2):
            raise OSError(ctypes.get_errno(), "renameat2")

    calls: tuple[Callable[[], object], ...] = (
        lambda: os.write(fd, b"written"),
        lambda: os.writev(fd, [b" and ", b"more"]),
        lambda: os.pwrite(fd, b"W", 0),
        lambda: os.pwritev(fd, [b"R", b"I"], 1),
        lambda: os.fsync(fd),
        lambda: os.fdatasync(fd),
        lambda: os.posix_fallocate(fd, 0, 40),
        lambda: os.ftruncate(fd, 30),
        lambda: os.truncate(f"{folder}/file", 20),
        lambda: os.mkdir("below", dir_fd=at),
        lambda: os.mkdir(f"{folder}/below/it"),
        lambda: os.close(os.open("other", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=at)),
        lambda: os.link("file", "below/link", src_dir_fd=at, dst_dir_fd=at),
        lambda: os.link(f"{folder}/file", f"{folder}/another"),
        lambda: os.rename("file", "moved", src_dir_fd=at, dst_dir_fd=at),
        exchange,
        lambda: os.rename(f"{folder}/another", f"{folder}/renamed"),
        lambda: os.unlink("below/link", dir_fd=at),
        lambda: os.rmdir(f"{folder}/below/it"),
        lambda: os.unlink(f"{folder}/renamed"),
    )
    for n, call in enumerate(calls):
        try:
            call()
        except OSError as error:
            say(f"{n}: {errno.errorcode[error.errno or 0]}")


def test_a_call_that_fails_although_done_was_done(tmp_path: Path) -> None:
    def lived(name: str, plan: Plan | None = None) -> tuple[Ending, dict[str, tuple[int, bytes]]]:
        folder = tmp_path / name
        folder.mkdir()
        ending = supervised(str(folder), partial(_make_everything_change, str(folder)), plan)
        found = {
            str(path.relative_to(folder)): (path.stat().st_mode, b"" if path.is_dir() else path.read_bytes())
            for path in folder.rglob("*")
        }
        return ending, found

    undisturbed, wanted = lived("undisturbed")
    assert undisturbed.said == []
    assert wanted["other"][1] == b"WRItten and more" + bytes(4)
    assert {call.does for call in undisturbed.calls} == DONE_ANYWAY
    for when, call in enumerate(undisturbed.calls, 1):
        if call.does == "make" and call.file == "file":
            continue  # whose descriptor the rest needs
        ending, found = lived(f"{when}", Plan(when, errno.EIO, anyway=True))
        assert [said.partition(": ")[2] for said in ending.said] == ["EIO"], call
        assert ending.status == 0
        assert found == wanted, call
