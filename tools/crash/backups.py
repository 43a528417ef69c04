"""Is a copy that is made while somebody writes a copy of one commit, whole?  Or none, if it was killed or found damage.

* A store is backed up while a process appends, refreshes and compacts, and is killed now and then.
* Backups are killed at any change they make to the file system.
* Backups are made of stores with a flipped bit.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import mctree
from mctree.errors import CorruptError, MctreeError
from mctree.testing.processes import KILLED, UNFIT, forked, in_child, kill_after
from mctree.testing.stores import assert_whole
from tools.crash.aged import ENCODER, SEED, back_up, make, state

__all__ = ["back_up_damaged", "back_up_under_fire", "kill_backups"]


def write_on(path: Path, seed: int) -> None:
    """Write for ever: in each commit `count` says how many other documents there are."""
    draw = random.Random(seed)
    with mctree.open(path, encoders=[ENCODER]) as tree:
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
                with mctree.open(path, encoders=[ENCODER]) as tree:
                    number = tree.backup(to)
                with mctree.open(to, writable=False, encoders=[ENCODER]) as tree:
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
        with mctree.open(source, encoders=[ENCODER]) as tree:
            kill_after(calls)
            tree.backup(to)

    tried = (64 << n for n in range(10))
    # One that is killed at its very end may have made a whole copy.
    whole = next((calls for calls in tried if _ended(partial(work, calls)) == 0 or to.exists()), 0)
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
    back_up(source, to)
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
    draw = random.Random(SEED)
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
                back_up(damaged, to)
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
