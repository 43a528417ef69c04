"""What if the disk fails?  Every write, sync, rename and truncation of a store's life fails, once or for ever.

Each act of a life is run again and again; each time another of its calls fails, LMDB's own among them (see
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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.crash.failing import Call, Ending, Plan, supervised
from tools.crash.full import KINDS
from tools.crash.life import Life
from tools.crash.lives import LIVES
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything
from tools.crash.scenario import LIFE
from tools.crash.stopped import DONE_ANYWAY
from tools.crash.suffering import suffer
from tools.crash.sweep import prepare
from tools.crash.victims import in_judgement
from tools.crash.workers import Workers

__all__ = ["PART", "Point", "attempt", "calls_of", "run"]

PLANS = (
    (errno.EIO, "once"),
    (errno.EIO, "for ever"),
    (errno.EIO, "although done"),
    (errno.ENOSPC, "once"),
    (errno.ENOSPC, "for ever"),
)
_QUICK_POINTS = 40
_SEED = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One failing disk.

    Attributes:
        scratch: where `prepare` has put the stores that acts begin with.
        act: which act is run.
        plan: which calls fail.
        life: whose act it is.
    """

    scratch: str
    act: str
    plan: Plan
    life: Life = LIFE

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
    life = point.life
    with _beginning(point.scratch, point.act, life) as path:
        ending = supervised(os.path.dirname(path), partial(suffer, life, path, point.act), point.plan)
        acknowledged = [*life.steps_before(point.act), *(line[1:] for line in ending.said if line[0] == "=")]
        error = next((line[1:] for line in ending.said if line[0] == "!"), "")
        problems = [line[1:] for line in ending.said if line[0] == "?"] + _problems(ending, error)
        problems += in_judgement(lambda: life.judge(path, acknowledged))
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


@contextmanager
def _beginning(scratch: str, act: str, life: Life) -> Iterator[str]:
    """The path of a store as an act finds it, in a folder of its own."""
    folder = Path(scratch, f"process {os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if act != life.acts[0]:
        shutil.copytree(f"{scratch}/before {act}", folder / "store")
    try:
        yield str(folder / "store")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def calls_of(scratch: str, act: str, life: Life = LIFE) -> list[Call]:
    """The calls that an act makes on a disk that is well, and whoever looks at the store then."""
    with _beginning(scratch, act, life) as path:
        return supervised(os.path.dirname(path), partial(suffer, life, path, act)).calls


def points(scratch: str, life: Life, scale: Scale) -> list[Point]:
    """Which calls fail, and how: all of them in every way, or some, from all over."""
    does_of = {
        Point(scratch, act, Plan(when, error, how == "for ever", how == "although done"), life): call.does
        for act in life.acts
        for when, call in enumerate(calls_of(scratch, act, life), 1)
        for error, how in PLANS
        if how != "although done" or call.does in DONE_ANYWAY
    }
    every = [*does_of]
    chosen = random.Random(_SEED).sample(every, len(every))
    # Of each kind of call one at least that fails although it was done, and one that fails in each other way.
    first = [
        *(next(one for one in chosen if one.plan.anyway and does_of[one] == does) for does in sorted(DONE_ANYWAY)),
        *(next(one for one in chosen if _kind(one) == kind) for kind in PLANS if kind[1] != "although done"),
    ]
    about = _QUICK_POINTS if scale == "quick" else len(every)
    most = max(about // life.weight, len(first))
    return [*first, *(point for point in chosen if point not in first)][:most]


def _kind(point: Point) -> tuple[int, str]:
    """Which of `PLANS` it is."""
    return point.plan.error, point.plan.how


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Let the disk fail in all these ways, then be full, and read-only."""
    rows = [row for life in LIVES for row in _fail(life, scale, scratch / f"calls{life.within}", say, wants)]
    for life in LIVES:
        rows += [kind(life, scale, scratch, say) for what, kind in KINDS.items() if wants(what + life.within)]
    return Result(rows)


def _fail(life: Life, scale: Scale, scratch: Path, say: Say, wants: Wants) -> list[Row]:
    """Let calls fail, in one life."""
    rows = {kind: Row(f"a call fails: {errno.errorcode[kind[0]]} {kind[1]}{life.within}") for kind in PLANS}
    wanted = [row for row in rows.values() if wants(row.what)]
    if not wanted:
        return []
    scratch.mkdir()
    prepare(scratch, life)
    start = time.monotonic()
    with Workers(life.foresee) as workers:
        tried = [point for point in points(str(scratch), life, scale) if rows[_kind(point)] in wanted]
        for done, (point, outcome) in enumerate(zip(tried, workers.each(attempt, tried), strict=True), 1):
            row = rows[_kind(point)]
            row.points += 1
            row.failures += outcome.problems
            if done % 100 == 0:
                failures = sum(len(row.failures) for row in wanted)
                say(f"{done} of {len(tried)} failing calls, {failures} failures, {time.monotonic() - start:.0f} s")
    for row in wanted:
        row.seconds = (time.monotonic() - start) * row.points / max(len(tried), 1)
    return wanted


PART = Part("faults", "errors from below: the writer fails clearly, readers go on, nothing is lost", run)
