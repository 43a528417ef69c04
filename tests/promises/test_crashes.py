"""A killed process loses nothing that was acknowledged, and leaves nothing half done: sweeps as the suite runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mctree.storage import epochs
from mctree.storage.session import Session
from mctree.testing.processes import UNFIT, in_child
from mctree.testing.stores import scratch
from tools.crash import kills, mutants, pictures, planted, planted_readers, sweep
from tools.crash.scenario import ACTS, STEPS, judge, live
from tools.crash.victims import MISFIT, in_judgement, killed_after, killed_at, strace


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


def test_a_kill_at_any_system_call_loses_nothing(folder: Path) -> None:
    result = sweep.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert len(result.rows) == len(ACTS) + 1
    assert result.points >= 250


def test_a_kill_at_any_moment_of_an_ingest_loses_nothing(folder: Path) -> None:
    result = kills.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert result.points >= 40


def test_a_kill_at_any_system_call_loses_nothing_of_images(folder: Path) -> None:
    result = pictures.PART.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert result.points >= 60


def test_a_life_with_images_that_nobody_disturbs_is_as_it_is_foreseen(folder: Path) -> None:
    path, acknowledged = str(folder / "store"), list[str]()
    for act in pictures.LIFE.acts:
        pictures.live(path, acknowledged.append, [act])
    assert pictures.judge(path, acknowledged) == []
    assert "shows what none of them leads to" in pictures.judge(path, acknowledged[:-2])[0]


def test_planted_faults_are_found(folder: Path) -> None:
    result = mutants.run("quick", folder, print)
    assert result.failures == []
    assert len(result.rows) == sum(map(len, KINDS))


KINDS = (
    *(planted.POWER, planted.POWER_AGAIN, planted.CUTS_OF_PICTURES),
    *(planted.KILLS, planted.KILLS_AGAIN, planted.PICTURES, planted.INGEST, planted.COMMAND),
)
READERS = planted_readers.READERS, planted_readers.READERS_OF_IMAGES
PLANTS = {fault.plant: fault for kind in (*KINDS, *READERS) for fault in kind}


@pytest.mark.parametrize("fault", PLANTS.values(), ids=lambda fault: fault.plant.__name__)
def test_a_planted_fault_fits_the_engine(fault: planted.Planted) -> None:
    """Found by reading: one of the long form put a method that nobody calls into the engine, and so broke nothing."""
    assert in_child(fault.plant) == 0


def test_what_the_engine_does_not_have_cannot_be_planted() -> None:
    assert in_child(lambda: planted._plant(Session, "no_such_thing", None)) == UNFIT


def test_a_planted_fault_is_found_by_its_sign_and_by_nothing_else() -> None:
    fault = planted.Planted(planted.no_chunk_sync, r"node 1:\d+ is lost")
    assert mutants._hunt(fault, [[[], ["node 1:3 is lost"]]], print).failures == []
    (other,) = mutants._hunt(
        fault, [[["the victim ended with status 72"]], [["ImportError: of all things"]]], print
    ).failures
    assert "was not found at 2 points" in other
    assert "what failed otherwise: the victim ended" in other


def test_a_planted_fault_that_does_not_fit_the_code_is_no_find() -> None:
    def misfit(say: object) -> None:
        Session.no_such_thing()  # type: ignore[attr-defined]

    def fault(say: object) -> None:
        raise ValueError("on purpose")

    said = killed_after(misfit, 60).failure
    assert MISFIT in said
    assert MISFIT in in_judgement(lambda: [str(1 + None)])[0]  # type: ignore[operator]
    assert MISFIT not in killed_after(fault, 60).failure
    anything = planted.Planted(planted.no_chunk_sync, "")
    assert mutants._hunt(anything, [[[], [said]]], print).failures == [said]
    assert mutants._hunt(anything, [[[], ["found"]]], print).failures == []
    assert len(mutants._hunt(anything, [[[], []]], print).failures) == 1


def test_a_life_that_nobody_disturbs_is_as_the_model_has_it(folder: Path) -> None:
    for n, act in enumerate(ACTS):
        path, acknowledged = str(folder / act), list[str]()
        live(path, acknowledged.append, ACTS[: n + 1])
        assert acknowledged == [step.name for step in STEPS if step.act in ACTS[: n + 1]]
        assert judge(path, acknowledged) == []


@pytest.mark.damages
@pytest.mark.parametrize(
    ("act", "plant", "sign"),
    [
        ("collection", planted_readers.collecting_does_not_ask_who_reads, "was held reads something else"),
        ("compaction", planted_readers.a_compaction_does_not_ask_who_reads, "was held: CommitGoneError: "),
    ],
)
def test_what_is_held_through_an_act_and_goes_is_missed(
    folder: Path, act: str, plant: Callable[[], None], sign: str
) -> None:
    path = str(folder / "store")
    live(path, lambda _: None, ACTS[: ACTS.index(act)])

    def lived() -> list[str]:
        plant()
        try:
            live(path, lambda _: None, [act])
        except AssertionError as error:
            return [f"{error}"]
        return []

    (told,) = in_judgement(lived)
    assert sign in told


@pytest.mark.damages
def test_what_another_process_reads_and_the_next_writer_takes_is_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.prepare(folder)
    _, calls = sweep.calls_of(str(folder), "compaction")
    exchanged = next(n for n, call in enumerate(calls) if call.name == "renameat2")
    point = sweep.Point(str(folder), "compaction", calls[exchanged + 1], watched=True)
    assert sweep.attempt(point) == sweep.Outcome(1, ())
    monkeypatch.setattr(epochs, "_epoch_of", lambda path, identity: None)  # what stands beside is half made: so it goes
    (told,) = sweep.attempt(point).failures
    assert "another process: CommitGoneError: " in told


def test_a_judge_tells_more_and_less_than_was_acknowledged(folder: Path) -> None:
    path = str(folder / "store")
    live(path, lambda _: None, ACTS[:3])
    names = [step.name for step in STEPS if step.act in ACTS[:3]]
    assert "its newest commit is 5, not 3 or 4" in judge(path, names[:-2])[0]
    assert "its newest commit is 5, not 6 or 7" in judge(path, [*names, *(step.name for step in STEPS[5:6])])[0]
    assert judge(path, names) == []
    assert judge(str(folder / "none"), names) == ["the store is not there"]


def test_without_strace_the_tests_fail_and_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="apt-get install strace"):
        strace()


def test_victims_and_judges_that_fail_are_told_apart_from_those_that_are_killed() -> None:
    def writing(say: object) -> None:
        assert callable(say)
        say("one")
        say("two")

    def failing(say: object) -> None:
        raise ValueError("on purpose")

    ended = killed_after(writing, 60)
    assert (ended.acknowledged, ended.killed, ended.failure) == (("one", "two"), False, "")
    ended = killed_at(writing, "write", 2)
    assert (ended.acknowledged, ended.killed, ended.failure) == (("one",), True, "")
    assert "status 72" in killed_after(failing, 60).failure
    assert in_judgement(lambda: ["this", "that"]) == ["this", "that"]
    assert in_judgement(list) == []
    (line,) = in_judgement(lambda: [str(1 // 0)])
    assert "status 72" in line
