"""How long does a call take, on a machine that others use too?

Contenders take turns: in every round each of them makes a few calls, in an order that moves on by one from round to
round, so that what disturbs the machine falls on all alike.  A turn counts as the median of its calls; a contender's
ratio to the limit is taken round by round, between turns that lie close together, and only then as a median.

Who rests while others have their turns pays for it in the next one: the processor's caches hold something else by then,
and some hosts of virtual machines take memory back that was not touched for a second, which no figure of the guest
shows.  So a turn of more than one call begins with up to as many that are not timed, and how many make a turn is found
out when a contender has settled.  Nothing else is assumed about calls but that their time does not depend on others.
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
_SETTLED = 10  # after as much time as so many turns last, a contender has all of its data at hand
_WARM = 5  # no more calls go untimed at the beginning of a turn than fit in as much time as so many turns last

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
        max_calls: the most calls per contender beyond its first turn, None if there are any number.  Where they are
            counted, none is spared: a contender has two to settle, and one that is not timed begins a turn.
    """

    rounds: int
    min_rounds: int
    turn_s: float
    budget_s: float
    max_calls: int | None = None


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
    calls: dict[str, int] = {}
    used: dict[str, int] = {}
    for name, call in contenders.items():
        with _blaming(name):
            used[name], seconds = _settle(call, _SETTLED * pace.turn_s if pace.max_calls is None else 0.0, clock)
            calls[name] = max(1, min(_MOST_CALLS, int(pace.turn_s / max(seconds, 1e-9))))
    began = clock()
    rounds: list[Round] = []
    names = list(contenders)
    number = max(used.values(), default=0)
    for turn in range(pace.rounds):
        if turn >= pace.min_rounds and clock() - began > pace.budget_s:
            break
        next_turns = [used[name] + calls[name] + _untimed(calls[name], pace) for name in names]
        if rounds and pace.max_calls is not None and max(next_turns) > pace.max_calls:
            break
        times: dict[str, float] = {}
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            with _blaming(name):
                made, times[name] = _turn(contenders[name], number, calls[name], pace, clock)
            used[name] += made
        rounds.append(times)
        number += 2 * max(calls.values()) + 1  # odd, so that rounds begin at other plans each
    return rounds


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ContenderFailed(name) from error


def _settle(call: Callable[[int], object], settle_s: float, clock: Callable[[], float]) -> tuple[int, float]:
    """How many calls it took to settle for so long, two at least, and the median seconds of the latter half of them."""
    call(0)  # pays for what is made lazily
    began = clock()
    times = [_once(call, 1, clock)]
    while clock() - began < settle_s:
        times.append(_once(call, 1 + len(times), clock))
    return 1 + len(times), float(np.median(times[len(times) // 2 :]))


def _turn(
    call: Callable[[int], object], number: int, count: int, pace: Pace, clock: Callable[[], float]
) -> tuple[int, float]:
    """How many calls a turn of `count` timed ones took, and their median in seconds."""
    warm, most = 0, _untimed(count, pace)
    began = clock()
    while warm < min(most, 1) or (warm < most and clock() - began < _WARM * pace.turn_s):
        call(number + warm)
        warm += 1
    collected = gc.isenabled()
    gc.disable()
    try:
        times = [_once(call, number + warm + k, clock) for k in range(count)]
    finally:
        if collected:
            gc.enable()
    return warm + count, float(np.median(times))


def _untimed(count: int, pace: Pace) -> int:
    """The most calls that are not timed before so many that are."""
    return 0 if count == 1 else count if pace.max_calls is None else 1


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
