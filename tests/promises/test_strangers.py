"""What comes from a stranger is read, or refused with a typed error: the harness as the suite runs it, and faults."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from mctree.errors import CorruptError, MctreeError
from mctree.testing.stores import scratch
from tests.promises.planted_strangers import MUTANTS, Case, Patch
from tools.crash import strangers
from tools.crash.confined import DONE, REFUSED, confined
from tools.crash.fuzz.targets import TARGETS, Target, attempt


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def specimen() -> Iterator[Path]:
    with scratch() as folder:
        yield strangers.make_specimen(Path(folder) / "specimen")


def test_whatever_a_stranger_gives_is_read_or_refused(folder: Path) -> None:
    result = strangers.run("quick", folder, print)
    assert result.failures == []
    assert all(row.points for row in result.rows)
    assert result.points >= 250


@pytest.mark.damages
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_planted_faults_are_found(
    folder: Path, specimen: Path, monkeypatch: Patch, mutant: Callable[[Patch, Path, Path], Iterable[Case]]
) -> None:
    with monkeypatch.context() as patch:
        # A machine that is busy must not pass for what takes for ever, unless that is what is looked for.
        seconds = 3 if "took longer" in MUTANTS[mutant] else 60
        for _, work in reversed(list(mutant(patch, specimen, folder))):
            if (found := confined(work, seconds=seconds)) not in (DONE, REFUSED):
                break
        else:
            pytest.fail("nothing was found")
    assert re.search(MUTANTS[mutant], found), found
    for left in folder.iterdir():
        shutil.rmtree(left)
    assert confined(work) in (DONE, REFUSED), "the engine itself is at fault"


def refuse() -> None:
    raise CorruptError("in one line")


def refuse_in_two_lines() -> None:
    raise CorruptError("in two\nlines")


def refuse_for_want_of_memory() -> None:
    try:
        bytearray(1 << 62)
    except MemoryError as error:
        raise CorruptError("in one line") from error


OUTCOMES: dict[str, tuple[Callable[[], object], str]] = {
    "nothing": (lambda: None, DONE),
    "a typed error": (refuse, REFUSED),
    "an error of two lines": (refuse_in_two_lines, "CorruptError not in one printable line"),
    "too much, told otherwise": (refuse_for_want_of_memory, "CorruptError for want of memory"),
    "another error": (lambda: {}["missing"], "KeyError"),
    "a signal": (lambda: os.kill(os.getpid(), 7), "ended by SIGBUS"),
    "for ever": (lambda: time.sleep(60), "took longer than 2 s"),
    "too much": (lambda: bytearray(1 << 31), "MemoryError"),
    "a program": (lambda: subprocess.run(["true"], check=False), "runs code: subprocess.Popen"),
    "a shell": (lambda: os.system("true"), "runs code: os.system"),
    "a pickle": (lambda: pickle.loads(b"cos\nsystem\n(S'true'\ntR."), "runs code: pickle.find_class"),
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_the_harness_tells_how_work_ends(what: str) -> None:
    work, outcome = OUTCOMES[what]
    assert outcome in confined(work, seconds=2)


def test_a_target_lets_nothing_pass_but_typed_errors_in_one_line() -> None:
    assert attempt(Target(lambda data: data, list), b"")
    assert not attempt(Target(lambda data: refuse(), list), b"")
    for fault in (refuse_in_two_lines, refuse_for_want_of_memory, lambda: {}["missing"]):
        with pytest.raises((AssertionError, KeyError)):
            attempt(Target(lambda data, fault=fault: fault(), list), b"")  # type: ignore[misc]


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("store", "image store")])
def test_what_a_decoder_is_made_for_is_decoded(name: str) -> None:
    if (lacking := TARGETS[name].lacks) is not None:
        pytest.skip(f"{lacking} is not installed")
    assert any(attempt(TARGETS[name], data) for data in islice(TARGETS[name].seeds(), 10))


@pytest.mark.parametrize("name", ["store", "image store"])
def test_a_store_that_nobody_forged_is_lived_through(name: str) -> None:
    attempt(TARGETS[name], b"")
    try:
        TARGETS[name].run(b"")
    except MctreeError as error:
        raise AssertionError("the specimen itself is refused") from error
