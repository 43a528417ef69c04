"""The machines find nothing: on paper, where there are images, and over real stores; and they would find a fault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mctree.testing import FocusMachine, FocusTreeMachine


def run(machine: Any, examples: int, steps: int, *, shrink: bool = False) -> None:
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
    run_state_machine_as_test(machine, settings=sizes)


def test_a_world_on_paper_with_images() -> None:
    run(FocusMachine, examples=60, steps=25)


def test_a_store_that_is_written_to() -> None:
    run(FocusTreeMachine, examples=25, steps=25)


@pytest.mark.slow
def test_for_a_long_time() -> None:
    run(FocusMachine, examples=3000, steps=50, shrink=True)
    run(FocusTreeMachine, examples=600, steps=50, shrink=True)
