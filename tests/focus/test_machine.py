"""The machines find nothing: on paper, where there are images, and over real stores; and they would find a fault."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mctree.focus import WorkingContext
from mctree.testing import FocusMachine, FocusTreeMachine, PaperWorld


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


def test_what_comes_in_the_place_of_what_is_gone_was_not_edited() -> None:
    """A document that is gone leaves a hole up to the end, which takes in new blocks: their smallest cover is a node
    whose children were entries a moment ago, and which may be expanded at once."""
    machine = FocusMachine()
    machine.world = PaperWorld()
    machine.world.place(1, [32] * 32)
    machine.world.place(2, [32] * 8)
    machine.ground = machine.world.ground()
    machine.watch(WorkingContext.smallest(machine.ground, 500))
    machine.world.remove(2)
    machine.world.place(3, [32] * 30)
    change = machine.refocus(machine.world.ground())
    there = [str(machine.context.entries.address(i)) for i in range(3)]
    assert there == ["2:0", "2:1", "1:64"] and change.forced == 0
    assert machine.step(np.where(machine.context.entries.level == 2, 1.0, 0.0)).expanded == 2


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "examples"), [(FocusMachine, 3000), (FocusTreeMachine, 600)])
def test_for_a_long_time(machine: Any, examples: int) -> None:
    run(machine, examples, steps=50, shrink=True)
