"""Faults put into the engine on purpose, and whether a machine finds them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from mctree.errors import MctreeError

Patch = pytest.MonkeyPatch
GIVEN_AWAY = AssertionError, MctreeError, LookupError, ValueError
"""How a fault shows: in a comparison, in an error of the engine, or in arrays that do not fit each other.

Not as an error of a type, an attribute or a name: then the plant does not fit the code.  Nor as what Hypothesis calls
flaky, as it does with a test whose time is up.
"""


_HUNTS = 10


class Plants(dict[str, Callable[[Patch], None]]):
    """Faults by name; a decorator of the functions that put them in."""

    def __call__(self, plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        self[plant.__name__] = plant
        return plant


def wrapped(patch: Patch, owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Let calls of `owner.name` go to `around(real, *args)`.

    What that raises by itself, and nothing that it calls, says that it does not fit `owner.name`.
    """
    real = getattr(owner, name)

    def planted(*args: Any, **options: Any) -> Any:
        try:
            return around(real, *args, **options)
        except GIVEN_AWAY as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if frame.f_code is around.__code__:
                raise TypeError(f"{around.__qualname__} does not fit {name}: {error}") from error
            raise

    patch.setattr(owner, name, planted)


def assert_found(machine: type[RuleBasedStateMachine], examples: int, steps: int, start: int) -> None:
    """Run a machine over what is faulty now: it says so.  Whatever else ends the run is raised, and is no find.

    The hunt begins anew a few times: the first tenth of each, up to 50 examples, are small, and find little.

    Args:
        machine: what hunts.
        examples: runs of it in one hunt.
        steps: of a run at most.
        start: of the random numbers of the first hunt.  Any will do, and some find most plants at once.
    """
    hunting = settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    for hunt in range(_HUNTS):
        try:
            run_state_machine_as_test(seed(start + hunt)(type(machine.__name__, (machine,), {})), settings=hunting)
        except GIVEN_AWAY:
            return
    pytest.fail(f"not found in {_HUNTS} hunts of {examples} examples")
