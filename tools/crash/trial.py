"""What comes of a damaged store that somebody writes to who knows of no damage?  Steps are tried on a copy, and judged.

Each step is done in a tree that is opened anew, or is refused with one typed error of one line.  Then the store is
judged by what a whole store is after the same steps:

* the commits that it listed when it was damaged, and those made since, it lists, if the whole one does, and it opens
  if it did;
* the committed rows that its files held lie there, byte for byte, damaged ones among them, if those of the whole do;
* whatever records its index held, of those that commits depend on, it holds, if that of the whole one does;
* if `verify` is silent, all that it shows, at each of its commits, is what the whole store shows, and its metadata tell
  other readers what those of the whole do.

So damage is neither dropped, nor taken over under checksums that are valid.  A damaged page of the index may
end the process of a writer, as it may that of a reader, or lead it around in circles until it is ended; what it leaves
is judged as well.
"""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import mctree
from mctree.errors import MctreeError
from mctree.format.keys import Table, u64
from mctree.format.values import describe
from mctree.storage.index import SUMMED
from mctree.storage.pages import damaged_pages
from mctree.testing.processes import FAILED, UNFIT, in_child
from tools.crash.damage import prepare_to_die
from tools.crash.naming import INDEX
from tools.crash.parts import Row, Say, timed
from tools.crash.shown import described, shown
from tools.crash.specimen import ENCODERS, opened

__all__ = ["Point", "Steps", "Trial", "Victim", "tried"]

Steps = Mapping[str, Callable[[mctree.Tree], None]]
"""What a writer does, one after the other, whatever was refused before, by what it is called."""

_PATIENCE = 5
"""Seconds of the processor that one step, or one look, may take: a damaged index may lead it around in circles."""
_UNKNOWN = "refused: WriterFailedError: "
"""Of a writer that failed, and of a process that died, nobody knows whether it had made its commit."""


@dataclass(frozen=True, slots=True)
class Point:
    """A damage.

    Attributes:
        file: the file, or the folder, that is hit.
        what: what is done, in words.
        do: does it to the store at a path.
        lost: the key of the record of the index that is lost, if one is.
    """

    file: str
    what: str
    do: Callable[[str], None]
    lost: bytes = b""


class _Whole(NamedTuple):
    """A whole store after some steps: what it shows, its commits, its records, the files whose rows it still holds."""

    shows: dict[str, str]
    commits: list[int]
    records: set[bytes]
    files: set[str]


class Victim(Protocol):
    """A store before it is damaged."""

    @property
    def path(self) -> str:
        """Where it is."""

    @property
    def before(self) -> dict[str, object]:
        """All that it shows."""

    @property
    def committed(self) -> dict[str, int]:
        """How many bytes of each file of rows are committed."""


class _Had(NamedTuple):
    """What a damaged store held: its commits, if it opened, its records, the committed rows in each file."""

    commits: list[int] | None
    records: set[bytes]
    rows: dict[str, bytes]


@dataclass(slots=True)
class Trial:
    """Writers are let loose on damaged copies of a specimen.

    Attributes:
        specimen: what it was before.
        steps: what they do; the store is judged before the last step, and after it.
        counts: how many steps were done, refused, and died of.
    """

    specimen: Victim
    steps: Steps
    counts: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[str, ...], _Whole] = field(default_factory=dict)

    def failure(self, point: Point) -> str:
        """What breaks if a store has a damage and is written to; nothing if all is as promised."""
        path = f"{self.specimen.path}.copy"
        shutil.copytree(self.specimen.path, path)
        try:
            point.do(path)
            broken = self._written(path, point)
        finally:
            shutil.rmtree(path)
            shutil.rmtree(self._beside(path), ignore_errors=True)
        return f"{point.what}: {broken}" if broken else ""

    def _written(self, path: str, point: Point) -> str:
        commits, records = self._asked(partial(_listed, path))[1] or (None, set[bytes]())
        had = _Had(commits, records, self._rows(path))
        ways: list[tuple[str, ...]] = [()]
        *_, last = self.steps
        for step in self.steps:
            if step == last and (broken := self._judged(path, point, had, ways)):
                return broken
            ended, said = self._asked(partial(_step, path, self.steps[step]))
            if said is None and point.file != INDEX:
                return f"to {step} {'raised' if ended in (FAILED, UNFIT) else 'ended the process'}"
            self.counts["died" if said is None else "refused" if said else "done"] += 1
            if said and not (said.isprintable() and said.startswith("refused: ")):
                return f"to {step} {said!r}"
            if not said or said.startswith(_UNKNOWN):
                ways = ([] if said == "" else ways) + [(*way, step) for way in ways]
        return self._judged(path, point, had, ways)

    def _judged(self, path: str, point: Point, had: _Had, ways: Sequence[tuple[str, ...]]) -> str:
        """What is wrong with a store that was written to.

        Args:
            path: the store.
            point: how it was damaged.
            had: what it held then.
            ways: the steps that were done, each set of them that it may be.
        """
        wholes = [self._whole(way) for way in ways]
        for file, held in had.rows.items():
            if all(file in whole.files for whole in wholes) and not _holds(path, file, held):
                return f"the rows that {file} held are there no more"
        ended, said = self._asked(partial(_judged, path, self.specimen.before))
        if said is None:
            return "" if point.file == INDEX else f"it cannot be looked at: {ended}"
        problem, commits, records, now = said
        if commits is None:
            return "" if had.commits is None or point.file == INDEX else f"it does not open any more: {problem}"
        before = self._whole(()).commits
        may_go = set().union(*({*before} - {*whole.commits} for whole in wholes))
        made = {commit for commit in set.intersection(*({*whole.commits} for whole in wholes)) if commit > max(before)}
        if commits and (dropped := ({*(had.commits or ())} - may_go | made) - {*commits}):
            return f"commits {sorted(dropped)} were dropped"
        lost = _commit_of(point.lost)
        needed = set.intersection(had.records, *(whole.records for whole in wholes))
        if records is not None and lost is None and (gone := needed - records):
            return f"index record {describe(min(gone))} is there no more"
        if problem:
            return ""
        if isinstance(now, str):
            return f"verify is silent, and {now}"
        different = [_different(now, commits, whole, lost) for whole in wholes]
        return "" if "" in different else f"verify is silent, and {different[0]} is not what it was"

    def _whole(self, way: tuple[str, ...]) -> _Whole:
        """What a whole store is after some steps."""
        if way not in self._known:
            path = f"{self.specimen.path}.whole"
            shutil.copytree(self.specimen.path, path)
            rows = self._rows(path)
            try:
                for step in way:
                    said = self._asked(partial(_step, path, self.steps[step]))[1]
                    assert said == "", f"a whole store: to {step} is {said}"
                problem, commits, records, shows = self._asked(partial(_judged, path, self.specimen.before))[1]
                assert not problem, problem
                held = {file for file, content in rows.items() if _holds(path, file, content)}
                self._known[way] = _Whole(shows, commits, records, held)
            finally:
                shutil.rmtree(path)
        return self._known[way]

    def _rows(self, path: str) -> dict[str, bytes]:
        """The committed rows that the files of a store hold, as far as they do."""
        found = {}
        for file, size in self.specimen.committed.items():
            if Path(path, file).is_file():
                found[file] = Path(path, file).read_bytes()[:size]
        return found

    def _asked(self, work: Callable[[], object]) -> tuple[int, Any]:
        """How a child ended that does some work, and what came of it; None if it did not come to its end."""
        answer = Path(f"{self.specimen.path}.answer")
        answer.unlink(missing_ok=True)

        def in_it() -> None:
            prepare_to_die(_PATIENCE)
            answer.write_bytes(pickle.dumps(work()))

        ended = in_child(in_it)
        return ended, pickle.loads(answer.read_bytes()) if ended == 0 else None

    @staticmethod
    def _beside(path: str) -> Path:
        return Path(path).with_name(f".{Path(path).name}.compacting")


def _listed(path: str) -> tuple[list[int] | None, set[bytes]]:
    """The commits that a store lists, if it opens, and the records of its index, if all its pages are whole."""
    commits, records = None, set[bytes]()
    try:
        with opened(path) as tree:
            commits = [commit.number for commit in tree.commits()]
            if not any(fault.lost for fault in damaged_pages(tree.store)):
                records = _records(tree)
    except MctreeError:
        pass
    return commits, records


def _records(tree: mctree.Tree) -> set[bytes]:
    """The keys of the records of an index that a commit sums up, whole or not."""
    with tree.store.reading() as index:
        return {key for key, _ in index.raw() if key[:1] in SUMMED}


def _step(path: str, step: Callable[[mctree.Tree], None]) -> str:
    """Do a step; what was said if it was not done."""
    try:
        with mctree.open(path, encoders=ENCODERS) as tree:
            step(tree)
    except MctreeError as error:
        return f"refused: {type(error).__name__}: {error}"
    except Exception as error:  # whatever it is, it is to be told
        return f"raised {type(error).__name__}: {error}"
    return ""


def _judged(
    path: str, before: dict[str, object]
) -> tuple[str, list[int] | None, set[bytes] | None, dict[str, str] | str]:
    """What `verify` says first, which commits are listed, the records, and what is shown, if it is silent.

    Of the commits: none if a page of the index is damaged, and None if the store does not open; None of the records
    in either case.
    """
    try:
        with opened(path) as tree:
            problem = next(iter(tree.verify()), None)
            if problem is not None and problem.kind == "page":
                return f"{problem}", [], None, {}  # what reads more of it may die
            commits = [commit.number for commit in tree.commits()]
            records = _records(tree)
            if problem is not None:
                return f"{problem}", commits, records, {}
            return "", commits, records, _seen(tree, before)
    except MctreeError as error:
        return f"{error}", None, None, {}


def _seen(tree: mctree.Tree, before: dict[str, object]) -> dict[str, str] | str:
    """What a store shows, each of it as a digest, without the times of new commits; or why it cannot be shown."""
    try:
        found = shown(tree)
    except MctreeError as error:
        return f"{error}"
    found.update((file, metadata) for file, (metadata, _) in described(tree.path).items())
    for commit in tree.commits():
        if before["epoch"] != tree.epoch or f"{commit.number}" not in before:
            found[f"{commit.number}"] = commit.parent, commit.next
    return {what: blake2b(repr(value).encode(), digest_size=16).hexdigest() for what, value in found.items()}


def _different(now: dict[str, str], commits: list[int], whole: _Whole, lost: int | None) -> str:
    """Something that is not as in a whole store; nothing if all is.

    Args:
        now: what is shown.
        commits: the commits that are listed.
        whole: the whole store.
        lost: the commit whose own record was lost.  Of it nothing is shown, and another may be kept in its place.
    """
    wanted, unlike = whole.shows, set()
    if lost is not None:
        if missing := {*whole.commits} - {*commits, lost}:
            return f"commit {min(missing)}"
        unlike = {"commits", *map(str, {*whole.commits} ^ {*commits})}
    names = (what for what in sorted({*wanted, *now}) if what.partition(" ")[0] not in unlike)
    return next((what for what in names if wanted.get(what) != now.get(what)), "")


def _commit_of(key: bytes) -> int | None:
    """The commit that a key is of the record of."""
    return int(u64.unpack(key[1:])[0]) if key[:1] == Table.COMMIT else None


def _holds(path: str, file: str, rows: bytes) -> bool:
    """Whether rows lie in a file, or among the older generations."""
    places = [Path(path, file), *Path(path, "generations").glob("*")]
    return any(place.is_file() and place.read_bytes()[: len(rows)] == rows for place in places)


def tried(what: str, trial: Trial, points: Sequence[Point], say: Say) -> Row:
    """Try points, as a row that is told of."""
    row = Row(what)
    with timed(row):
        for point in points:
            row.points += 1
            row.failures += filter(None, [trial.failure(point)])
    row.notes = ", ".join(f"{count} steps {what}" for what, count in sorted(trial.counts.items()))
    say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s; {row.notes}")
    return row
