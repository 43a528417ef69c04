"""Are races of contenders fair, and their numbers in order?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.errors import ContenderFailed
from tools.bench.timing import Pace, Spread, race, ratios, values


class Clock:
    """Time that passes only when a contender says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def lasting(self, seconds: Callable[[int], float]) -> Callable[[int], None]:
        def call(number: int) -> None:
            self.now += seconds(number)

        return call


@given(
    times=st.lists(st.floats(1e-4, 10.0), min_size=1, max_size=5),
    rounds=st.integers(1, 12),
    turn_s=st.floats(0, 1),
)
def test_a_race_finds_the_times_and_ratios_of_steady_contenders(times: list[float], rounds: int, turn_s: float) -> None:
    clock = Clock()
    calls = {str(k): clock.lasting(lambda number, t=t: t) for k, t in enumerate(times)}
    found = race(calls, Pace(rounds, 1, turn_s, 1e9), clock)
    assert len(found) == rounds
    for k, expected in enumerate(times):
        assert values(found, str(k)) == pytest.approx([expected] * rounds, rel=1e-6)
        assert ratios(found, str(k), "0") == pytest.approx([expected / times[0]] * rounds, rel=1e-6)


@given(slow=st.lists(st.booleans(), min_size=3, max_size=9))
def test_ratios_do_not_see_what_slows_a_whole_round(slow: list[bool]) -> None:
    clock = Clock()
    turn = [0]
    factors = [1.0, 1.0, *(7.0 if one else 1.0 for one in slow)]

    def of(seconds: float) -> Callable[[int], None]:
        def call(number: int) -> None:
            turn[0] += 1
            clock.now += seconds * factors[(turn[0] - 1) // 2]

        return call

    found = race({"limit": of(1.0), "other": of(3.0)}, Pace(len(slow), 1, 0.0, 1e9), clock)
    assert ratios(found, "other", "limit") == pytest.approx([3.0] * len(slow))


@given(entrants=st.integers(1, 5), rounds=st.integers(1, 10))
def test_everybody_has_one_turn_a_round_and_every_place_in_turn(entrants: int, rounds: int) -> None:
    order: list[str] = []

    def of(name: str) -> Callable[[int], None]:
        return lambda number: order.append(name)

    names = [str(k) for k in range(entrants)]
    race({name: of(name) for name in names}, Pace(rounds, rounds, 0.0, 0.0), Clock())
    played = order[2 * entrants :]
    by_round = [played[k * entrants : (k + 1) * entrants] for k in range(rounds)]
    assert all(sorted(one) == names for one in by_round)
    if rounds >= entrants:
        assert {one[0] for one in by_round} == set(names)


@given(most=st.integers(2, 60), turn_s=st.floats(0, 20))
def test_no_contender_makes_more_calls_than_it_may_beyond_its_first_turn(most: int, turn_s: float) -> None:
    clock = Clock()
    made = [0]

    def call(number: int) -> None:
        made[0] += 1
        clock.now += 1.0

    race({"one": call}, Pace(1000, 1, turn_s, 1e9, most), clock)
    assert made[0] <= max(most, 2 + int(turn_s) + 2)


@given(cold=st.floats(2.0, 4.0), slow=st.integers(5, 40), rest=st.floats(0.0, 3.0))
def test_who_is_slow_after_a_rest_is_timed_when_it_has_its_data_again(cold: float, slow: int, rest: float) -> None:
    """As on a host that takes memory back which nobody touches: the first calls after each rest are slow."""
    clock = Clock()
    last, left = -1e9, slow

    def resting(number: int) -> None:
        nonlocal last, left
        left = slow if clock.now - last > 0.1 else left - 1
        clock.now += 0.001 * (cold if left > 0 else 1.0)
        last = clock.now

    other = clock.lasting(lambda number: 0.2 + rest)
    # So many calls as are slow make most of a turn, but no more than all of one, and last no longer than five.
    found = race({"resting": resting, "other": other}, Pace(7, 3, 0.0011 * slow, 1e9), clock)
    assert values(found, "resting") == pytest.approx([0.001] * 7)


def test_a_race_ends_with_its_budget_but_not_before_its_fewest_rounds() -> None:
    clock = Clock()
    call = clock.lasting(lambda number: 1.0)
    assert len(race({"one": call}, Pace(100, 4, 0.0, 2.0), clock)) == 4
    assert len(race({"one": call}, Pace(100, 1, 0.0, 10.5), clock)) == 11


def test_who_raises_in_a_race_is_named() -> None:
    def bad(number: int) -> None:
        raise OSError("broken")

    with pytest.raises(ContenderFailed) as caught:
        race({"good": lambda number: None, "bad": bad}, Pace(1, 1, 0.0, 1.0))
    assert caught.value.name == "bad"
    assert isinstance(caught.value.__cause__, OSError)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40))
def test_a_spread_is_in_order_and_within_its_numbers(numbers: list[float]) -> None:
    spread = Spread.of(numbers)
    slack = 1e-9 * max(numbers)
    assert min(numbers) - slack <= spread.q1 <= spread.median + slack
    assert spread.median <= spread.q3 + slack <= max(numbers) + 2 * slack
    assert spread.count == len(numbers)
