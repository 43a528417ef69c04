"""The machine finds nothing: whatever is late, fails, or does not fit, what is seen is right."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mctree.testing import StreamMachine


def run(examples: int, steps: int, *, shrink: bool = False) -> None:
    sizes = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=not shrink,  # the suite says the same each time; the long form, which shrinks, looks elsewhere
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(StreamMachine, settings=sizes)


def test_a_context_on_a_device() -> None:
    run(examples=30, steps=20)


@pytest.mark.slow
def test_for_a_long_time() -> None:
    run(examples=3000, steps=50, shrink=True)
