"""How fast is a training loop fed with windows of tokens, in a random order?

Everybody gives the same windows, batch by batch, as tensors that a model takes: inputs and labels.  mctree finds out by
itself which windows are next; the others are told.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.bench import Bench
from tools.bench.beside import races
from tools.bench.errors import WrongValuesError
from tools.bench.ours_loop import MctreeLoop
from tools.bench.peers.loops import WindowLoop
from tools.bench.peers.protocol import library
from tools.bench.resident import locked
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["LIMIT", "NAME", "run"]

NAME = "training"
LIMIT = "bare memmap"
_VOCABULARY = 100_000
_CHECKED = 3
_IGNORED = -100
_TOUCH_S = 5.0
_MOST_ASKED = 0.99
"""More than this part of the labels is given, also where they end with documents."""

Batch = Callable[[int], tuple[Any, Any]]
"""Inputs and labels of the batch of a number."""


@dataclass(frozen=True, slots=True)
class _Course:
    """What everybody reads.

    Attributes:
        tokens: uint32 `[windows * length + 1]`.
        file: where they lie.
        length: tokens in a window.
        batches: the windows of each batch, int64 `[batches, batch]`.
    """

    tokens: NDArray[np.uint32]
    file: Path
    length: int
    batches: NDArray[np.int64]


def run(bench: Bench, loops: Sequence[WindowLoop | MctreeLoop]) -> Table:
    """Race every loop beside the limit, one after another; one that raises ends its own race only."""
    s = bench.sizes
    limit = next(loop for loop in loops if loop.about.name == LIMIT)
    lines: list[Line] = []
    rounds: list[Round] = []
    head = Line(LIMIT, limit.about.kind, "absent", note=limit.about.absent or "")
    if not limit.about.absent:
        torch = library("torch")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a DataLoader's workers
        root = bench.folder(NAME)
        try:
            course = _course(bench, root)
            for loop, found in races(bench, NAME, LIMIT, loops, lambda one: _race(bench, root, course, [limit, one])):
                if isinstance(found, Line):
                    lines.append(found)
                else:
                    rounds += found
                    about = loop.about
                    lines.append(_line(about.name, about.kind, about.note, found, s.batch))
            if not rounds:
                rounds += _race(bench, root, course, [limit])
            head = _line(limit.about.name, limit.about.kind, limit.about.note, rounds, s.batch)
        finally:
            torch.set_num_threads(threads)
            shutil.rmtree(root)
    return Table(
        name=NAME,
        title="A training loop's windows",
        what=(
            f"A batch of {s.batch} windows of {s.window:,} of {s.loop_tokens:,} uint32 tokens, in a random order, as "
            "int64 tensors of inputs and labels; one thread, no workers. The value is for one window."
        ),
        unit="µs",
        limit=LIMIT,
        lines=(head, *lines),
    )


def _line(name: str, kind: str, note: str, rounds: list[Round], batch: int) -> Line:
    value = Spread.of(values(rounds, name)).scaled(1e6 / batch)
    return Line(name, kind, "measured", value, Spread.of(ratios(rounds, name, LIMIT)), (), note)


def _course(bench: Bench, root: Path) -> _Course:
    s = bench.sizes
    windows = s.loop_tokens // s.window
    rng = np.random.default_rng(1)
    file = root / "tokens.bin"
    rng.integers(0, _VOCABULARY, windows * s.window + 1, dtype=np.uint32).tofile(file)
    # The order in which mctree reads them, so that everybody reads the same: see `TokenDataset`.
    order = library("mctree_torch.permutation").Permutation(windows, 0, 0)(np.arange(windows))
    batches = order[: windows // s.batch * s.batch].reshape(-1, s.batch)
    return _Course(np.asarray(np.memmap(file, np.uint32, mode="r")), file, s.window, batches)


def _race(bench: Bench, root: Path, course: _Course, entrants: Sequence[WindowLoop | MctreeLoop]) -> list[Round]:
    folder = root / "stores"
    opened: list[Any] = []
    calls: dict[str, Callable[[int], object]] = {}
    try:
        for place, loop in enumerate(entrants):
            own = folder / str(place)
            own.mkdir(parents=True)
            loop.write(course.tokens, course.file, own)
            opened.append(loop.open(own))
            ahead = place * len(course.batches) // len(entrants)
            batch = _batch(course, loop, opened[-1], ahead)
            _check(course, batch, loop.about.name, ahead)
            _touch(batch, len(course.batches))
            calls[loop.about.name] = batch
        with locked(root):
            return race(calls, bench.pace())
    finally:
        for one in opened:
            one.close()
        shutil.rmtree(folder)


def _batch(course: _Course, loop: WindowLoop | MctreeLoop, opened: Any, ahead: int) -> Batch:
    """The batches of a contender, who begins so far ahead that nobody finds in a cache what another one has read."""
    count, size = course.batches.shape

    def ours(number: int) -> tuple[Any, Any]:
        first = (number + ahead) % count * size
        found: tuple[Any, Any] = opened.samples(np.arange(first, first + size))
        return found

    def theirs(number: int) -> tuple[Any, Any]:
        found: tuple[Any, Any] = opened.batch(course.batches[(number + ahead) % count])
        return found

    return ours if isinstance(loop, MctreeLoop) else theirs


def _check(course: _Course, batch: Batch, name: str, ahead: int) -> None:
    """Compare some batches with what was stored, wherever a label is given."""
    count, length = len(course.batches), course.length
    for number in range(min(_CHECKED, count)):
        inputs, labels = batch(number)
        starts = (course.batches[(number + ahead) % count] * length).tolist()
        wanted = np.stack([course.tokens[start : start + length + 1] for start in starts]).astype(np.int64)
        asked = (labels != _IGNORED).numpy()
        right = inputs.is_contiguous() and labels.is_contiguous() and np.array_equal(inputs.numpy(), wanted[:, :-1])
        right = right and np.array_equal(labels.numpy()[asked], wanted[:, 1:][asked]) and asked.mean() > _MOST_ASKED
        if not right:
            raise WrongValuesError(f"{name} gives other windows than those that were stored")


def _touch(batch: Batch, count: int) -> None:
    """Read all there is once, or as much as can be read in a while, so that it is resident."""
    began = time.monotonic()
    for number in range(count):
        batch(number)
        if time.monotonic() - began > _TOUCH_S:
            break
