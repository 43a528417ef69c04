"""How long does a call take, on a machine that others use too?

Contenders take turns: in every round each of them makes a few calls, in an order that moves on by one from round to
round, so that what disturbs the machine falls on all alike.  A turn counts as the median of its calls; a contender's
ratio to the limit is taken round by round, between turns that lie close together, and only then as a median.

Nothing is assumed about the calls but that their time does not depend on what others do; a turn of more than one call
begins with one that is not timed, to bring the contender's own data back into the processor's caches.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tools.bench.errors import ContenderFailed

__all__ = ["Pace", "Round", "Spread", "race", "ratios", "values"]

_MOST_CALLS = 1000

Round = Mapping[str, float]
"""Seconds per call of each contender of one round."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a race lasts.

    Attributes:
        rounds: the most rounds.
        min_rounds: the fewest rounds.
        turn_s: seconds that a turn should last; one call at least.
        budget_s: no round begins after so many seconds, once there are `min_rounds`.
        max_calls: the most calls per contender, warm-up included.
    """

    rounds: int
    min_rounds: int
    turn_s: float
    budget_s: float
    max_calls: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its quartiles.

    Attributes:
        median: the middle.
        q1: a quarter lies below.
        q3: a quarter lies above.
        count: how many values there were.
    """

    median: float
    q1: float
    q3: float
    count: int

    @staticmethod
    def of(numbers: Sequence[float]) -> Spread:
        """The spread of one number or more."""
        q1, median, q3 = np.percentile(np.asarray(numbers, np.float64), [25, 50, 75])
        return Spread(float(median), float(q1), float(q3), len(numbers))

    def scaled(self, factor: float) -> Spread:
        """The spread of the same numbers, each times `factor`."""
        return Spread(self.median * factor, self.q1 * factor, self.q3 * factor, self.count)


def race(
    contenders: Mapping[str, Callable[[int], object]],
    pace: Pace,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Round]:
    """Let the contenders take turns.

    Args:
        contenders: by name, a function that makes the call of a given number; in one round all contenders begin with
            the same number.
        pace: when to stop.
        clock: seconds, ascending.

    Returns:
        For each round, the median seconds per call of each contender.

    Raises:
        ContenderFailed: a call raised.
    """
    # The first call pays for what is made lazily, so the second one says how many calls make a turn.
    calls: dict[str, int] = {}
    used = dict.fromkeys(contenders, 2)
    for name, call in contenders.items():
        with _blaming(name):
            call(0)
            calls[name] = max(1, min(_MOST_CALLS, int(pace.turn_s / max(_once(call, 1, clock), 1e-9))))
    began = clock()
    rounds: list[Round] = []
    names = list(contenders)
    number = 2
    for turn in range(pace.rounds):
        if turn >= pace.min_rounds and clock() - began > pace.budget_s:
            break
        if rounds and any(used[name] + calls[name] + 1 > pace.max_calls for name in names):
            break
        seconds: dict[str, float] = {}
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            with _blaming(name):
                seconds[name] = _turn(contenders[name], number, calls[name], clock)
            used[name] += calls[name] + 1
        rounds.append(seconds)
        number += max(calls.values()) + 1
    return rounds


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ContenderFailed(name) from error


def _turn(call: Callable[[int], object], number: int, count: int, clock: Callable[[], float]) -> float:
    """The median seconds of `count` calls, after one more where there are several."""
    if count > 1:
        call(number)
    collected = gc.isenabled()
    gc.disable()
    try:
        times = [_once(call, number + 1 + k, clock) for k in range(count)]
    finally:
        if collected:
            gc.enable()
    return float(np.median(times))


def _once(call: Callable[[int], object], number: int, clock: Callable[[], float]) -> float:
    began = clock()
    call(number)
    return clock() - began


def values(rounds: Sequence[Round], name: str) -> list[float]:
    """The seconds of one contender in the rounds that it took part in."""
    return [seconds[name] for seconds in rounds if name in seconds]


def ratios(rounds: Sequence[Round], name: str, limit: str) -> list[float]:
    """One contender's time over the limit's, in the rounds that both took part in."""
    return [seconds[name] / seconds[limit] for seconds in rounds if name in seconds and limit in seconds]
