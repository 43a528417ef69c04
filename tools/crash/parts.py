"""What is a part of this harness?  A promise put to the test: points are tried, and what broke is told.

A part is a module of this package with a `PART`.  It is given a scale, from the quick form of the suite to the long
one, a scratch folder and somebody to tell of its progress, and comes back with rows: each says what was tried, at how
many points, and every failure in words that are enough to repeat it.  A part does not decide what is shown of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal

from mctree.errors import MctreeError

__all__ = ["NAMES", "Part", "Result", "Row", "Say", "Scale", "Wants", "count", "everything", "load", "timed"]

Scale = Literal["quick", "long"]
"""`quick` is what the suite runs: seconds.  `long` is run by hand: minutes to hours."""
Say = Callable[[str], None]
"""Takes a line about how far things are."""
Wants = Callable[[str], bool]
"""Says whether a row is to be tried, by what it tries."""

NAMES = (
    "sweep",
    "kills",
    "pictures",
    "replay",
    "mutants",
    "faults",
    "flips",
    "unwary",
    "readers",
    "writers",
    "strangers",
    "moves",
)
"""The modules that are parts, in the order of the promises."""


@dataclass(slots=True)
class Row:
    """One kind of point.

    Attributes:
        what: what was tried.
        points: at how many points.
        failures: what broke, a line each.
        seconds: how long it took.
        notes: what a reader of the table should know.
    """

    what: str
    points: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: str = ""


@dataclass(slots=True)
class Result:
    """What a part found, row by row."""

    rows: list[Row] = field(default_factory=list)

    @property
    def points(self) -> int:
        """All points tried."""
        return sum(row.points for row in self.rows)

    @property
    def failures(self) -> list[str]:
        """All failures."""
        return [failure for row in self.rows for failure in row.failures]


@dataclass(frozen=True, slots=True)
class Part:
    """A promise put to the test.

    Attributes:
        name: the module's name.
        shows: which promise it is about, in one line.
        run: puts it to the test, given a scale, an empty folder, who is told of progress, and which rows are wanted.
    """

    name: str
    shows: str
    run: Callable[[Scale, Path, Say, Wants], Result]


def everything(what: str) -> bool:
    """Wants all rows."""
    return True


def load(name: str) -> Part:
    """The part of a name in `NAMES`."""
    part = import_module(f"tools.crash.{name}").PART
    assert isinstance(part, Part)
    return part


@contextmanager
def timed(row: Row) -> Iterator[Row]:
    """Add the length of the block to a row's seconds."""
    start = time.monotonic()
    try:
        yield row
    finally:
        row.seconds += time.monotonic() - start


def count(row: Row, points: Iterator[object]) -> None:
    """Try points, each of which comes up once it has gone well, until one fails or there are no more."""
    with timed(row):
        try:
            for _ in points:
                row.points += 1
        except (AssertionError, MctreeError, OSError) as error:
            row.failures.append(f"after {row.points} points: {type(error).__name__}: {error}")
