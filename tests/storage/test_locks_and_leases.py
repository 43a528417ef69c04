"""One writer at a time, and no commit is freed that a living process holds."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mctree.errors import LockedError
from mctree.storage.files import open_directory
from mctree.storage.leases import LEASES_NAME, Leases, held_commits
from mctree.storage.lock import WriterLock

HOLD_LOCK = """
import sys
from mctree.storage.files import open_directory
from mctree.storage.lock import WriterLock
lock = WriterLock(open_directory(sys.argv[1]), sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""
HOLD_LEASE = """
import sys
from mctree.storage.files import open_directory
from mctree.storage.leases import Leases
leases = Leases(open_directory(sys.argv[1]))
for commit in sys.argv[2:]:
    leases.acquire(int(commit))
print("ready", flush=True)
sys.stdin.read()
"""
SLOW_CHILD = """
import os, sys
os.register_at_fork(after_in_child=sys.stdin.readline)  # before anything of the engine runs there
from mctree.storage.files import open_directory
from mctree.storage.leases import Leases
leases = Leases(open_directory(sys.argv[1]))
leases.acquire(3, 4)
if os.fork() == 0:
    leases.release(3)
    sys.stdin.read()
    os._exit(0)
leases.release(3)
leases.close()
print("ready", flush=True)
os.wait()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / LEASES_NAME).mkdir()
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    def run(code: str, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    return run


def end(process: subprocess.Popen[str], how: int = signal.SIGKILL) -> None:
    process.send_signal(how)
    process.communicate()


def test_a_second_writer_is_told_at_once_who_the_first_is(folder: Path, start: Callable) -> None:
    process = start(HOLD_LOCK)
    at = open_directory(folder)
    try:
        with pytest.raises(LockedError, match=f"process {process.pid} on "):
            WriterLock(at, "the store")
        end(process)
        WriterLock(at, "the store").release()  # a killed holder holds nothing
    finally:
        os.close(at)


def test_the_same_process_cannot_write_twice(folder: Path) -> None:
    at = open_directory(folder)
    lock = WriterLock(at, "the store")
    with pytest.raises(LockedError, match=f"process {os.getpid()} on "):
        WriterLock(at, "the store")
    lock.release()
    lock.release()
    WriterLock(at, "the store").release()
    os.close(at)


def test_a_note_that_somebody_left_is_told_in_one_printable_line(folder: Path) -> None:
    """Found by reading: who locks the file without writing a note lets what stood there before be printed."""
    (folder / "lock").write_bytes(b"\x1b[2J\nprocess 1\0 \xff")
    at = open_directory(folder)
    with (folder / "lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="process 1") as told:
            WriterLock(at, "the store")
    os.close(at)
    assert str(told.value).isprintable()


def test_a_forked_child_neither_holds_nor_uses_the_lock(folder: Path) -> None:
    at = open_directory(folder)
    lock = WriterLock(at, "the store")
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"held" if lock.held else b"free")
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(ready[0], 4) == b"free"
    assert lock.held
    lock.release()
    WriterLock(at, "the store").release()  # although the child is still alive
    os.write(go[1], b".")
    os.waitpid(pid, 0)
    for fd in (*ready, *go, at):
        os.close(fd)


def test_leases_are_seen_by_others_and_die_with_their_process(folder: Path, start: Callable) -> None:
    at = open_directory(folder)
    mine = Leases(at)
    mine.acquire(7)
    mine.acquire(7)
    process = start(HOLD_LEASE, "3", "9", "3")
    assert held_commits(at) == {3, 7, 9}
    mine.release(7)
    assert held_commits(at) == {3, 7, 9}
    mine.release(7)
    assert held_commits(at) == {3, 9}
    end(process)
    assert held_commits(at) == set()
    mine.acquire(2)
    assert held_commits(at) == {2}
    mine.close()
    assert held_commits(at) == set()
    assert list((folder / LEASES_NAME).iterdir()) == []
    os.close(at)


def test_a_torn_lease_holds_everything(folder: Path) -> None:
    at = open_directory(folder)
    leases = Leases(at)
    leases.acquire(5)
    (name,) = (folder / LEASES_NAME).iterdir()
    whole = name.read_bytes()
    with name.open("r+b") as file:  # in place: a new file would not be locked
        file.seek(8)
        file.write(b"\x06")
        file.flush()
        assert held_commits(at) is None
        file.seek(0)
        file.write(whole)
    assert held_commits(at) == {5}
    leases.close()
    os.close(at)


def test_a_forked_child_keeps_what_its_parent_held(folder: Path, start: Callable) -> None:
    code = HOLD_LEASE.replace(
        'print("ready", flush=True)', 'import os, time\nif os.fork() == 0: time.sleep(60)\nprint("ready", flush=True)'
    )
    process = start(code, "4")
    at = open_directory(folder)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    assert held_commits(at) == {4}
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while held_commits(at) != set() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held_commits(at) == set()
    os.close(at)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def test_a_fork_leaves_no_lock_taken_and_no_descriptor_open(folder: Path) -> None:
    at = open_directory(folder)
    held = [Leases(at), Leases(at)]
    for one in held:
        one.acquire(5)
    before = sorted(os.listdir("/proc/self/fd"))
    child = os.fork()
    if not child:
        os._exit(0 if held_commits(at) == {5} else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(os.listdir("/proc/self/fd")) == before
    with ThreadPoolExecutor(1) as pool:
        for one in held:
            pool.submit(one.release, 5).result(10)
            pool.submit(one.close).result(10)
    assert held_commits(at) == set()
    assert list((folder / LEASES_NAME).iterdir()) == []
    os.close(at)


def test_a_forked_child_keeps_what_its_parent_lets_go_of_before_it_runs(folder: Path, start: Callable) -> None:
    """Found by reading: the child took its lease when it ran, and until then there was none."""
    process = start(SLOW_CHILD)
    at = open_directory(folder)
    assert held_commits(at) == {3, 4}
    process.stdin.write("go on\n")
    process.stdin.flush()
    deadline = time.monotonic() + 10
    while held_commits(at) != {4} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held_commits(at) == {4}
    process.communicate()
    assert held_commits(at) == set()
    assert list((folder / LEASES_NAME).iterdir()) == []
    os.close(at)
