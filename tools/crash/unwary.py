"""What if somebody who knows of no damage goes on writing?  To a copy of a small store that was damaged, each time.

A writer appends, changes an image, removes, makes and refreshes gists, and compacts, each time in a tree that is opened
anew.  Each step is done, or is refused with one typed error of one line.  Then the store is judged:

* whatever it listed of commits when it was damaged, it lists, and it opens if it did;
* the committed rows that its files held lie there, byte for byte, damaged ones among them, until it is compacted;
* if `verify` is silent, all that it shows, at each of its commits, is what a whole store shows after the same steps.

So damage is neither dropped, nor taken over under checksums that are valid.  A damaged page of the index may
end the process of a writer, as it may that of a reader, or lead it around in circles until it is ended; what it leaves
is judged as well.
"""

from __future__ import annotations

import pickle
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

import mctree
from mctree.errors import MctreeError
from mctree.format.keys import Table
from mctree.sources.images import Box
from mctree.testing.processes import FAILED, UNFIT, in_child
from tools.crash.damage import Damage, prepare_to_die
from tools.crash.index_bytes import IndexBytes
from tools.crash.mislaid import changes_of, some_of
from tools.crash.naming import INDEX
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.shown import shown
from tools.crash.specimen import ENCODERS, Specimen, is_advisory, kind_of, opened

__all__ = ["PART", "STEPS", "Point", "Trial", "bits_of", "in_records", "run"]

_SEED = 31
_NODE_BYTES = 8
"""Of a record in a page of an index, those before its key."""
_CHECKSUM_BYTES = 4
_TRIED = Table.CHUNK, Table.DOCUMENT, Table.RUN, Table.TAIL, Table.COMMIT, Table.IMAGE
"""Of these tables the quick form damages a record."""
_PATIENCE = 5
"""Seconds of the processor that one step, or one look, may take: a damaged index may lead it around in circles."""
_UNKNOWN = "refused: WriterFailedError: "
"""Of a writer that failed, and of a process that died, nobody knows whether it had made its commit."""
_EVERY_PAGE_BYTE: dict[Scale, int] = {"quick": 400, "long": 3}
"""Of so many bytes of pages that are of no record one is tried."""


def _append(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.add("new", b"appended to what may be damaged, " * 12)
        writer.reopen("stream").write(b"and a tail that goes on, " * 3)
        writer.commit(gists=False)


def _change(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.change_image("icon", np.full((4, 4, 1), 200, np.uint8), Box(2, 2, 6, 6))
        writer.commit(gists=False)


def _remove(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.remove("Capitals")
        writer.link((0, 32), (64, 96), kind="late")
        writer.commit(gists=False)


def _make_gists(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.commit(gists=True)


def _refresh(tree: mctree.Tree) -> None:
    tree.refresh_gists("kept")


STEPS: dict[str, Callable[[mctree.Tree], None]] = {
    "append": _append,
    "change an image": _change,
    "remove": _remove,
    "make gists": _make_gists,
    "refresh": _refresh,
    "compact": mctree.Tree.compact,
}
"""What the writer does, one after the other, whatever was refused before; it is judged before the last and after it."""


@dataclass(frozen=True, slots=True)
class Point:
    """A damage.

    Attributes:
        file: the file, or the folder, that is hit.
        what: what is done, in words.
        do: does it to the store at a path.
    """

    file: str
    what: str
    do: Callable[[str], None]


@dataclass(slots=True)
class Trial:
    """Writers are let loose on damaged copies of a specimen.

    Attributes:
        specimen: what it was before.
        counts: how many steps were done, refused, and died of.
    """

    specimen: Specimen
    counts: Counter[str] = field(default_factory=Counter)
    _wanted: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def failure(self, point: Point) -> str:
        """What breaks if a store has a damage and is written to; nothing if all is as promised."""
        path = f"{self.specimen.path}.copy"
        shutil.copytree(self.specimen.path, path)
        try:
            point.do(path)
            broken = self._written(path, point.file)
        finally:
            shutil.rmtree(path)
            shutil.rmtree(self._beside(path), ignore_errors=True)
        return f"{point.what}: {broken}" if broken else ""

    def _written(self, path: str, file: str) -> str:
        had: list[int] | None = self._asked(partial(_listed, path))[1]
        rows = self._rows(path)
        ways: list[tuple[str, ...]] = [()]
        for step in STEPS:
            compacted = step == "compact"
            if compacted and (broken := self._judged(path, file, had, rows, ways)):
                return broken
            ended, said = self._asked(partial(_step, path, step))
            if said is None and file != INDEX:
                return f"to {step} {'raised' if ended in (FAILED, UNFIT) else 'ended the process'}"
            self.counts["died" if said is None else "refused" if said else "done"] += 1
            if said and not (said.isprintable() and said.startswith("refused: ")):
                return f"to {step} {said!r}"
            if not said or said.startswith(_UNKNOWN):
                ways = ([] if said == "" else ways) + [(*way, step) for way in ways]
        return self._judged(path, file, had, None, ways)

    def _judged(
        self,
        path: str,
        file: str,
        had: list[int] | None,
        rows: dict[str, bytes] | None,
        ways: Sequence[tuple[str, ...]],
    ) -> str:
        """What is wrong with a store that was written to.

        Args:
            path: the store.
            file: what was damaged.
            had: the commits that it listed then; None if it did not open.
            rows: the committed rows that its files held; None if it was compacted since.
            ways: the steps that were done, each set of them that it may be.
        """
        if rows is not None and (gone := _gone(path, rows)):
            return f"the rows that {gone} held are there no more"
        ended, said = self._asked(partial(_judged, path, self.specimen.before))
        if said is None:
            return "" if file == INDEX else f"it cannot be looked at: {ended}"
        problem, commits, now = said
        if commits is None:
            return "" if had is None or file == INDEX else f"it does not open any more: {problem}"
        if rows is not None and commits and not set(had or ()) <= set(commits):
            return f"commits {sorted(set(had or ()) - set(commits))} were dropped"
        if problem:
            return ""
        if isinstance(now, str):
            return f"verify is silent, and {now}"
        different = [self._different(now, way) for way in ways]
        return "" if "" in different else f"verify is silent, and {different[0]} is not what it was"

    def _different(self, now: dict[str, str], way: tuple[str, ...]) -> str:
        """Something that is not as in a whole store after some steps; nothing if all is."""
        if way not in self._wanted:
            path = f"{self.specimen.path}.whole"
            shutil.copytree(self.specimen.path, path)
            try:
                for step in way:
                    assert self._asked(partial(_step, path, step))[1] == "", f"a whole store refuses to {step}"
                problem, _, self._wanted[way] = self._asked(partial(_judged, path, self.specimen.before))[1]
                assert not problem, problem
            finally:
                shutil.rmtree(path)
        wanted = self._wanted[way]
        return next((what for what in sorted({*wanted, *now}) if wanted.get(what) != now.get(what)), "")

    def _rows(self, path: str) -> dict[str, bytes]:
        """The committed rows that the files of a store hold, as far as they do."""
        found = {}
        for file, rows in self.specimen.naming.rows.items():
            if Path(path, file).is_file():
                found[file] = Path(path, file).read_bytes()[: rows.bytes]
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


def _listed(path: str) -> list[int] | None:
    """The commits that a store lists, if it opens."""
    try:
        with opened(path) as tree:
            return [commit.number for commit in tree.commits()]
    except MctreeError:
        return None


def _step(path: str, step: str) -> str:
    """Do a step; what was said if it was not done."""
    try:
        with mctree.open(path, encoders=ENCODERS) as tree:
            STEPS[step](tree)
    except MctreeError as error:
        return f"refused: {type(error).__name__}: {error}"
    except Exception as error:  # whatever it is, it is to be told
        return f"raised {type(error).__name__}: {error}"
    return ""


def _judged(path: str, before: dict[str, object]) -> tuple[str, list[int] | None, dict[str, str] | str]:
    """What `verify` says first, which commits are listed, and what they show, if it is silent.

    Of the commits: none if a page of the index is damaged, and None if the store does not open.
    """
    try:
        with opened(path) as tree:
            problem = next(iter(tree.verify()), None)
            if problem is not None and problem.kind == "page":
                return f"{problem}", [], {}  # what reads more of it may die
            commits = [commit.number for commit in tree.commits()]
            return "" if problem is None else f"{problem}", commits, {} if problem is not None else _seen(tree, before)
    except MctreeError as error:
        return f"{error}", None, {}


def _seen(tree: mctree.Tree, before: dict[str, object]) -> dict[str, str] | str:
    """What a store shows, each of it as a digest, without the times of new commits; or why it cannot be shown."""
    try:
        found = shown(tree)
    except MctreeError as error:
        return f"{error}"
    for commit in tree.commits():
        if before["epoch"] != tree.epoch or f"{commit.number}" not in before:
            found[f"{commit.number}"] = commit.parent, commit.next
    return {what: blake2b(repr(value).encode(), digest_size=16).hexdigest() for what, value in found.items()}


def _gone(path: str, rows: dict[str, bytes]) -> str:
    """A file whose rows lie neither under its name, nor among the older generations; nothing if there is none."""
    for file, held in rows.items():
        places = [Path(path, file), *Path(path, "generations").glob("*")]
        if not any(place.is_file() and place.read_bytes()[: len(held)] == held for place in places):
            return file
    return ""


# What is damaged


def in_records(specimen: Specimen) -> Iterator[tuple[bytes, list[Damage]]]:
    """Of each record of the index its key, and bits: three of the key, the tag's first, and of checksum and payload."""
    rng = random.Random(_SEED)
    data = Path(specimen.path, INDEX).read_bytes()
    spots = IndexBytes(data).spots
    for at, spot in sorted(spots.items(), key=itemgetter(0)):
        key = spot.key
        if key is None or data[at + _NODE_BYTES : at + _NODE_BYTES + len(key)] != key:
            continue
        start = at + _NODE_BYTES
        payload = start + len(key)
        places = [start, start + rng.randrange(1, len(key)) if len(key) > 1 else start, start + len(key) - 1]
        if spot.leads is None:
            places += [payload + rng.randrange(_CHECKSUM_BYTES)]
            places += [payload + _CHECKSUM_BYTES] if spots.get(payload + _CHECKSUM_BYTES) == spot else []
        yield key, [bit_of(place, rng) for place in places]


def bit_of(at: int, rng: random.Random) -> Damage:
    """A bit of a byte of the index."""
    return Damage(INDEX, at, bytes([1 << rng.randrange(8)]))


def bits_of(specimen: Specimen, scale: Scale) -> dict[str, list[Damage]]:
    """Single bits: of the index, of rows, and of metadata."""
    rng = random.Random(_SEED)
    spots = IndexBytes(Path(specimen.path, INDEX).read_bytes()).spots
    pages = sorted(at for at, spot in spots.items() if spot.key is None)
    records = list(in_records(specimen))
    if scale == "long":
        index = [damage for _, damages in records for damage in damages]
    else:
        of_tables = [[damages for key, damages in records if key[:1] == table] for table in _TRIED]
        index = [rng.choice(rng.choice(damages)) for damages in of_tables]
    index += [bit_of(at, rng) for at in rng.sample(pages, len(pages) // _EVERY_PAGE_BYTE[scale])]
    rows = []
    kinds: dict[str, list[str]] = {}
    for file in sorted(specimen.naming.rows):
        kinds.setdefault(kind_of(file), []).append(file)
    for files in kinds.values():
        for file in files if scale == "long" else [rng.choice(files)]:
            size, whole = specimen.naming.rows[file].size, specimen.naming.rows[file].bytes
            starts = range(0, whole, size) if size > 1 else range(0, whole, 16)
            chosen = starts if scale == "long" else [rng.choice(starts)]
            rows += [Damage(file, at + rng.randrange(size), bytes([1 << rng.randrange(8)])) for at in chosen]
    metadata = [file for file in specimen.files if kind_of(file) == "`zarr.json`"]
    described = [
        Damage(file, rng.randrange(specimen.size(file)), bytes([1 << rng.randrange(8)]))
        for file in (metadata if scale == "long" else [rng.choice(metadata)])
    ]
    return {"the index": index, "rows": rows, "`zarr.json`": described}


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Damage a store, and let a writer loose on it."""
    path, stages = scratch / "specimen.mctree", list[Path]()

    def stage() -> None:
        stages.append(Path(shutil.copytree(path, scratch / f"stage {len(stages)}")))

    specimen = Specimen.make(path, stage)
    groups = {
        f"written to, after a bit of {what} was flipped": [Point(one.file, f"{one}", one.do) for one in damages]
        for what, damages in bits_of(specimen, scale).items()
    }
    changes = [change for change in changes_of(specimen, stages) if not is_advisory(change.file)]
    if scale == "quick":
        changes = list(some_of(changes, turns=1))
    groups["written to, after a file was lost, cut, resized, swapped, put back"] = [
        Point(change.file, change.what, change.do) for change in changes
    ]
    result = Result()
    for what, points in groups.items():
        if not wants(what):
            continue
        row, trial = Row(what), Trial(specimen)
        result.rows.append(row)
        with timed(row):
            for point in points:
                row.points += 1
                row.failures += filter(None, [trial.failure(point)])
        row.notes = ", ".join(f"{count} steps {what}" for what, count in sorted(trial.counts.items()))
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s; {row.notes}")
    return result


PART = Part(
    "unwary", "whoever writes to a damaged store neither drops a commit nor makes the damage pass for sound", run
)
