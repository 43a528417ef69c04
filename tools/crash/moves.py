"""What if the clock jumps, the store is moved, or somebody copies it?  Nothing is lost, and a copy is a copy.

* The clock goes back and forth, stands still, and says what no clock can, while a store is written to and kept in step
  with a folder: commits stay in order, old ones are collected as before, and no change of a file is missed.
* The store's folder is moved, while it is closed and while it is open for reading and for writing.
* It is copied with `cp`, `tar` and plain reads while nobody writes: each copy opens, verifies, goes on by itself.
* It is backed up while a process appends, refreshes and compacts, and is killed now and then: each copy is of one
  commit.
* Backups are killed at any change they make to the file system, and made of damaged stores: no copy, or a whole one.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import mctree
from mctree.errors import CorruptError, MctreeError
from mctree.ingest import ingest
from mctree.testing.processes import KILLED, UNFIT, forked, in_child, kill_after
from mctree.testing.stores import assert_whole
from mctree.testing.toys import ToyEncoder
from tools.crash.parts import Part, Result, Row, Say, Scale, timed

__all__ = ["PART", "back_up_damaged", "back_up_under_fire", "copy", "jump", "kill_backups", "move", "run"]

_ENCODER = ToyEncoder(dim=16)
_SEED = 11
_POINTS = {
    "quick": {"clocks": 40, "moves": 10, "copies": 1, "backups": 8, "kills": 24, "damages": 24},
    "long": {"clocks": 2000, "moves": 300, "copies": 20, "backups": 300, "kills": 400, "damages": 1500},
}


def make(path: Path, seed: int = 0) -> Path:
    """A small store with generations, deaths, a tail and commits to travel to."""
    with mctree.create(path, chunk_bytes=1 << 16, keep=3, encoders=[_ENCODER]) as tree:
        tree.build_gists(_ENCODER)
        for i in range(20):
            with tree.writer() as writer:
                writer.add(f"{i}", f"text {seed} number {i} ".encode() * 30)
                if i >= 3:
                    writer.remove(f"{i - 3}")
                if i == 2:
                    writer.begin("open").write("a tail")
            if i % 7 == 6:
                tree.refresh_gists()
    return path


def state(path: Path) -> dict[int, str]:
    """What a store holds at each commit that opens, as digests; it is verified first."""
    found = {}
    with mctree.open(path, writable=False, encoders=[_ENCODER]) as tree:
        assert_whole(tree)
        for commit in tree.commits():
            with tree.snapshot(commit.number) as snapshot:
                digest = hashlib.blake2b(snapshot.view().tobytes())
                for document in snapshot.documents():
                    digest.update(document.source + document.read())
                for view in snapshot.gist_sets():
                    for level in range(1, view.levels + 1):
                        digest.update(view.level(level).read(0, view.rows(level)).tobytes())
                found[commit.number] = digest.hexdigest()
    return found


def write_to(path: Path, name: str = "another") -> None:
    """Go on with a store, in all ways."""
    with mctree.open(path, encoders=[_ENCODER]) as tree:
        with tree.writer() as writer:
            writer.add(name, b"more text " * 90)
            writer.reopen("open").write(" goes on")
        tree.refresh_gists()
        assert_whole(tree)
        tree.compact()
        assert_whole(tree)
        assert tree.snapshot().document(name).read() == b"more text " * 90


# Time


def jump(scratch: Path, points: int) -> Iterator[str]:
    """Keep a store in step with a folder while the clock says anything; yields what was tried.

    Raises:
        AssertionError: something was missed, lost or out of order.
    """
    draw = random.Random(_SEED)
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
    draw = random.Random(_SEED)
    (scratch / "0").mkdir()
    path, expected = make(scratch / "0" / "store"), 0
    for i in range(points):
        to = scratch / f"{i + 1}"
        to.mkdir()
        to = to / "store"
        before = state(path)
        with mctree.open(path, encoders=[_ENCODER]) as tree, tree.snapshot() as snapshot:
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
        "mctree backup": lambda to: _backed_up(source, to),
    }
    for n, (what, way) in enumerate(ways.items()):
        to = scratch / f"copy {n}"
        way(to)
        assert state(to) == wanted, f"{what}: the copy is another"
        write_to(to, f"after {what}")
        assert state(source) == wanted, f"{what}: writing to the copy changed what it is a copy of"
        yield what


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


def _backed_up(source: Path, to: Path) -> None:
    with mctree.open(source, encoders=[_ENCODER]) as tree:
        tree.backup(to)


# Copies while others write


def write_on(path: Path, seed: int) -> None:
    """Write for ever: in each commit `count` says how many other documents there are."""
    draw = random.Random(seed)
    with mctree.open(path, encoders=[_ENCODER]) as tree:
        while True:
            with tree.writer() as writer, tree.snapshot() as now:
                names = {document.name for document in now.documents()} - {"count"}
                for _ in range(draw.randrange(3)):
                    name = f"of {seed}: {draw.randrange(1000)}"
                    writer.add(name, draw.randbytes(draw.randrange(3000)), replace=True)
                    names.add(name)
                gone = draw.sample(sorted(names & {d.name for d in now.documents()}), min(len(names) // 8, 2))
                for name in gone:
                    with suppress(MctreeError):  # changed in this very commit
                        writer.remove(name)
                        names.discard(name)
                writer.add("count", str(len(names)), replace=True)
            if draw.randrange(6) == 0:
                tree.refresh_gists()
            if draw.randrange(25) == 0:
                tree.compact()


@contextmanager
def writing(path: Path, seed: int) -> Iterator[int]:
    """A process that writes to a store; killed in the end."""
    pid = forked(partial(write_on, path, seed))
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def back_up_under_fire(scratch: Path, points: int) -> Iterator[str]:
    """Back a store up while somebody writes, and is killed every few copies; yields the copy's commit.

    Raises:
        AssertionError: a copy is of no commit, or of one that is older than the copy before.
    """
    path = make(scratch / "fired at")
    last = (0, 0)
    done = 0
    while done < points:
        with writing(path, done):
            for _ in range(min(4, points - done)):
                to = scratch / f"copy {done}"
                with mctree.open(path, encoders=[_ENCODER]) as tree:
                    number = tree.backup(to)
                with mctree.open(to, writable=False, encoders=[_ENCODER]) as tree:
                    assert_whole(tree)
                    for commit in tree.commits():
                        with tree.snapshot(commit.number) as snapshot:
                            _check_count(snapshot)
                    now = (tree.epoch, tree.commits()[-1].number)
                    assert now[1] == number
                assert now >= last, f"copy {now} came after {last}"
                last = now
                done += 1
                shutil.rmtree(to)
                yield f"epoch {now[0]}, commit {now[1]}"


def _check_count(snapshot: mctree.Snapshot) -> None:
    if snapshot.number(b"count"):
        found = [document.read() for document in snapshot.documents() if document.name != "count"]
        said = int(snapshot.document("count").read())
        assert len(found) == said, f"commit {snapshot.commit} has {len(found)} documents and says {said}"


def kill_backups(scratch: Path, points: int) -> Iterator[str]:
    """Kill backups at changes to the file system, one after the other; yields how each ended.

    Raises:
        AssertionError: half a copy stands there, or what was left stays for ever.
    """
    source = make(scratch / "source")
    wanted, to = state(source), scratch / "copy"

    def work(calls: int) -> None:
        with mctree.open(source, encoders=[_ENCODER]) as tree:
            kill_after(calls)
            tree.backup(to)

    tried = (64 << n for n in range(10))
    whole = next((calls for calls in tried if _ended(partial(work, calls)) == 0), 0)
    assert whole, "no backup comes to its end after others were killed"
    shutil.rmtree(to)
    step = max(whole // points, 1)
    for calls in range(0, whole, step):
        ended = _ended(partial(work, calls))
        assert ended in (0, KILLED), f"it ended with {ended}"
        if to.exists():
            assert state(to) == wanted
            shutil.rmtree(to)
        else:
            assert ended == KILLED
        yield f"killed at change {calls}" if ended else "not killed"
    _backed_up(source, to)
    assert state(to) == wanted
    left = [name for name in os.listdir(scratch) if name.endswith(".creating")]
    assert not left, f"{left} was left"
    assert state(source) == wanted


def _ended(work: Callable[[], object]) -> int:
    """How a child ends.

    Raises:
        TypeError: with an error of the code itself, which is no finding about copies.
    """
    if (ended := in_child(work)) == UNFIT:
        raise TypeError("a child has ended with an error of the code itself (see its traceback)")
    return ended


def back_up_damaged(scratch: Path, points: int) -> Iterator[str]:
    """Back up stores in which some bytes are others; yields whether it was refused.

    Raises:
        AssertionError: a copy verifies, and holds something else.
    """
    draw = random.Random(_SEED)
    source = make(scratch / "source")
    wanted = state(source)
    newest = max(wanted)
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and file.stat().st_size]
    for i in range(points):
        damaged, to = scratch / "damaged", scratch / f"copy {i}"
        shutil.copytree(source, damaged)
        file = damaged / draw.choice(files).relative_to(source)
        with file.open("r+b") as opened:
            # Where something is: most of a chunk file is fill.
            at = draw.randrange(min(file.stat().st_size, 1 << 14 if file.name.startswith("c.") else 1 << 40))
            opened.seek(at)
            old = opened.read(1)
            opened.seek(at)
            opened.write(bytes([old[0] ^ 1 << draw.randrange(8)]))

        def work(damaged: Path = damaged, to: Path = to) -> None:
            try:
                _backed_up(damaged, to)
            except CorruptError:
                os._exit(3)

        ended = _ended(work)
        assert ended in (0, 3), f"{file.name} at {at}: it ended with {ended}"
        if ended:
            assert not to.exists(), "half a copy stands there"
        else:
            found = state(to)
            assert found[newest] == wanted[newest], (
                f"{file.relative_to(damaged)} at {at}: the copy holds something else"
            )
            assert found.items() <= wanted.items()
            shutil.rmtree(to)
        shutil.rmtree(damaged)
        yield "refused" if ended else "harmless"


def run(scale: Scale, scratch: Path, say: Say) -> Result:
    """Try times and places."""
    points = _POINTS[scale]
    result = Result()
    kinds: tuple[tuple[str, Callable[[Path], Iterator[str]]], ...] = (
        ("syncs while the clock jumps", lambda folder: jump(folder, points["clocks"])),
        ("moves of the folder while it is read and written", lambda folder: move(folder, points["moves"])),
        *((("copies of a store at rest", copy),) * points["copies"]),
        ("backups under a writer that is killed", lambda folder: back_up_under_fire(folder, points["backups"])),
        ("backups killed at changes to the file system", lambda folder: kill_backups(folder, points["kills"])),
        ("backups of stores with a flipped bit", lambda folder: back_up_damaged(folder, points["damages"])),
    )
    rows: dict[str, Row] = {}
    for what, kind in kinds:
        row = rows.setdefault(what, Row(what))
        folder = scratch / "moves"
        folder.mkdir()
        with timed(row):
            try:
                for _ in kind(folder):
                    row.points += 1
            except (AssertionError, MctreeError, OSError) as error:
                row.failures.append(f"after {row.points} points: {type(error).__name__}: {error}")
        shutil.rmtree(folder)
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
    result.rows.extend(rows.values())
    return result


PART = Part("moves", "clock jumps, moves, copies, backups: nothing lost, and every copy is of one commit", run)
