"""What if there is no room, or nobody may write?  A full disk, a limit on the size of files, a read-only medium.

Unlike in `faults`, the errors are the system's own, and come with all that belongs to them: writes that are cut short,
maps that cannot be filled, signals.  A disk is made full in a name space of the child's own: a file system in memory,
of which nothing is left when the child has ended.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import mctree
from mctree.errors import MctreeError, ReadOnlyError
from tools.crash.disks import mount, take_mounts
from tools.crash.life import Life
from tools.crash.parts import Row, Say, Scale, timed
from tools.crash.suffering import attempt_within
from tools.crash.victims import in_judgement

__all__ = ["KINDS", "fill_disk", "limit_files", "live_below_limit", "live_on_small_disk", "make_read_only"]

_FULL, _LIMITED = "a full disk (tmpfs)", "a limit on the size of files"
_READ_ONLY_MEDIUM = "a read-only medium, and a user who may only read"
_DISK = 3 << 20
_DISK_STEP: dict[Scale, int] = {"quick": 400 << 10, "long": 8 << 10}
_FILE = 512 << 10
_FILE_STEP: dict[Scale, int] = {"quick": 176 << 10, "long": 4 << 10}
_ACTS_APART: dict[Scale, int] = {"quick": 4, "long": 1}
_READ_ONLY, _REMOUNT, _BIND = 1, 32, 4096


def fill_disk(life: Life, scale: Scale, scratch: Path, say: Say) -> Row:
    """Let a store live on disks of all sizes, so that each is full at another moment."""
    row = Row(_FULL + life.within)
    life.foresee()  # before anything fails
    with timed(row):
        for size in _some(range(_DISK_STEP[scale], _DISK, _DISK_STEP[scale]), life):
            row.points += 1
            found = in_judgement(partial(live_on_small_disk, life, scratch, size))
            row.failures += [f"a disk of {size} bytes: {problem}" for problem in found]
            if row.points % 20 == 0:
                say(f"{row.what}: {row.points} points, {len(row.failures)} failures")
    return row


def _some(sizes: range, life: Life) -> range:
    """Those sizes that a life is tried at."""
    return sizes[life.weight // 2 :: life.weight]


def live_on_small_disk(life: Life, scratch: Path, size: int) -> list[str]:
    """In a child: let a store live on a disk of so many bytes; what is wrong."""
    disk = scratch / "disk"
    disk.mkdir(exist_ok=True)
    take_mounts()
    mount("tmpfs", disk, "tmpfs", 0, f"size={size}")
    path = str(disk / "store")
    acknowledged, problems = attempt_within(life, path)
    mount("tmpfs", disk, "tmpfs", _REMOUNT, f"size={size + _DISK}")
    return [*problems, *in_judgement(lambda: life.judge(path, acknowledged))]


def limit_files(life: Life, scale: Scale, scratch: Path, say: Say) -> Row:
    """Let a store live where no file may be longer than a limit; what happens at the limit is an error, or a signal."""
    row = Row(_LIMITED + life.within)
    life.foresee()  # before anything fails
    with timed(row):
        for size in _some(range(4096, _FILE, _FILE_STEP[scale]), life):
            for action in (signal.SIG_IGN, signal.SIG_DFL):
                row.points += 1
                found = in_judgement(partial(live_below_limit, life, scratch, size, action))
                row.failures += [f"files of at most {size} bytes, {action.name}: {problem}" for problem in found]
    say(f"{row.what}: {row.points} points, {len(row.failures)} failures")
    return row


def live_below_limit(life: Life, scratch: Path, size: int, action: signal.Handlers) -> list[str]:
    """Let a store live in a child whose files may have so many bytes; what is wrong."""
    folder = scratch / "limited"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = str(folder / "store")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, action)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    acknowledged, problems = attempt_within(life, path, limit, may_die=action is signal.SIG_DFL)
    return [*problems, *in_judgement(lambda: life.judge(path, acknowledged))]


def make_read_only(life: Life, scale: Scale, scratch: Path, say: Say) -> Row:
    """Let a store be read where it cannot be written to: a medium that is read-only, and a user who may not."""
    row = Row(_READ_ONLY_MEDIUM + life.within)
    life.foresee()  # before anything fails
    folder = scratch / f"read-only{life.within}"
    folder.mkdir()
    path = folder / "store"
    acknowledged: list[str] = []
    with timed(row):
        for n, act in enumerate(life.acts):
            life.live(str(path), acknowledged.append, [act])
            for forbid in (_forbid_by_mount, _forbid_by_mode) if not (n + 1) % _ACTS_APART[scale] else ():
                row.points += 1
                found = in_judgement(partial(_read_only, life, forbid, folder, acknowledged))
                row.failures += [f"after {act}, {forbid.__name__.strip('_')}: {problem}" for problem in found]
    say(f"{row.what}: {row.points} points, {len(row.failures)} failures")
    return row


def _read_only(life: Life, forbid: Callable[[Path], None], folder: Path, acknowledged: Sequence[str]) -> list[str]:
    forbid(folder)
    path = str(folder / "store")
    try:
        life.settle(path, acknowledged)
    except (AssertionError, MctreeError, OSError) as error:
        return [f"a reader is told {type(error).__name__}: {error}"]
    problems = []
    with mctree.open(path, encoders=life.encoders) as tree:
        for begin in (tree.writer, tree.compact):
            try:
                begin()
                problems.append("a writer goes to work")
            except ReadOnlyError:
                pass
            except MctreeError as error:
                problems.append(f"the writer is told {type(error).__name__}: {error}")
    return problems


def _forbid_by_mount(folder: Path) -> None:
    take_mounts()
    mount(str(folder), folder, "", _BIND, "")
    mount("", folder, "", _REMOUNT | _BIND | _READ_ONLY, "")


def _forbid_by_mode(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chmod(folder.parent, 0o755)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)  # who owns nothing, and may write nothing here
    else:
        for place, folders, names in os.walk(folder):
            for name in [*folders, *names]:
                os.chmod(os.path.join(place, name), 0o555)


KINDS: dict[str, Callable[[Life, Scale, Path, Say], Row]] = {
    _FULL: fill_disk,
    _LIMITED: limit_files,
    _READ_ONLY_MEDIUM: make_read_only,
}
"""What tries a row, by what the row of the life of texts is called."""
