"""Would these tests find anything?  Faults are planted in the engine (`planted`), and points are tried until one shows.

A find is a failure in the words that the fault is to be found by.  A plant that does not fit the code is a failure of
these tests.  In the long form the fuzzer hunts some as well, and readers under fire hunt theirs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from tools.crash import kills, pictures, readers, replay, scenario, sweep
from tools.crash.galleries import IMAGES
from tools.crash.life import Life
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.planted import (
    COMMAND,
    CUTS_OF_PICTURES,
    INGEST,
    KILLS,
    KILLS_AGAIN,
    PICTURES,
    POWER,
    POWER_AGAIN,
    Planted,
)
from tools.crash.planted_for_fuzzer import FUZZED, PlantedForFuzzer
from tools.crash.planted_readers import READERS, READERS_OF_IMAGES
from tools.crash.rounds import TEXTS, Rounds
from tools.crash.victims import MISFIT
from tools.crash.workers import PROCESSES, Workers

__all__ = ["PART", "run"]

Point = TypeVar("Point")
Wanted = Callable[[Sequence[Planted], str], list[Planted]]
Tries = Iterable[Iterable[Sequence[str]]]

_MOST = 400
"""Points after which a fault was not found."""
_CUTS_OF_A_STATE = 6
_TRIALS = 8
_IN_INGESTS = ", in ingests"
_IN_THE_COMMAND = ", in the command"
_UNDER_FIRE = ", under readers"
_FOR_FUZZER = ", for the fuzzer"
_FUZZED_SECONDS = 20
_KILLS_OF_A_TRIAL = 3
_SNAPSHOTS = 300


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Plant each fault, and try points until it is found."""

    def wanted(plants: Sequence[Planted], where: str = "") -> list[Planted]:
        return [planted for planted in plants if wants(_row(planted, where).what)]

    rows = [
        *_by_power_cuts(scenario.LIFE, wanted(POWER), scratch / "power", say),
        *_by_another_power_cut(scenario.LIFE, wanted(POWER_AGAIN), scratch / "power again", say),
        *_by_power_cuts(pictures.LIFE, wanted(CUTS_OF_PICTURES), scratch / "power over pictures", say),
        *_by_kills(scenario.LIFE, wanted([*KILLS, *KILLS_AGAIN]), scratch / "texts", say),
        *_by_kills(pictures.LIFE, wanted(PICTURES), scratch / "pictures", say),
        *_by_kills_of_ingests(scratch / "ingests", say, wanted),
    ]
    if scale == "long":
        rows += _by_readers(scratch / "readers", say, wanted)
        rows += (_by_the_fuzzer(one, scratch, say) for one in FUZZED if wants(_row(one, _FOR_FUZZER).what))
    return Result(rows)


def _by_power_cuts(life: Life, plants: Sequence[Planted], scratch: Path, say: Say) -> Iterator[Row]:
    for planted, recording, workers in _recorded(life, plants, scratch):
        states = _some(list(replay.states(recording)))
        in_order = (sorted(part, key=lambda state: state.cut.moment) for part in _in_parts(states))
        yield _hunt(planted, (workers.each(replay.attempt, part) for part in in_order), say)


def _by_another_power_cut(life: Life, plants: Sequence[Planted], scratch: Path, say: Say) -> Iterator[Row]:
    """Cut the power twice, for the first time in an act."""
    twice = partial(replay.attempt_twice, most=_CUTS_OF_A_STATE)
    for planted, recording, workers in _recorded(life, plants, scratch):
        begun = len(life.steps_before(planted.act))
        ended = begun + len(life.steps_of([planted.act]))
        states = [
            state
            for state in replay.states(recording)
            if begun <= len(state.acknowledged) < ended and re.search(planted.cut, state.cut.what)
        ]
        yield _hunt(planted, (chain.from_iterable(workers.each(twice, part)) for part in _in_parts(states)), say)


def _recorded(
    life: Life, plants: Sequence[Planted], scratch: Path
) -> Iterator[tuple[Planted, replay.Recording, Workers]]:
    """A life with each fault, recorded, and who tries what a power cut leaves of it."""
    if not plants:
        return
    scratch.mkdir()
    with Workers(life.foresee) as workers:
        record = partial(replay.record, str(scratch), life=life)
        recordings = workers.each(record, [planted.plant for planted in plants])
        for planted, recording in zip(plants, recordings, strict=True):
            yield planted, recording, workers


def _by_kills(life: Life, plants: Sequence[Planted], scratch: Path, say: Say) -> Iterator[Row]:
    if not plants:
        return
    scratch.mkdir()
    sweep.prepare(scratch, life)
    with Workers(life.foresee) as workers:
        calls_of = partial(sweep.calls_of, str(scratch), life=life)
        for planted, (_, calls) in zip(plants, workers.each(calls_of, [one.act for one in plants]), strict=True):
            points = _some(
                [
                    sweep.Point(str(scratch), planted.act, call, planted.again, plant=planted.plant, life=life)
                    for call in calls
                ]
            )
            yield _hunt(planted, (workers.each(sweep.failures, part) for part in _in_parts(points)), say)


def _by_kills_of_ingests(scratch: Path, say: Say, wanted: Wanted) -> Iterator[Row]:
    for plants, where, failures, kills_of_trial in (
        (INGEST, _IN_INGESTS, kills.failures, _KILLS_OF_A_TRIAL),
        (COMMAND, _IN_THE_COMMAND, kills.failures_of_command, 1),
    ):
        for planted in wanted(plants, where):
            folder = scratch / f"{planted.name}{where}"
            folder.mkdir(parents=True)
            with Workers() as workers:
                trials = [kills.Trial(str(folder), n, kills_of_trial, planted.plant) for n in range(_TRIALS)]
                yield _hunt(planted, (workers.each(failures, [trial]) for trial in trials), say, where)


def _by_readers(scratch: Path, say: Say, wanted: Wanted) -> Iterator[Row]:
    for plants, rounds, where in (
        (READERS, TEXTS, _UNDER_FIRE),
        (READERS_OF_IMAGES, IMAGES, f"{_UNDER_FIRE} of images"),
    ):
        for planted in wanted(plants, where):
            yield _hunt(planted, (_under_fire(planted, rounds, scratch, n) for n in range(_TRIALS)), say, where)


def _under_fire(planted: Planted, rounds: Rounds, scratch: Path, trial: int) -> Iterator[Sequence[str]]:
    folder = scratch / f"{planted.plant.__name__} {trial}"
    folder.mkdir(parents=True)
    plant = planted.plant.__name__
    yield readers.under_fire(folder, readers=3, snapshots=_SNAPSHOTS, seed=trial, rounds=rounds, plant=plant).failures


def _by_the_fuzzer(fault: PlantedForFuzzer, scratch: Path, say: Say) -> Row:
    """Plant a fault where the fuzzer looks."""
    from tools.crash.fuzz.__main__ import hunt  # noqa: PLC0415  # needs more than the rest

    planted = scratch / fault.target
    fault.copy(planted)
    row = _row(fault, _FOR_FUZZER)
    with timed(row):
        found = hunt(fault.target, _FUZZED_SECONDS, beside=planted)
        row.points = found.inputs
        if not (found.broke and re.search(fault.sign, found.said)):
            row.failures.append(f"the fuzzer did not find it by {fault.sign!r}: {found.said[-400:]}")
    say(f"{row.what}: {len(found.broke)} inputs found it, {row.seconds:.0f} s")
    return row


def _some(points: list[Point]) -> list[Point]:
    """As many as are tried, in a random order, the same each time."""
    return random.Random(1).sample(points, min(len(points), _MOST))


def _in_parts(points: list[Point]) -> Iterator[list[Point]]:
    """A few at a time, after which it is looked whether the fault was found."""
    for start in range(0, len(points), PROCESSES):
        yield points[start : start + PROCESSES]


def _row(planted: Planted | PlantedForFuzzer, where: str) -> Row:
    return Row(f"planted: {planted.name}{where}")


def _hunt(planted: Planted, tries: Tries, say: Say, where: str = "") -> Row:
    """Try points, a few at a time, until one shows what was planted."""
    row = _row(planted, where)
    found, other = "", ""
    with timed(row):
        for outcomes in tries:
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
