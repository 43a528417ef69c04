"""Does a store survive a power cut?  Every state that may be left is made, opened, judged and written to.

A life is recorded once, with every byte that it writes (`trace`), and the power is cut wherever it matters
(`power`).  And again: over what some cuts have left, the process that comes next is recorded while it puts everything
in order, and the power is cut once more.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.crash.life import Life
from tools.crash.lives import LIVES
from tools.crash.operations import Trace
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.power import Cut, Disk, Walk, compare, cuts
from tools.crash.scenario import LIFE
from tools.crash.trace import CALLS, look, read_trace
from tools.crash.victims import in_judgement, recorded, sound
from tools.crash.workers import Workers

__all__ = ["PART", "Recording", "State", "attempt", "attempt_twice", "record", "run", "states"]

_QUICK_STATES = 150
_QUICK_AGAIN = 4
_AGAIN = 8
"""States of the second cut that are made of one of the first."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Where a trace is kept, whose life it is of, and what was acknowledged in it.

    A fault that was planted in the process that lived it is also in the next writer, if that is recorded.
    """

    path: str
    steps: tuple[str, ...]
    life: Life
    plant: Callable[[], None] = sound


@dataclass(frozen=True, slots=True)
class State:
    """What a power cut leaves of a recorded life."""

    recording: Recording
    cut: Cut

    @property
    def acknowledged(self) -> tuple[str, ...]:
        """The steps that were."""
        return self.recording.steps[: self.cut.acknowledged]

    def __str__(self) -> str:
        after = f"after {self.acknowledged[-1]!r}" if self.acknowledged else "at the beginning"
        return f"power cut {after} (moment {self.cut.moment}), kept {self.cut.what}"


def states(recording: Recording) -> Iterator[State]:
    """The states that a power cut may leave, moment by moment."""
    return (State(recording, cut) for cut in cuts(_load(recording)))


def record(scratch: str, plant: Callable[[], None] = sound, life: Life = LIFE) -> Recording:
    """Record a life on a disk that is empty at first.

    Args:
        scratch: a folder for what is written down.
        plant: plants a fault in the process that lives it.
        life: which life.
    """
    folder = os.path.realpath(os.path.join(scratch, plant.__name__ + life.within))
    os.mkdir(folder)
    disk, log = os.path.join(folder, "disk"), Path(folder, "calls")
    os.mkdir(disk)

    def work(say: Callable[[str], None]) -> None:
        plant()
        life.live(os.path.join(disk, "store.mctree"), say, life.acts)

    ending = recorded(work, CALLS, log)
    if ending.failure:
        raise RuntimeError(ending.failure)
    trace = read_trace(log, disk, ending.acknowledged)
    compare(trace, disk)
    kept = os.path.join(folder, "trace")
    with open(kept, "wb") as file:
        pickle.dump(trace, file)
    log.unlink()
    shutil.rmtree(disk)
    return Recording(kept, ending.acknowledged, life, plant)


def _load(recording: Recording) -> Trace:
    with open(recording.path, "rb") as file:
        trace = pickle.load(file)
    assert isinstance(trace, Trace)
    return trace


_walks: dict[str, Walk] = {}
"""Where this process is in each recording: states come in order, so that it seldom has to begin anew."""


def attempt(state: State) -> list[str]:
    """Make a state, and judge it."""
    with _made(_disk(state), f"{state.recording.path} of process {os.getpid()}") as folder:
        problems = in_judgement(partial(state.recording.life.judge, _store(folder), state.acknowledged))
    return [f"{state}: {problem}" for problem in problems]


def attempt_twice(state: State, most: int) -> list[list[str]]:
    """Make a state, cut the power while the next writer puts it in order, and judge what that leaves, some of it.

    Returns:
        What is wrong with each of the states that the second cut may leave, at most so many.
    """
    where, life = os.path.realpath(f"{state.recording.path} of process {os.getpid()}"), state.recording.life
    with _made(_disk(state), where) as folder:
        before, log = look(folder), Path(f"{where} calls")

        def come_by(_: object) -> None:
            state.recording.plant()
            life.look_in(_store(folder))

        ending = recorded(come_by, CALLS, log)
        if ending.failure:
            return [[f"{state}: the next writer: {ending.failure}"]]
        trace = read_trace(log, folder, (), before)
        log.unlink()
        compare(trace, folder)
    possible = list(cuts(trace))
    chosen = random.Random(str(state)).sample(possible, min(most, len(possible)))
    found, walk = [], Walk(trace)
    for cut in sorted(chosen, key=lambda cut: cut.moment):
        with _made(walk.at(cut), where) as folder:
            problems = in_judgement(partial(life.judge, _store(folder), state.acknowledged))
        found.append([f"{state}; again at moment {cut.moment}, kept {cut.what}: {problem}" for problem in problems])
    return found


def _store(folder: str) -> str:
    return os.path.join(folder, "store.mctree")


def _disk(state: State) -> Disk:
    path, moment = state.recording.path, state.cut.moment
    if path not in _walks or _walks[path].moment > moment:
        _walks[path] = Walk(_load(state.recording))
    return _walks[path].at(state.cut)


@contextmanager
def _made(disk: Disk, folder: str) -> Iterator[str]:
    """Let a disk stand somewhere for the length of a block."""
    disk.write_out(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Cut the power wherever it matters, and now and then once more."""
    return Result([row for life in LIVES for row in _cut_short(life, scale, scratch, say, wants)])


def _cut_short(life: Life, scale: Scale, scratch: Path, say: Say, wants: Wants) -> list[Row]:
    once = Row(f"states that a power cut leaves{life.within}")
    twice = Row(f"states that another leaves, while the next writer begins{life.within}")
    wanted = [row for row in (once, twice) if wants(row.what)]
    if not wanted:
        return []
    with Workers(life.foresee) as workers:
        with timed(wanted[0]):
            (recording,) = workers.each(partial(record, life=life), [str(scratch)])
            possible = list(states(recording))
        whole = len(possible) // life.weight
        if once in wanted:
            with timed(once):
                chosen = _every(possible, _QUICK_STATES // life.weight if scale == "quick" else whole)
                for failures in workers.each(attempt, chosen):
                    once.points += 1
                    once.failures += failures
                    if once.points % 1000 == 0:
                        say(f"{once.points} states, {len(once.failures)} failures")
            say(f"{once.what}: {once.points}, {len(once.failures)} failures, {once.seconds:.0f} s")
        if twice in wanted:
            with timed(twice):
                chosen = _every(possible, _QUICK_AGAIN if scale == "quick" else whole // _AGAIN)
                most = max(_AGAIN // life.weight, 1) if scale == "quick" else _AGAIN
                for several in workers.each(partial(attempt_twice, most=most), chosen):
                    twice.points += len(several)
                    twice.failures += [failure for failures in several for failure in failures]
            say(f"{twice.what}: {twice.points}, {len(twice.failures)} failures, {twice.seconds:.0f} s")
    return wanted


def _every(possible: list[State], about: int) -> list[State]:
    """About so many, from all over."""
    return possible[:: max(len(possible) // about, 1)]


PART = Part("replay", "after a power cut the store is at an acknowledged commit, or the one in flight", run)
