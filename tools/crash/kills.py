"""Does a store survive `kill -9` at any moment?  Ingests and compactions are killed at random, again and again.

A corpus of made-up files is ingested, in many small commits, by a process that is killed after a random time.  The next
one goes on from what it finds, and is killed as well, until one comes to its end; then files change, grow, come and go,
and it all begins anew.  In between the store is compacted, by processes that are killed too.  After every kill no
commit that was acknowledged is missing, everything verifies, and every document is one that a file had, whole, or, if
it is still open, the beginning of one.  What came to its end is the same as the files.

The same is done to the real command, on real files.
"""

from __future__ import annotations

import os
import random
import shutil
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import scipy.sparse  # noqa: F401  # so that victims need not

import mctree
import mctree.encoders.lexical
from mctree.errors import MctreeError
from mctree.ingest import ingest
from tools.crash.commanded import acknowledge_commits, command
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.victims import Ending, in_judgement, killed_after, sound
from tools.crash.workers import Workers

__all__ = ["PART", "Outcome", "Trial", "attempt", "attempt_command", "failures", "failures_of_command", "run"]

_WORDS = tuple(
    bytes(random.Random(n).choices(b"abcdefghijklmnop", k=random.Random(n).randint(2, 9))) for n in range(600)
)
_SIZES = (0, 20, 300, 3000, 3000, 20000)
_BATCH_BYTES = 8192
_CHUNK_BYTES = 1 << 16
_IN_A_ROW = 8
"""After so many kills without an end, one run is let be."""
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Some kills of one store.

    Attributes:
        scratch: a folder.
        seed: of everything that is random.
        kills: how many.
        plant: plants a fault, where it is to be seen whether it is found.
    """

    scratch: str
    seed: int
    kills: int
    plant: Callable[[], None] = sound


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial: how many were killed, and what is wrong."""

    killed: int
    failures: tuple[str, ...]


class Corpus:
    """A folder of files that change.

    Attributes:
        folder: where they are.
        now: their contents, by name.
        known: all contents that each ever had.
    """

    def __init__(self, folder: str, dice: random.Random) -> None:
        self.folder = folder
        self.now: dict[str, bytes] = {}
        self.known: dict[str, set[bytes]] = {}
        self._dice = dice
        os.mkdir(folder)
        for n in range(30):
            self._put(f"{n}.txt", self._text())

    def change(self) -> None:
        """Let some files change, grow, come and go."""
        for _ in range(self._dice.randint(1, 12)):
            name = self._dice.choice(sorted(self.now))
            match self._dice.randrange(4):
                case 0:
                    self._put(name, self._text())
                case 1:
                    self._put(name, self.now[name] + self._text())
                case 2:
                    self._put(f"{self._dice.randrange(60)}.txt", self._text())
                case 3 if len(self.now) > 10:
                    os.unlink(os.path.join(self.folder, name))
                    del self.now[name]

    def _text(self) -> bytes:
        size = self._dice.choice(_SIZES)
        return b" ".join(self._dice.choices(_WORDS, k=size // 6))[:size]

    def _put(self, name: str, content: bytes) -> None:
        Path(self.folder, name).write_bytes(content)
        self.now[name] = content
        self.known.setdefault(name, set()).add(content)


def attempt(trial: Trial) -> Outcome:
    """Kill ingests and compactions of a made-up corpus."""
    dice = random.Random(trial.seed)
    folder = os.path.join(trial.scratch, f"trial {trial.seed}")
    os.mkdir(folder)
    store = os.path.join(folder, "corpus.mctree")
    corpus = Corpus(os.path.join(folder, "corpus"), dice)
    tokenizer = dice.choice(("bytes", None))

    def ingesting(say: Callable[[str], None]) -> None:
        trial.plant()
        acknowledge_commits(say)
        ingest(
            [corpus.folder],
            store,
            tokenizer=None if os.path.exists(store) else tokenizer,
            batch_bytes=_BATCH_BYTES,
            chunk_bytes=_CHUNK_BYTES,
            workers=1,
        )

    def compacting(say: Callable[[str], None]) -> None:
        with mctree.open(store) as tree:
            tree.compact()

    trying = _Trying(store, trial, dice)
    try:
        while trying.wanting:
            trying.until_done("ingest", ingesting, lambda: _found_wrong(store, corpus.known, None))
            trying.expect_nothing("ingest, done", lambda: _found_wrong(store, corpus.known, corpus.now))
            if dice.random() < 0.5:
                trying.until_done("compaction", compacting, lambda: _found_wrong(store, corpus.known, corpus.now))
                trying.expect_nothing("compaction, done", lambda: _found_wrong(store, corpus.known, corpus.now))
            corpus.change()
        return Outcome(trying.killed, tuple(trying.failures))
    finally:
        shutil.rmtree(folder)


def failures(trial: Trial) -> tuple[str, ...]:
    """What is wrong after ingests were killed."""
    return attempt(trial).failures


def failures_of_command(trial: Trial) -> tuple[str, ...]:
    """What is wrong after the command was killed."""
    return attempt_command(trial).failures


def attempt_command(trial: Trial) -> Outcome:
    """Kill `mctree ingest`, in a process as a user starts it, on files of Python's standard library."""
    dice = random.Random(trial.seed)
    folder = os.path.join(trial.scratch, f"command {trial.seed}")
    os.mkdir(folder)
    source = os.path.join(sysconfig.get_path("stdlib"), dice.choice(("email", "asyncio", "unittest", "encodings")))
    store = os.path.join(folder, "library.mctree")
    files = {
        os.path.relpath(os.path.join(below, name), source): Path(below, name).read_bytes()
        for below, _, names in os.walk(source)
        for name in names
        if name.endswith(".py")
    }
    notes = Path(folder, "acknowledged")
    started = command(str(notes), trial.plant, "ingest", source, "-o", store, "-q", "--include", "*.py")

    def work(_: Callable[[str], None]) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.execv(started[0], started)

    trying = _Trying(store, trial, dice, longest=2.0, notes=notes)
    known = {name: {content} for name, content in files.items()}
    try:
        while trying.wanting:
            shutil.rmtree(store, ignore_errors=True)
            trying.acknowledged.clear()
            notes.write_bytes(b"")
            trying.until_done("mctree ingest", work, lambda: _found_wrong(store, known, None))
            trying.expect_nothing("mctree ingest, done", lambda: _found_wrong(store, known, files))
        return Outcome(trying.killed, tuple(trying.failures))
    finally:
        shutil.rmtree(folder)


class _Trying:
    """Kills work on one store until enough was killed."""

    def __init__(
        self, store: str, trial: Trial, dice: random.Random, longest: float = 0.4, notes: Path | None = None
    ) -> None:
        self.acknowledged: set[int] = set()
        self.killed = 0
        self.failures: list[str] = []
        self._store = store
        self._trial = trial
        self._dice = dice
        self._longest = longest
        self._notes = notes

    @property
    def wanting(self) -> bool:
        """Whether more is to be killed, and nothing went wrong so far."""
        return self.killed < self._trial.kills and not self.failures

    def until_done(
        self, name: str, work: Callable[[Callable[[str], None]], object], judgement: Callable[[], Sequence[str]]
    ) -> None:
        """Begin some work again and again, until it comes to its end."""
        in_a_row = 0
        while not self.failures:
            is_let_be = in_a_row == _IN_A_ROW or not self.wanting
            patience = _PATIENCE if is_let_be else self._dice.uniform(0, self._longest)
            began = time.monotonic()
            ending = killed_after(work, patience)
            self._note(name, ending)
            if not ending.killed:
                if not in_a_row:
                    self._longest = max(self._longest, time.monotonic() - began)
                return
            in_a_row += 1
            self.killed += 1
            self.expect_nothing(f"{name}, killed after {1000 * patience:.0f} ms", judgement)

    def expect_nothing(self, when: str, judgement: Callable[[], Sequence[str]]) -> None:
        """Let somebody look at the store."""
        if not os.path.lexists(self._store):
            problems = ["the store is not there"] if self.acknowledged else []
        else:
            problems = in_judgement(lambda: [*_missing(self._store, self.acknowledged), *judgement()])
        self._fail(when, problems)

    def _note(self, name: str, ending: Ending) -> None:
        noted = () if self._notes is None else self._notes.read_text().splitlines()
        self.acknowledged.update(map(int, (*ending.acknowledged, *noted)))
        self._fail(name, [ending.failure] if ending.failure else [])

    def _fail(self, when: str, problems: Sequence[str]) -> None:
        where = f"seed {self._trial.seed}, kill {self.killed}, {when}"
        self.failures += [f"{where}: {problem}" for problem in problems]


def _missing(store: str, acknowledged: set[int]) -> list[str]:
    """Which commits should be there and are not."""
    with mctree.open(store, writable=False) as tree:
        there = [commit.number for commit in tree.commits()]
    gone = sorted(number for number in acknowledged - {*there} if number >= there[0])
    lost = [number for number in gone if number > there[-1]]
    return [f"of the acknowledged commits {lost or gone} are gone; there are {there[0]} … {there[-1]}"] if gone else []


def _found_wrong(store: str, known: dict[str, set[bytes]], now: dict[str, bytes] | None) -> list[str]:
    """What is wrong with a store of files.

    Args:
        store: where it is.
        known: the contents that each file ever had.
        now: what it has to hold, if that is known.
    """
    try:
        with mctree.open(store, writable=False) as tree, closing(tree.snapshot()) as snapshot:
            problems = [f"verify: {problem.where} {problem.what}" for problem in tree.verify()]
            found = {}
            for document in snapshot.documents():
                name, content = document.name.partition("/")[2], document.read()
                found[name] = content
                possible = known.get(name, set())
                if content not in possible and not (
                    document.open and any(whole.startswith(content) for whole in possible)
                ):
                    problems.append(f"{document.name} holds {len(content)} bytes that no file ever had")
    except (MctreeError, OSError) as error:
        return [f"{type(error).__name__}: {error}"]
    if now is not None and found != now:
        wrong = sorted(name for name in {*found, *now} if found.get(name) != now.get(name))
        problems.append(f"{wrong} are not as their files are")
    return problems


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Kill at random moments."""
    result = Result()
    plans = {
        "quick": (("ingests and compactions", attempt, 4, 10), ("mctree ingest, the command", attempt_command, 2, 1)),
        "long": (
            ("ingests and compactions", attempt, 160, 30),
            ("mctree ingest, the command", attempt_command, 60, 10),
        ),
    }
    with Workers() as workers:
        for what, work, trials, kills in plans[scale]:
            row = Row(f"{what}, killed at random moments")
            if not wants(row.what):
                continue
            with timed(row):
                for done, outcome in enumerate(
                    workers.each(work, [Trial(str(scratch), seed, kills) for seed in range(trials)]), 1
                ):
                    row.points += outcome.killed
                    row.failures += outcome.failures
                    if done % 10 == 0:
                        say(f"{row.what}: {row.points} kills, {len(row.failures)} failures")
            say(f"{row.what}: {row.points} kills, {len(row.failures)} failures, {row.seconds:.0f} s")
            result.rows.append(row)
    return result


PART = Part("kills", "an ingest that is killed at any moment loses nothing, and the next one goes on", run)
