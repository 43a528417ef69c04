"""How is the machine run for a long time?  `python -m mctree.testing --examples 5000 --steps 60`.

Prints the shortest failing run that Hypothesis finds, and exits with 1; or how much was tried, and exits with 0.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mctree.testing.machine import TreeMachine
from mctree.testing.tailoring import tree_machine

_AT_ONCE = 250
"""Stores to a run of Hypothesis, which remembers every choice of a run."""


def main(arguments: list[str] | None = None) -> int:
    """Run the machine; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mctree.testing", description="Drive stores against a model.")
    parser.add_argument("--examples", type=int, default=1000, help="stores to make (1000)")
    parser.add_argument("--steps", type=int, default=50, help="the most steps for each (50)")
    parser.add_argument("--vocabulary", type=int, help="stores of bare tokens, so many different ones; else of bytes")
    chosen = parser.parse_args(arguments)
    machine = TreeMachine if chosen.vocabulary is None else tree_machine(vocabulary=chosen.vocabulary)
    began = time.monotonic()
    for done in range(0, chosen.examples, _AT_ONCE):
        count = min(_AT_ONCE, chosen.examples - done)
        long = settings(
            max_examples=count,
            stateful_step_count=chosen.steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(machine, settings=long)
        except Exception:
            traceback.print_exc()
            return 1
        took = time.monotonic() - began
        sys.stdout.write(f"{done + count} stores of up to {chosen.steps} steps, {took:.0f} s: clean\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
