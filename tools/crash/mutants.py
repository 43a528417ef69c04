"""Would these tests find anything?  Faults are planted in the engine (`planted`), and points are tried until one shows.

A find is a failure in the words that the fault is to be found by.  A plant that does not fit the code is a failure of
these tests.  In the long form the fuzzer hunts a fault as well.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tools.crash import kills, pictures, replay, scenario, sweep
from tools.crash.life import Life
from tools.crash.parts import Part, Result, Row, Say, Scale, timed
from tools.crash.planted import INGEST, KILLS, PICTURES, POWER, Planted
from tools.crash.victims import MISFIT
from tools.crash.workers import PROCESSES, Workers

__all__ = ["PART", "run"]

Point = TypeVar("Point")
Rounds = Iterable[Iterable[Sequence[str]]]

_MOST = 400
"""Points after which a fault was not found."""
_TRIALS = 8
_KILLS_OF_A_TRIAL = 3


def run(scale: Scale, scratch: Path, say: Say) -> Result:
    """Plant each fault, and try points until it is found."""
    rows = [
        *_by_power_cuts(scratch / "power", say),
        *_by_kills(scenario.LIFE, KILLS, scratch / "texts", say),
        *_by_kills(pictures.LIFE, PICTURES, scratch / "pictures", say),
        *_by_kills_of_ingests(scratch / "ingests", say),
    ]
    return Result(rows)


def _by_power_cuts(scratch: Path, say: Say) -> Iterator[Row]:
    scratch.mkdir()
    with Workers() as workers:
        plants = [planted.plant for planted in POWER]
        for planted, recording in zip(POWER, workers.each(partial(replay.record, str(scratch)), plants), strict=True):
            states = _some(list(replay.states(recording)))
            in_order = (sorted(part, key=lambda state: state.cut.moment) for part in _in_parts(states))
            yield _hunt(planted, (workers.each(replay.attempt, part) for part in in_order), say)


def _by_kills(life: Life, plants: Sequence[Planted], scratch: Path, say: Say) -> Iterator[Row]:
    scratch.mkdir()
    sweep.prepare(scratch, life)
    with Workers(life.foresee) as workers:
        calls_of = partial(sweep.calls_of, str(scratch), life=life)
        for planted, (_, calls) in zip(plants, workers.each(calls_of, [one.act for one in plants]), strict=True):
            points = _some(
                [sweep.Point(str(scratch), planted.act, call, plant=planted.plant, life=life) for call in calls]
            )
            yield _hunt(planted, (workers.each(sweep.failures, part) for part in _in_parts(points)), say)


def _by_kills_of_ingests(scratch: Path, say: Say) -> Iterator[Row]:
    scratch.mkdir()
    with Workers() as workers:
        for planted in INGEST:
            trials = [kills.Trial(str(scratch), n, _KILLS_OF_A_TRIAL, planted.plant) for n in range(_TRIALS)]
            row = _hunt(planted, (workers.each(kills.failures, [trial]) for trial in trials), say)
            row.what += ", in ingests"
            yield row


def _some(points: list[Point]) -> list[Point]:
    """As many as are tried, in a random order, the same each time."""
    return random.Random(1).sample(points, min(len(points), _MOST))


def _in_parts(points: list[Point]) -> Iterator[list[Point]]:
    """A few at a time, after which it is looked whether the fault was found."""
    for start in range(0, len(points), PROCESSES):
        yield points[start : start + PROCESSES]


def _hunt(planted: Planted, rounds: Rounds, say: Say) -> Row:
    """Try points, a few at a time, until one shows what was planted."""
    row = Row(f"planted: {planted.name}")
    found, other = "", ""
    with timed(row):
        for outcomes in rounds:
            for failures in outcomes:
                row.points += 1
                found = found or next((failure for failure in failures if re.search(planted.sign, failure)), "")
                other = other or next(iter(failures), "")
                row.failures += [failure for failure in failures if MISFIT in failure]
            if found:
                break
        else:
            lacking = f"{planted.name} was not found at {row.points} points by {planted.sign!r}"
            row.failures.append(f"{lacking}; what failed otherwise: {other}" if other else lacking)
    row.notes = found or "not found"
    say(f"{row.what}: {found or 'NOT FOUND'} ({row.points} points, {row.seconds:.0f} s)")
    return row


PART = Part("mutants", "faults that are planted in the engine are found: by power cuts, and by kills", run)
