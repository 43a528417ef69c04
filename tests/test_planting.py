"""What counts as finding a planted fault, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule

from mctree.errors import CorruptError
from tests.planting import assert_found, wrapped


def machine(step: Any) -> type[RuleBasedStateMachine]:
    return type("Machine", (RuleBasedStateMachine,), {"step": rule()(step)})


@pytest.mark.parametrize(
    "error", [AssertionError("differs"), CorruptError("damaged"), KeyError(7), ValueError("shape")]
)
def test_what_gives_a_fault_away_is_a_find(error: Exception) -> None:
    def fail(self: object) -> None:
        raise error

    assert_found(machine(fail), examples=5, steps=5, start=0)


@pytest.mark.parametrize("error", [TypeError("arguments"), AttributeError("renamed"), NameError("gone")])
def test_a_plant_that_does_not_fit_the_code_is_no_find(error: Exception) -> None:
    def fail(self: object) -> None:
        raise error

    with pytest.raises(type(error)):
        assert_found(machine(fail), examples=5, steps=5, start=0)


def test_what_a_plant_itself_cannot_do_is_no_find(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        def sizes(self) -> tuple[int, int, int]:
            return 1, 2, 3

        def refuse(self) -> None:
            raise ValueError("in the engine")

    def unpacks(real: Any, self: Engine) -> Any:
        one, two = real(self)
        return one, two, 0

    wrapped(monkeypatch, Engine, "sizes", unpacks)
    with pytest.raises(TypeError, match="unpacks does not fit sizes: too many values to unpack"):
        assert_found(machine(lambda self: Engine().sizes()), examples=5, steps=5, start=0)
    wrapped(monkeypatch, Engine, "refuse", lambda real, self: real(self))
    assert_found(machine(lambda self: Engine().refuse()), examples=5, steps=5, start=0)


def test_a_plant_that_nothing_shows_is_no_find() -> None:
    with pytest.raises(pytest.fail.Exception, match="not found in 10 hunts"):
        assert_found(machine(lambda self: None), examples=5, steps=5, start=0)


def test_a_time_limit_that_is_run_into_is_no_find() -> None:
    """The limit strikes once, as that of a test does: Hypothesis cannot repeat it, and says that the test is flaky."""

    left = [20]

    def work(self: object) -> None:
        left[0] -= 1
        if not left[0]:
            pytest.fail("Timeout (>0.05s)")

    with pytest.raises(Flaky):
        assert_found(machine(work), examples=1000, steps=5, start=0)
