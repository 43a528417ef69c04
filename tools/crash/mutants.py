"""Would these tests find anything?  Faults that are planted in the process that lives a life, and have to be found.

Each is a function that changes the engine in the process that calls it, which ends with it.  Those of `POWER` are
survived by every `kill -9` and shown by a power cut alone; those of `KILLS` are shown by a kill at some system call,
that of `INGEST` by one at a random moment.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import lmdb

from mctree.storage import chunks, creation, session
from mctree.storage.chunks import ArrayWriter, generation_name
from mctree.storage.files import opened
from mctree.storage.session import Session
from mctree.tree.writer import Writer
from tools.crash import kills, replay, sweep
from tools.crash.parts import Part, Result, Row, Say, Scale, timed
from tools.crash.victims import MISFIT
from tools.crash.workers import PROCESSES, Workers

__all__ = ["INGEST", "KILLS", "PART", "POWER", "run"]

Point = TypeVar("Point")
Plant = Callable[[], None]

_AT_ONCE = 4 * PROCESSES
"""How many points are tried before it is looked whether the fault was found."""
_MOST = 400
"""Points after which it was not."""


# Shown by a power cut


def no_chunk_sync() -> None:
    """Chunk files are written, and never synced."""

    class Careless:
        def __getattr__(self, name: str) -> Any:
            return (lambda fd: None) if name in ("fsync", "fdatasync") else getattr(os, name)

    _plant(chunks, "os", Careless())  # the module, as this one room sees it


def index_before_data() -> None:
    """The transaction is committed first, the rows that it speaks of are synced afterwards."""
    transact, sync = Session._transact, ArrayWriter.sync

    def early(self: Session, record: Any) -> Any:
        _plant(ArrayWriter, "sync", lambda self: None)
        commit = transact(self, record)
        _plant(ArrayWriter, "sync", sync)
        for writer in self._touched.values():
            writer.sync()
        return commit

    _plant(Session, "_transact", early)


def no_folder_sync() -> None:
    """Files are synced, and the folders in which their names stand are not."""
    fsync = os.fsync

    def files_only(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            fsync(fd)

    _plant(os, "fsync", files_only)


def index_sync_off() -> None:
    """LMDB is told not to sync."""
    real = lmdb.open
    _plant(lmdb, "open", lambda *arguments, **options: real(*arguments, **{**options, "sync": False}))


# Shown by a kill


def made_in_place() -> None:
    """A store is made under its own name, not beside it."""
    real = creation._make_folder
    _plant(creation, "_make_folder", lambda name, above, *, alone: real(name, above, alone=True))


def acknowledged_too_early() -> None:
    """`commit` returns the number of a commit that it has not made yet; the next call makes it."""
    real = Writer.commit
    put_off: set[int] = set()

    def commit(self: Writer, *, gists: bool | None = None) -> int:
        if id(self) in put_off:
            put_off.discard(id(self))
            return real(self, gists=gists)
        put_off.add(id(self))
        return self.snapshot.commit + 1

    _plant(Writer, "commit", commit)


def index_before_rows() -> None:
    """Rows are written when the transaction that speaks of them has been committed."""
    transact = Session._transact
    waiting: list[tuple[int, str, bytes, int]] = []

    def later(self: ArrayWriter, values: Any, inside: int) -> None:
        key = f"{self.layout.path}/{self.layout.chunk_key(self._chunk)}"
        waiting.append((self._at, key, values.tobytes(), inside * self._row_bytes))

    def early(self: Session, record: Any) -> Any:
        commit = transact(self, record)
        for at, key, data, offset in waiting:
            with opened(key, os.O_WRONLY, at) as fd:
                os.pwrite(fd, data, offset)
        waiting.clear()
        return commit

    _plant(ArrayWriter, "_write", later)
    _plant(Session, "_transact", early)


def published_before_the_commit() -> None:
    """A new generation of a chunk takes the place of the old one when it is written."""
    stage = ArrayWriter.stage

    def hasty(self: ArrayWriter, chunk: int, generation: int, values: Any) -> None:
        stage(self, chunk, generation, values)
        key = f"{self.layout.path}/{self.layout.chunk_key(chunk)}"
        os.rename(generation_name(self.number, chunk, generation), key, src_dir_fd=self._at, dst_dir_fd=self._at)

    _plant(ArrayWriter, "stage", hasty)


def nothing_is_recovered() -> None:
    """The next writer leaves what it finds as it is."""
    _plant(session, "recover", lambda store, newest: set())


POWER: Final[tuple[Plant, ...]] = (no_chunk_sync, index_before_data, no_folder_sync, index_sync_off)
KILLS: Final[dict[Plant, str]] = {
    made_in_place: "creation",
    acknowledged_too_early: "append",
    index_before_rows: "append",
    published_before_the_commit: "refresh",
    nothing_is_recovered: "compaction",
}
"""Each with the act that is killed."""
INGEST: Final = acknowledged_too_early
_KILLS_OF_A_TRIAL = 3


def _plant(owner: object, name: str, value: object) -> None:
    """Let something of the engine be something else, for as long as this process lives."""
    setattr(owner, name, value)


def run(scale: Scale, scratch: Path, say: Say) -> Result:
    """Plant each fault, and try points until it is found."""
    result = Result()
    sweep.prepare(scratch)
    with Workers() as workers:
        for plant, recording in zip(POWER, workers.each(partial(replay.record, str(scratch)), POWER), strict=True):
            states = _some(list(replay.states(recording)))
            in_order = (sorted(part, key=lambda state: state.cut.moment) for part in _in_parts(states))
            result.rows.append(_hunt(plant, (workers.each(replay.attempt, part) for part in in_order), say))
        for (plant, act), (_, calls) in zip(
            KILLS.items(), workers.each(partial(sweep.calls_of, str(scratch)), KILLS.values()), strict=True
        ):
            points = _some([sweep.Point(str(scratch), act, call, plant=plant) for call in calls])
            result.rows.append(_hunt(plant, (workers.each(sweep.failures, part) for part in _in_parts(points)), say))
        trials = [kills.Trial(str(scratch), seed, _KILLS_OF_A_TRIAL, INGEST) for seed in range(_AT_ONCE)]
        row = _hunt(INGEST, (workers.each(kills.failures, part) for part in ([trial] for trial in trials)), say)
        row.what += ", in ingests"
        result.rows.append(row)
    return result


def _some(points: list[Point]) -> list[Point]:
    """As many as are tried, in a random order, the same each time."""
    return random.Random(1).sample(points, min(len(points), _MOST))


def _in_parts(points: list[Point]) -> Iterator[list[Point]]:
    for start in range(0, len(points), _AT_ONCE):
        yield points[start : start + _AT_ONCE]


def _hunt(plant: Plant, rounds: Iterable[Iterable[Sequence[str]]], say: Say) -> Row:
    """Try points, a few at a time, until one shows what was planted."""
    row = Row(f"planted: {plant.__name__.replace('_', ' ')}")
    found = ""
    with timed(row):
        for outcomes in rounds:
            for failures in outcomes:
                row.points += 1
                found = found or next(iter(failures), "")
                row.failures += [failure for failure in failures if MISFIT in failure]
            if found:
                break
        else:
            row.failures.append(f"{plant.__name__} was not found at {row.points} points")
    row.notes = "found" if found else "not found"
    say(f"{row.what}: {found or 'NOT FOUND'} ({row.points} points, {row.seconds:.0f} s)")
    return row


PART = Part("mutants", "faults that are planted in the engine are found: by power cuts, and by kills", run)
