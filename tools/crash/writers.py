"""Can two processes write at once, or can nobody?  Writers that are refused, killed and forked, and a crowd of them.

* While somebody writes, be it this process or one that was forked or spawned, everything that begins to write is
  refused within a second, with an error that names who writes.  The second is counted from when the store is open.
* A writer is killed while it holds the lock, writes, or commits, and the next one goes to work at once.
* A child that is forked from a writer neither writes with what it inherited nor keeps others from writing.
* Several processes write as soon as they may, and are killed at random: there are never two at work, and each finds
  what the one before has committed.
"""

from __future__ import annotations

import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import mctree
from mctree.errors import LockedError, MctreeError
from mctree.testing.processes import forked
from tools.crash.aged import ENCODER, SEED, make
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, count, everything
from tools.crash.victims import in_judgement

__all__ = ["HOLDERS", "PART", "contend", "fork_writers", "kill_writers", "refuse", "run"]

_POINTS = {
    "quick": {"refusals": 1, "kills": 12, "forks": 4, "contests": 30},
    "long": {"refusals": 20, "kills": 500, "forks": 100, "contests": 3000},
}
_SECOND = 1.0
_ATTEMPTS = 10
"""A machine that is busy may take its time: one of so many attempts has to be as fast as it is promised."""
_PATIENCE = 120.0
_CONTENDERS = 4
_COUNT = "count"

HOLDERS = ("this process", "a forked process", "a spawned process")
"""Who may hold the lock when somebody else comes."""

Tries = Iterator[str]


# A second writer


def _compact(tree: mctree.Tree) -> None:
    tree.compact()


def _build(tree: mctree.Tree) -> None:
    tree.build_gists(ENCODER, "another")


def _keep(tree: mctree.Tree) -> None:
    tree.keep(5)


def _write(tree: mctree.Tree) -> None:
    tree.writer().close()


_BEGINNINGS: dict[str, Callable[[mctree.Tree], None]] = {
    "a writer": _write,
    "a compaction": _compact,
    "a gist set": _build,
    "a rule of retention": _keep,
}


def refuse(scratch: Path, points: int, holders: tuple[str, ...] = HOLDERS) -> Tries:
    """Begin to write while somebody does, in all ways; yields who was refused.

    Raises:
        AssertionError: somebody went to work, was kept waiting, or was not told who writes.
    """
    path = make(scratch / "store")
    for n in range(points):
        for holder in holders:
            with holding(path, holder) as pid:
                for what, begin in _BEGINNINGS.items():
                    said = _refusal(path, begin)
                    assert f"process {pid} on " in said, f"{what} is not told that {holder} writes: {said}"
                    yield f"{what} beside {holder}"
                if not n:
                    said = _refused_command(path)
                    assert f"process {pid} on " in said, f"the command is not told that {holder} writes: {said}"
                    yield f"the command beside {holder}"
    _go_on(path, "afterwards")


@contextmanager
def holding(path: Path, holder: str) -> Iterator[int]:
    """Let somebody write to a store for the length of a block: its process number.  Another process is killed then."""
    if holder == "this process":
        with mctree.open(path, encoders=[ENCODER]) as tree, closing(tree.writer()):
            yield os.getpid()
        return
    told, tell = os.pipe()
    if holder == "a forked process":
        pid = forked(partial(_hold, path, partial(os.write, tell, b".")))
        child = None
    else:
        code = (
            "import os, signal, sys, mctree; writer = mctree.open(sys.argv[1]).writer(); "
            "os.write(int(sys.argv[2]), b'.'); signal.pause()"
        )
        child = subprocess.Popen([sys.executable, "-c", code, str(path), str(tell)], pass_fds=[tell])
        pid = child.pid
    os.close(tell)
    try:
        assert os.read(told, 1), f"{holder} could not begin to write"
        yield pid
    finally:
        os.close(told)
        os.kill(pid, signal.SIGKILL)
        if child is None:
            os.waitpid(pid, 0)
        else:
            child.wait()


def _hold(path: Path, say: Callable[[], object]) -> None:
    with mctree.open(path, encoders=[ENCODER]) as tree, closing(tree.writer()):
        say()
        signal.pause()


def _refusal(path: Path, begin: Callable[[mctree.Tree], None]) -> str:
    """What somebody is told who begins to write and is refused, within a second."""
    for _ in range(_ATTEMPTS):
        told, tell = os.pipe()
        child = forked(partial(_begin, path, begin, tell))
        os.close(tell)
        with os.fdopen(told, "rb", buffering=0) as pipe:
            ready = pipe.read(1)
            answered = bool(select.select([pipe], [], [], _SECOND)[0])
            if not answered:
                os.kill(child, signal.SIGKILL)
            said = pipe.read()
        os.waitpid(child, 0)
        assert ready, "who wants to write cannot open the store"
        if answered:
            return said.decode()
    raise AssertionError(f"a second writer is not refused within a second, {_ATTEMPTS} times")


def _begin(path: Path, begin: Callable[[mctree.Tree], None], tell: int) -> None:
    with mctree.open(path, encoders=[ENCODER]) as tree:
        os.write(tell, b".")
        try:
            begin(tree)
            os.write(tell, b"a second writer goes to work")
        except LockedError as error:
            os.write(tell, str(error).encode())


def _refused_command(path: Path) -> str:
    said = subprocess.run(
        [sys.executable, "-m", "mctree", "rm", str(path), "19"],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert said.returncode == 1, f"the command ends with {said.returncode}: {said.stderr}"
    assert len(said.stderr.strip().splitlines()) == 1, f"the command says more than a line: {said.stderr}"
    return said.stderr


# A killed writer


def kill_writers(scratch: Path, points: int) -> Tries:
    """Kill writers at any moment, and write at once; yields what was killed.

    Raises:
        AssertionError: the next one cannot write.
    """
    path, draw = make(scratch / "store"), random.Random(SEED)
    for n in range(points):
        told, tell = os.pipe()
        child = forked(partial(_write_for_ever, path, partial(os.write, tell, b".")))
        os.close(tell)
        assert os.read(told, 1), "a writer could not begin"
        time.sleep(draw.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        try:
            _go_on(path, f"after kill {n}")
        except LockedError as error:
            raise AssertionError(f"a lock left by a killed writer is not free: {error}") from error
        yield f"kill {n}"


def _write_for_ever(path: Path, say: Callable[[], object]) -> None:
    with mctree.open(path, encoders=[ENCODER]) as tree, closing(tree.writer()) as writer:
        say()
        for n in range(1 << 30):
            writer.add("mine", b"%d " % n * 500, replace=bool(n))
            writer.commit()


def _go_on(path: Path, text: str) -> None:
    with mctree.open(path, encoders=[ENCODER]) as tree, closing(tree.writer()) as writer:
        for name in ("mine", "next"):
            with suppress(MctreeError):  # it is not there
                writer.remove(name)
        writer.add("next", text)
        writer.commit()
        assert [str(problem) for problem in tree.verify()] == []


# A forked writer


def fork_writers(scratch: Path, points: int) -> Tries:
    """Fork children from a writer; yields what a child tried, or left to others.

    Raises:
        AssertionError: a child wrote, or kept the lock.
    """
    path = make(scratch / "store")
    for n in range(points):
        with mctree.open(path, encoders=[ENCODER]) as tree:
            writer = tree.writer()
            before = tree.commits()[-1].number
            me = f"LockedError: .*process {os.getpid()} on "
            uses: tuple[tuple[Callable[[], object], str], ...] = (
                (partial(_use, writer), "UsageError: .*belongs to another process"),
                (tree.writer, me),
                (partial(_write_anew, path), me),
            )
            for use, wanted in uses:
                said = "; ".join(in_judgement(partial(_told, use)))
                assert re.match(wanted, said), f"a forked child that writes is told: {said}"
                yield f"fork {n}: a child is refused"
            assert tree.commits()[-1].number == before, "a forked child has committed"
            child = forked(signal.pause)
            try:
                writer.close()
                _go_on(path, f"fork {n}")
            except LockedError as error:
                raise AssertionError(f"a forked child holds the lock of its parent: {error}") from error
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            yield f"fork {n}: a child lives on"


def _use(writer: mctree.Writer) -> None:
    writer.add("of a child", b"x")
    writer.commit()


def _write_anew(path: Path) -> None:
    with mctree.open(path, encoders=[ENCODER]) as tree:
        tree.writer()


def _told(use: Callable[[], object]) -> list[str]:
    try:
        use()
    except MctreeError as error:
        return [f"{type(error).__name__}: {error}"]
    return ["nothing, and it has written"]


# A crowd


def contend(scratch: Path, points: int) -> Tries:
    """Let several processes count in a store, one after the other, and kill them now and then; yields each commit.

    Raises:
        AssertionError: two were at work at once, or one did not find what the one before had committed.
    """
    path, draw = make(scratch / "store"), random.Random(SEED)
    with mctree.open(path, encoders=[ENCODER]) as tree, closing(tree.writer()) as writer:
        writer.add(_COUNT, "0")
        writer.commit()
    told, tell = os.pipe()
    crowd = [_start(path, tell) for _ in range(_CONTENDERS)]
    counted = kills = 0
    try:
        while counted < points:
            ready, _, _ = select.select([told], [], [], _PATIENCE)
            assert ready, f"nobody writes for {_PATIENCE:.0f} s"
            lines = os.read(told, 1 << 12)
            assert lines.strip(b".") == b"", lines.strip(b".").decode()
            counted += len(lines)
            for _ in lines:
                yield "a count"
            if draw.random() < 0.1:
                victim = crowd.pop(draw.randrange(len(crowd)))
                _end(victim)
                kills += 1
                crowd.append(_start(path, tell))
    finally:
        for child in crowd:
            _end(child)
        os.close(tell)
        with os.fdopen(told, "rb") as pipe:
            counted += len(pipe.read())
    with mctree.open(path, encoders=[ENCODER]) as tree:
        found = int(tree.snapshot().document(_COUNT).read())
        most = counted + kills + _CONTENDERS
        assert counted <= found <= most, f"two wrote at once: {counted} to {most} were counted, and {found} are there"
        assert [str(problem) for problem in tree.verify()] == []


def _start(path: Path, tell: int) -> int:
    return forked(partial(_count, path, tell))


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _count(path: Path, tell: int) -> None:
    inside = path.with_name("inside")
    with mctree.open(path, encoders=[ENCODER]) as tree:
        while True:
            try:
                writer = tree.writer()
            except LockedError:
                time.sleep(0.001)
                continue
            with closing(writer):
                if inside.exists() and _lives(other := inside.read_text()):
                    os.write(tell, f"two write at once: {os.getpid()} and {other}".encode())
                    return
                inside.write_text(f"{os.getpid()}")
                count = int(writer.snapshot.document(_COUNT).read())
                writer.add(_COUNT, f"{count + 1}", replace=True)
                writer.commit()
                inside.unlink(missing_ok=True)
                os.write(tell, b".")


def _lives(process: str) -> bool:
    """Whether a process, by its number, is at work: not one that was killed and waits to be buried."""
    try:
        state = Path(f"/proc/{int(process)}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return False
    return state not in "ZX"


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Try who may write."""
    points = _POINTS[scale]
    kinds: dict[str, Callable[[Path], Tries]] = {
        "second writers, refused within a second and told who writes": lambda at: refuse(at, points["refusals"]),
        "locks left by killed writers": lambda at: kill_writers(at, points["kills"]),
        "children forked from a writer": lambda at: fork_writers(at, points["forks"]),
        "commits of a crowd of writers, some of them killed": lambda at: contend(at, points["contests"]),
    }
    result = Result()
    for n, (what, kind) in enumerate(kinds.items()):
        if not wants(what):
            continue
        row, folder = Row(what), scratch / f"writers {n}"
        folder.mkdir()
        count(row, kind(folder))
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
        result.rows.append(row)
    return result


PART = Part("writers", "one process writes: a second one is told who, and a lock dies with its holder", run)
