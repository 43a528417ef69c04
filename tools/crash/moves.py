"""What if the clock jumps, the store is moved, or somebody copies it?  Nothing is lost, and a copy is a copy.

* The clock goes back and forth, stands still, and says what no clock can, while a store is written to and kept in step
  with a folder: commits stay in order, old ones are collected as before, and no change of a file is missed.
* The store's folder is moved, while it is closed and while it is open for reading and for writing.
* It is copied with `cp`, `tar` and plain reads while nobody writes: each copy opens, verifies, goes on by itself.
* It is opened, made and copied where the kernel says that a network's file system is; nothing comes of it.
* It is backed up while somebody writes, by backups that are killed, and although it is damaged (`backups`).
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import mctree
from mctree.errors import MctreeError, PlaceError
from mctree.ingest import ingest
from mctree.storage import place
from mctree.testing.stores import assert_whole
from tools.crash.aged import ENCODER, SEED, back_up, make, state, write_to
from tools.crash.backups import back_up_damaged, back_up_under_fire, kill_backups
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, count, everything

__all__ = ["PART", "copy", "jump", "move", "refuse_networks", "run"]

_POINTS = {
    "quick": {"clocks": 40, "moves": 10, "copies": 1, "backups": 8, "kills": 24, "damages": 24},
    "long": {"clocks": 2000, "moves": 300, "copies": 20, "backups": 300, "kills": 400, "damages": 1500},
}
_REMOTE = ("sshfs", "s3fs", "rclone", "gcsfuse", "glusterfs", "juicefs", "vmhgfs-fuse", "nfs-ganesha")
"""File systems in user space, as the table of mounts names them."""


# Time


def jump(scratch: Path, points: int) -> Iterator[str]:
    """Keep a store in step with a folder while the clock says anything; yields what was tried.

    Raises:
        AssertionError: something was missed, lost or out of order.
    """
    draw = random.Random(SEED)
    folder, path = scratch / "folder", scratch / "store"
    folder.mkdir()
    years = 365 * 86400 * 10**9
    for i in range(points):
        name = f"{draw.randrange(4)}.txt"
        change = draw.choice(("write", "write", "same size", "touch", "remove"))
        if change == "write":
            (folder / name).write_bytes(draw.randbytes(20).hex().encode() * draw.randrange(1, 40))
        elif (folder / name).exists() and change == "same size":
            (folder / name).write_bytes((folder / name).read_bytes()[::-1])
        elif (folder / name).exists() and change == "touch":
            os.utime(folder / name, ns=(draw.randrange(1 << 62), draw.randrange(1 << 62)))
        elif (folder / name).exists():
            (folder / name).unlink()
        (folder / "always.txt").write_bytes(f"{i}".encode())
        real = time.time_ns()
        now = draw.choice((real + draw.randrange(-30, 30) * years, real, 0, -1, 1, real + 10**9, real - 10**9))
        clock = draw.choice((lambda now=now: now, lambda now=now: now + time.monotonic_ns() % 10**12))
        with mock.patch("time.time_ns", clock):
            ingest([folder], path, names=["in"], tokenizer="bytes", encoder="none", chunk_bytes=1 << 16)
        with mctree.open(path) as tree:
            with tree.snapshot() as snapshot:
                found = {document.name: document.read() for document in snapshot.documents()}
            numbers = [commit.number for commit in tree.commits()]
            if i % 16 == 15:
                assert_whole(tree)
        assert found == {f"in/{file.name}": file.read_bytes() for file in folder.iterdir()}, f"at clock {now}"
        assert numbers == sorted(set(numbers))
        assert len(numbers) <= 64 + 16 + 1, "old commits are not collected"
        yield f"{change} at clock {now}"


# Place


def move(scratch: Path, points: int) -> Iterator[str]:
    """Move a store about while it is read and written to; yields what was tried.

    Raises:
        AssertionError: somebody who had it open saw something else, or what was written is not there.
    """
    draw = random.Random(SEED)
    (scratch / "0").mkdir()
    path, expected = make(scratch / "0" / "store"), 0
    for i in range(points):
        to = scratch / f"{i + 1}"
        to.mkdir()
        to = to / "store"
        before = state(path)
        with mctree.open(path, encoders=[ENCODER]) as tree, tree.snapshot() as snapshot:
            tokens, sent = snapshot.view().copy(), pickle.dumps(snapshot)
            how = draw.choice(("reading", "writing", "committed"))
            writer = tree.writer() if how != "reading" else None
            if how == "committed" and writer is not None:
                writer.add(f"before {i}", b"text " * 99)
                writer.commit()
            path.rename(to)
            if writer is not None:
                writer.add(f"after {i}", b"text " * 99)
                writer.commit()
                writer.close()
                expected += 1 + (how == "committed")
            assert (snapshot.view() == tokens).all()
            assert snapshot.document("19").read()
            with suppress(MctreeError):
                pickle.loads(sent)
                raise AssertionError("a snapshot of what was moved away opened")
            with suppress(MctreeError):
                tree.writer()
                raise AssertionError("a writer opened where nothing is")
        after = state(to)
        assert {number: after[number] for number in after if number in before}.items() <= before.items()
        with mctree.open(to) as tree:
            names = {document.name for document in tree.snapshot().documents()}
            assert sum(name.startswith(("before", "after")) for name in names) == expected
        path = to
        yield f"moved while {how}"
    write_to(path)


def copy(scratch: Path) -> Iterator[str]:
    """Copy a store in every way that there is while nobody writes; yields what was tried.

    Raises:
        AssertionError: a copy is not the same, or does not go on by itself.
    """
    source = make(scratch / "source")
    wanted = state(source)
    ways: dict[str, Callable[[Path], object]] = {
        "cp -r": lambda to: _command("cp", "-r", source, to),
        "cp -a": lambda to: _command("cp", "-a", source, to),
        "cp, all holes filled": lambda to: _command("cp", "-r", "--sparse=never", source, to),
        "cp, all zeros as holes": lambda to: _command("cp", "-r", "--sparse=always", source, to),
        "tar": lambda to: _tarred(source, to),
        "plain reads": lambda to: _plain(source, to),
        "without empty folders and locks": lambda to: _bare(source, to),
        "mctree backup": lambda to: back_up(source, to),
    }
    for n, (what, way) in enumerate(ways.items()):
        to = scratch / f"copy {n}"
        way(to)
        assert state(to) == wanted, f"{what}: the copy is another"
        write_to(to, f"after {what}")
        assert state(source) == wanted, f"{what}: writing to the copy changed what it is a copy of"
        yield what


def refuse_networks(scratch: Path) -> Iterator[str]:
    """Open and make stores in every file system of a network that is known; yields what was tried.

    There is none here that could be used: what the kernel answers is made up.

    Raises:
        AssertionError: a store was opened or made there, or one was refused where it may be.
    """
    path, new = make(scratch / "store"), scratch / "new"
    remote = [*((magic, "") for magic in place._NETWORK), *((place._FUSE, f"fuse.{name}") for name in _REMOTE)]
    local = [(0xEF53, "ext4"), (0x01021994, "tmpfs"), (place._FUSE, "fuseblk"), (place._FUSE, "fuse.mergerfs")]
    uses: dict[str, Callable[[], object]] = {
        "opened": lambda: mctree.open(path, writable=False).close(),
        "made": lambda: mctree.create(new).close(),
    }
    for magic, name in (*remote, *local):
        with (
            mock.patch.object(place, "_magic", lambda at, magic=magic: magic),
            mock.patch.object(place, "_mounted_as", lambda device, name=name: name),
        ):
            for what, use in uses.items():
                is_refused = False
                try:
                    use()
                except PlaceError:
                    is_refused = True
                where = f"{what} on {name or hex(magic)}"
                assert is_refused or (magic, name) in local, f"a store is {where}, which is a network's"
                assert not is_refused or (magic, name) not in local, f"a store is not {where}, which is local"
                assert new.exists() == (what == "made" and not is_refused), "half a store was made"
                shutil.rmtree(new, ignore_errors=True)
                yield where


def _command(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


def _tarred(source: Path, to: Path) -> None:
    to.mkdir()
    _command("tar", "-C", source, "-cSf", to.with_suffix(".tar"), ".")
    _command("tar", "-C", to, "-xf", to.with_suffix(".tar"))


def _plain(source: Path, to: Path) -> None:
    shutil.copytree(source, to, copy_function=lambda one, other: Path(other).write_bytes(Path(one).read_bytes()))


def _bare(source: Path, to: Path) -> None:
    _plain(source, to)
    for name in ("lock", "index.lmdb/lock.mdb", "head"):
        (to / name).unlink(missing_ok=True)
    for above, _, _ in os.walk(to, topdown=False):
        with suppress(OSError):
            Path(above).rmdir()


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Try times and places."""
    points = _POINTS[scale]
    result = Result()
    kinds: tuple[tuple[str, Callable[[Path], Iterator[str]]], ...] = (
        ("syncs while the clock jumps", lambda folder: jump(folder, points["clocks"])),
        ("moves of the folder while it is read and written", lambda folder: move(folder, points["moves"])),
        *((("copies of a store at rest", copy),) * points["copies"]),
        ("stores in file systems of networks, by what the kernel calls them", refuse_networks),
        ("backups under a writer that is killed", lambda folder: back_up_under_fire(folder, points["backups"])),
        ("backups killed at changes to the file system", lambda folder: kill_backups(folder, points["kills"])),
        ("backups of stores with a flipped bit", lambda folder: back_up_damaged(folder, points["damages"])),
    )
    rows: dict[str, Row] = {}
    for what, kind in kinds:
        if not wants(what):
            continue
        row = rows.setdefault(what, Row(what))
        folder = scratch / "moves"
        folder.mkdir()
        count(row, kind(folder))
        shutil.rmtree(folder)
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
    result.rows.extend(rows.values())
    return result


PART = Part("moves", "clock jumps, moves, copies, backups: nothing lost, and every copy is of one commit", run)
