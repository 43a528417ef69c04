"""Faults put into the engine on purpose, and whether a machine finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from mctree.errors import MctreeError

Patch = pytest.MonkeyPatch
GIVEN_AWAY = AssertionError, MctreeError, LookupError, ValueError
"""How a fault shows: in a comparison, in an error of the engine, or in arrays that do not fit each other.

Not as an error of a type, an attribute or a name: then the plant does not fit the code.  Nor as what Hypothesis calls
flaky, as it does with a test whose time is up.
"""


class Plants(dict[str, Callable[[Patch], None]]):
    """Faults by name; a decorator of the functions that put them in."""

    def __call__(self, plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        self[plant.__name__] = plant
        return plant


def wrapped(patch: Patch, owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Let calls of `owner.name` go to `around(real, *args)`."""
    real = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **options: around(real, *args, **options))


def assert_found(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run a machine over what is faulty now: it says so.  Whatever else ends the run is raised, and is no find."""
    hunting = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(GIVEN_AWAY):
        run_state_machine_as_test(machine, settings=hunting)
