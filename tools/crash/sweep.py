"""Does a store survive `kill -9` at every single system call?  An act is killed at its first, its second, its third …

Every act of a life begins with a store as the acts before left it, and is swept from its first system call to its
last.  The long form kills at all calls of any kind; and at those that change something once more, to let the process
that comes next and finds what was left be killed as well, before somebody looks.  Of these every other time a third
process reads meanwhile, and has to go on reading the same until the next writer has put everything in order.  The
quick form takes every few of the calls that change something.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from tools.crash.holding import Watcher
from tools.crash.life import Life
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.scenario import LIFE
from tools.crash.victims import CHANGING, counted, in_judgement, killed_at, sound
from tools.crash.workers import Workers

__all__ = ["PART", "Call", "Outcome", "Point", "attempt", "calls_of", "failures", "prepare", "run", "sweep"]

_APART = 10
"""The quick form kills at every so many of the calls that change something."""
_NEXT_CALLS = 13
"""At which of the changing calls of a name the process that comes next is killed, at most."""
_SEED = 5
_MISSED = 20
"""One in so many calls may not be made again: how many there are of a name is not the same in every run."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call of an undisturbed run.

    Attributes:
        name: which.
        when: how many of that name there were so far, with it.
    """

    name: str
    when: int

    def __str__(self) -> str:
        return f"{self.name} {self.when}"


@dataclass(frozen=True, slots=True)
class Point:
    """One kill.

    Attributes:
        scratch: where `prepare` has put the stores that acts begin with.
        act: which act is killed.
        call: at which call.
        again: at which call the process that comes next is killed too, if it comes to it.
        watched: whether another process holds a snapshot until the one that comes after those has looked in.
        plant: plants a fault, where it is to be seen whether it is found.
        life: whose act it is.
    """

    scratch: str
    act: str
    call: Call
    again: Call | None = None
    watched: bool = False
    plant: Callable[[], None] = sound
    life: Life = LIFE

    def __str__(self) -> str:
        then = "" if self.again is None else f" and then at {self.again}"
        return f"{self.act}, killed at {self.call}{then}{', while another reads' if self.watched else ''}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a point: how many were killed, and what is wrong."""

    killed: int
    failures: tuple[str, ...]


def attempt(point: Point) -> Outcome:
    """Kill an act at a point, and judge the store."""
    life = point.life
    with _beginning(point.scratch, point.act, life) as path:

        def work(say: Callable[[str], None]) -> None:
            point.plant()
            life.live(path, say, [point.act])

        def judgement() -> list[str]:
            point.plant()
            return life.judge(path, acknowledged)

        def come_by(_: object = None) -> list[str]:
            point.plant()
            life.look_in(path)
            return []

        watcher = Watcher(path) if point.watched and os.path.lexists(path) else None
        ending = killed_at(work, point.call.name, point.call.when)
        acknowledged = [*life.steps_before(point.act), *ending.acknowledged]
        killed, problems = int(ending.killed), [ending.failure] if ending.failure else []
        if point.again is not None and ending.killed:
            second = killed_at(come_by, point.again.name, point.again.when)
            killed += second.killed
            problems += [second.failure] if second.failure else []
        if watcher is not None:
            problems += [*in_judgement(come_by), *watcher.problems()]
        problems += in_judgement(judgement)
    return Outcome(killed, tuple(f"{point}: {problem}" for problem in problems))


def failures(point: Point) -> tuple[str, ...]:
    """What is wrong after an act was killed at a point."""
    return attempt(point).failures


def prepare(scratch: Path, life: Life = LIFE) -> None:
    """Put the stores that acts begin with into a folder."""
    path = scratch / "growing"
    for act, following in pairwise(life.acts):
        life.live(str(path), lambda _: None, [act])
        shutil.copytree(path, scratch / f"before {following}")


def calls_of(scratch: str, act: str, life: Life = LIFE) -> tuple[list[Call], list[Call]]:
    """The system calls that an act makes when nothing disturbs it, in order: all, and those that change something."""
    with _beginning(scratch, act, life) as path:
        names = counted(lambda say: life.live(path, say, [act]), Path(scratch, f"calls of process {os.getpid()}"))
    so_far: Counter[str] = Counter()
    calls = []
    for name in names:
        so_far[name] += 1
        calls.append(Call(name, so_far[name]))
    return calls, [call for call in calls if call.name in CHANGING]


def points(scratch: str, act: str, life: Life, scale: Scale) -> tuple[list[Point], list[Point]]:
    """Where to kill an act once, and where to kill it and what comes next."""
    every, changing = calls_of(scratch, act, life)
    names = sorted({call.name for call in changing})
    dice = random.Random(_SEED)
    twice = [
        Point(
            scratch,
            act,
            call,
            Call(names[n % len(names)], 1 + n // len(names) % _NEXT_CALLS),
            watched=dice.random() < 0.5,
            life=life,
        )
        for n, call in enumerate(changing)
    ]
    if scale == "long":
        return [Point(scratch, act, call, life=life) for call in every], twice
    offset, apart = life.acts.index(act), _APART * life.weight
    once = [Point(scratch, act, call, life=life) for call in changing[offset % apart :: apart]]
    return once, twice[offset :: 5 * apart]


def sweep(life: Life, scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Sweep all acts of a life."""
    prepare(scratch, life)
    rows, second = list[Row](), Row("killed again in what came next")
    with Workers(life.foresee) as workers:
        planned = workers.each(partial(points, str(scratch), life=life, scale=scale), life.acts)
        for act, (once, twice) in zip(life.acts, planned, strict=True):
            first = Row(f"killed in {act}")
            for row, chosen in ((first, once), (second, twice)):
                if not wants(row.what):
                    continue
                with timed(row):
                    missed = 0
                    for outcome in workers.each(attempt, chosen):
                        row.points += outcome.killed
                        row.failures += outcome.failures
                        missed += not outcome.killed
                if missed > 1 + len(chosen) // _MISSED:
                    row.failures.append(f"{row.what}: {missed} of {len(chosen)} calls were not come to")
            say(f"{first.what}: {first.points} kills, {len(first.failures)} failures, {first.seconds:.0f} s")
            rows.append(first)
    say(f"{second.what}: {second.points} kills, {len(second.failures)} failures, {second.seconds:.0f} s")
    return Result([row for row in (*rows, second) if wants(row.what)])


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Sweep the life of texts."""
    return sweep(LIFE, scale, scratch, say, wants)


@contextmanager
def _beginning(scratch: str, act: str, life: Life) -> Iterator[str]:
    """Where a copy stands, for the length of a block, of the store that an act begins with."""
    folder = os.path.join(scratch, f"process {os.getpid()}")
    path = os.path.join(folder, "store.mctree")
    os.makedirs(folder)
    try:
        if act != life.acts[0]:
            shutil.copytree(os.path.join(scratch, f"before {act}"), path)
        yield path
    finally:
        shutil.rmtree(folder)


PART = Part("sweep", "a killed process loses nothing that was acknowledged, and leaves nothing half done", run)
