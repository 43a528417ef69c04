"""What if the disk fails?  Every write, sync, rename and truncation of a store's life fails, once or for ever.

Each act of the scenario is run again and again; each time another of its calls fails, LMDB's own among them (see
`failing`).  While the disk is still as bad as it is, in the same process, a snapshot that was taken before reads what
it read; the store opens for readers, verifies, and stands where it was acknowledged or at the step in flight; and the
writer has failed with one error that says so, refuses further work, and synced nothing anew that had failed to sync.
When the disk is well again, the store is judged as after a crash, and written to.

A call may fail after all, having done what it was asked: nobody can tell whether a write whose error is reported is on
the disk.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mctree
from mctree.errors import MctreeError, UsageError, WriterFailedError
from mctree.tree.writer import Writer
from tools.crash.failing import Call, Ending, Plan, supervised
from tools.crash.parts import Part, Result, Row, Say, Scale, timed
from tools.crash.scenario import ACTS, SETS, STEPS, judge, live, reference, settled
from tools.crash.sweep import prepare
from tools.crash.victims import in_judgement
from tools.crash.workers import Workers

__all__ = ["PART", "Point", "attempt", "run"]

PLANS = (
    (errno.EIO, "once"),
    (errno.EIO, "for ever"),
    (errno.EIO, "although done"),
    (errno.ENOSPC, "once"),
    (errno.ENOSPC, "for ever"),
)
_QUICK_POINTS = 90
_SEED = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One failing disk.

    Attributes:
        scratch: where `prepare` has put the stores that acts begin with.
        act: which act is run.
        plan: which calls fail.
    """

    scratch: str
    act: str
    plan: Plan

    def __str__(self) -> str:
        return f"{self.act}, call {self.plan.when} fails ({self.plan})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a point.

    Attributes:
        failed: the call that failed first; None if the act made fewer.
        error: what the act raised, as `Type: message`; nothing if it went on.
        problems: what is wrong.
    """

    failed: Call | None
    error: str
    problems: tuple[str, ...]


def attempt(point: Point) -> Outcome:
    """Run an act on a disk that fails, look at the store meanwhile, and judge it afterwards."""
    with _beginning(point.scratch, point.act) as path:
        ending = supervised(os.path.dirname(path), partial(_suffer, path, point.act), point.plan)
        acknowledged = [*_before(point.act), *(line[1:] for line in ending.said if line[0] == "=")]
        error = next((line[1:] for line in ending.said if line[0] == "!"), "")
        problems = [line[1:] for line in ending.said if line[0] == "?"] + _problems(ending, error)
        problems += in_judgement(lambda: judge(path, acknowledged))
    what = f"{point}, {ending.failed}"
    return Outcome(ending.failed, error, tuple(f"{what}: {problem}" for problem in problems))


def _problems(ending: Ending, error: str) -> list[str]:
    """What is wrong with how an act ended."""
    unnoticed = ending.failed is not None and ending.failed.does == "sync" and not error
    return [
        *(f"{call} again after it had failed" for call in ending.resynced),
        *([f"the process ended with {ending.status}"] if ending.status else []),
        *(["nobody was told that a sync failed"] if unnoticed else []),
    ]


def _before(act: str) -> list[str]:
    return [step.name for step in STEPS if step.act in ACTS[: ACTS.index(act)]]


def _suffer(path: str, act: str, say: Callable[[str], None]) -> None:
    """In a child whose disk fails: run an act, and look at the store from there."""
    acknowledged = _before(act)
    writers: list[Writer] = []
    begin_writing = mctree.Tree.writer

    def writer(tree: mctree.Tree) -> Writer:
        writers.append(begin_writing(tree))
        return writers[-1]

    def acknowledge(name: str) -> None:
        acknowledged.append(name)
        say(f"={name}")

    mctree.Tree.writer = writer  # type: ignore[assignment,method-assign]
    reader = _Reader(path) if acknowledged else None
    try:
        live(path, acknowledge, [act])
    except Exception as error:
        say(f"!{type(error).__name__}: {error}")
        for problem in _unclear(error, writers[-1:]):
            say(f"?{problem}")
    if reader is not None:
        for problem in reader.problems(acknowledged):
            say(f"?{problem}")


class _Reader:
    """Somebody who reads in the same process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tree = mctree.open(path, writable=False, encoders=SETS.values())
        self._held = self._tree.snapshot()
        self._read = self._documents()

    def _documents(self) -> dict[bytes, bytes]:
        return {document.source: document.read() for document in self._held.documents()}

    def problems(self, acknowledged: list[str]) -> Iterator[str]:
        """What a reader finds wrong now."""
        known, done = reference(), len(acknowledged)
        try:
            if self._documents() != self._read:
                yield "a snapshot that was held reads other bytes"
            settled(self._path, [*known[done - 1 : done], *known[done : done + 1]])
        except (AssertionError, MctreeError, OSError) as error:
            yield f"a reader meanwhile: {type(error).__name__}: {error}"


def _unclear(error: Exception, writers: list[Writer]) -> Iterator[str]:
    """What is wrong with how a failure is told, and with what the writer does then."""
    said = str(error)
    if not isinstance(error, MctreeError) or not said or "\n" in said:
        yield f"the error is not a clear one: {type(error).__name__}: {said}"
    for writer in writers:
        try:
            writer.add("more", b"more")
            writer.commit()
            yield "the writer goes on working"
        except (WriterFailedError, UsageError):
            pass


@contextmanager
def _beginning(scratch: str, act: str) -> Iterator[str]:
    """The path of a store as an act finds it, in a folder of its own."""
    folder = Path(scratch, f"process {os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if act != ACTS[0]:
        shutil.copytree(f"{scratch}/before {act}", folder / "store")
    try:
        yield str(folder / "store")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def points(scratch: str, scale: Scale) -> list[Point]:
    """Which calls fail, and how: all of them in every way, or some."""
    every = []
    for act in ACTS:
        with _beginning(scratch, act) as path:
            calls = supervised(os.path.dirname(path), partial(_suffer, path, act)).calls
        every += [
            Point(scratch, act, Plan(when, error, how == "for ever", how == "although done"))
            for when, call in enumerate(calls, 1)
            for error, how in PLANS
            if how != "although done" or call.does in ("write", "sync")
        ]
    if scale == "long":
        return every
    return random.Random(_SEED).sample(every, _QUICK_POINTS)


def run(scale: Scale, scratch: Path, say: Say) -> Result:
    """Let the disk fail in all these ways."""
    prepare(scratch)
    row = Row("a call fails")
    with timed(row), Workers() as workers:
        for outcome in workers.each(attempt, points(str(scratch), scale)):
            row.points += 1
            row.failures += outcome.problems
            if row.points % 100 == 0:
                say(f"{row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
    return Result([row])


PART = Part("faults", "3. Errors from below: the writer fails clearly, readers go on, nothing is lost", run)
