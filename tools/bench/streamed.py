"""How is streaming measured?  The same wandering attention over one store, once for each way to get the rows.

The store is slowed to a disk's pace, and to that of one far away over a network; and once it is what it is, all in
memory.

A step is what a model would wait for before it can read on: the context's own step, getting the rows, and putting
them in order, `[entries, dim]`.  Finding scores is the same for all and not counted; between two steps the model is
busy for a while, which is when whoever can reads ahead.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.focus import Allocator, Change, Entries, SnapshotGround, WorkingContext
from mctree.streaming import GISTS, TOKENS, Delay, Fetch, HostDevice, Residency, SlowRows, StoredRows, Stream
from mctree.tree import Snapshot
from tools.bench.errors import WrongValuesError
from tools.bench.sizes import Sizes
from tools.bench.wandering import Wandering

__all__ = ["CHUNKS", "DELAY", "STORES", "WAYS", "make", "measure"]

CHUNKS = 20
"""Steps are told as the means of so many stretches of them: not every step has something to wait for."""

DELAY = Delay(latency=0.001, bandwidth=1e9, depth=32)
STORES = {"slow": DELAY, "far": Delay(latency=0.01, bandwidth=2.5e8, depth=32), "resident": None}
"""How the store is slowed."""

_BUSY_S = 0.005
_DIM = 128
_TABLE = 4096
_PIECE = 1 << 22
_COMMIT = 1 << 25
_PLACES = 400
_WARM_UP = 400
_SPARE = 200
_EDITS = 4
_COMPARED = 100


class Coded:
    """An encoder that costs next to nothing: rows of a table, by the first tokens of a block."""

    kind = "coded"
    modalities = frozenset({"text"})
    span_level = 0
    fingerprint = "c" * 64
    dim = _DIM

    def __init__(self) -> None:
        self._table = np.random.default_rng(1).standard_normal((_TABLE, _DIM)).astype(np.float16)

    def encode(
        self, level: int, children: NDArray[Any], mask: NDArray[np.bool_], span: object = None
    ) -> NDArray[np.float32]:
        """The sum of two rows, at level 1; above it the first child, turned by the level."""
        if level == 1:
            found = self._table[children[:, 0] % _TABLE].astype(np.float32) + self._table[children[:, 1] % _TABLE]
            return np.asarray(found, np.float32)
        return np.roll(children[:, 0].astype(np.float32), level, axis=1)

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """No question means anything to these vectors."""
        return np.zeros(self.dim, np.float32)

    def dump(self) -> bytes:
        """Nothing: the table follows from its seed."""
        return b""


def make(sizes: Sizes, folder: Path) -> None:
    """A store of so many positions, with a gist set."""
    rng = np.random.default_rng(0)
    with mctree.create(folder / "store", vocabulary=1 << 16) as tree:
        writer = tree.writer()
        try:
            document, waiting = writer.begin("document"), 0
            for first in range(0, sizes.streamed, _PIECE):
                piece = min(_PIECE, sizes.streamed - first)
                document.extend(rng.integers(0, 1 << 16, piece, dtype=np.uint32))
                waiting += piece
                if waiting >= _COMMIT:
                    writer.commit(gists=False)
                    waiting = 0
            document.close()
            writer.commit(gists=False)
        finally:
            writer.close()
        tree.build_gists(Coded())


class Way(ABC):
    """One way to have the rows of a working context at hand.

    Attributes:
        gated: expand only what has its children at hand.
        context: what is stepped.
        bytes: of rows that were read, or copied.
        replaced: entries that ancestors stood in for, in the last step.
        fallbacks: the same, summed over steps.
    """

    gated = False

    def __init__(self, snapshot: Snapshot, budget: int, delay: Delay | None) -> None:
        rows = StoredRows(snapshot)
        self.rows: Fetch = rows if delay is None else SlowRows(rows, delay)
        self.context = WorkingContext.smallest(snapshot, budget, Allocator(max_edits=64))
        self.replaced = self.fallbacks = self.bytes = 0

    @abstractmethod
    def step(self, scores: NDArray[np.float64]) -> NDArray[np.float16]:
        """Take a step, and give the vectors of its entries in order."""

    def meanwhile(self) -> None:  # noqa: B027  # most have nothing to do
        """Do what can be done while the model is busy."""

    def counts(self) -> dict[str, float]:
        """What it has to say besides: how often steps stalled, and for how many seconds they have waited for rows."""
        return {"stalls": 0.0, "waited": self.rows.slept if isinstance(self.rows, SlowRows) else 0.0}

    def close(self) -> None:  # noqa: B027  # most have nothing to stop
        """Stop."""

    def _read(self, entries: Entries) -> NDArray[np.float16]:
        """The vectors of entries, read now; blocks have zeros, and their tokens are read as well."""
        found = np.zeros((len(entries), _DIM), np.float16)
        for level in set(entries.level.tolist()):
            some = np.flatnonzero(entries.level == level)
            plane = self.rows.planes[GISTS if level else TOKENS]
            assert plane is not None
            part = np.empty((len(some), *plane.row), plane.dtype)
            self.rows.read(0, level, entries.index[some], part)
            self.bytes += part.nbytes
            if level:
                found[some] = part
        return found


class Anew(Way):
    """Everything is gathered in each step."""

    def step(self, scores: NDArray[np.float64]) -> NDArray[np.float16]:
        """Step and gather."""
        self.context.step(scores)
        return self._read(self.context.entries)


class Synchronous(Way):
    """What entered is read when it has entered, by whoever takes the step."""

    def __init__(self, snapshot: Snapshot, budget: int, delay: Delay | None) -> None:
        super().__init__(snapshot, budget, delay)
        self._vectors = self._read(self.context.entries)

    def step(self, scores: NDArray[np.float64]) -> NDArray[np.float16]:
        """Step, read, and put it where it belongs."""
        diff = self.context.step(scores).diff
        vectors = np.empty((len(self.context), _DIM), np.float16)
        kept = np.ones(len(vectors), np.bool_)
        kept[diff.entered_at] = False
        vectors[kept] = np.delete(self._vectors, diff.left_at, axis=0)
        vectors[diff.entered_at] = self._read(diff.entered)
        self._vectors = vectors
        return vectors


class Streamed(Way):
    """`mctree.streaming`: what is wanted most comes ahead of need, and what is missing is stood in for."""

    gated = True

    def __init__(self, snapshot: Snapshot, budget: int, delay: Delay | None) -> None:
        super().__init__(snapshot, budget, delay)
        self.device = HostDevice(self.rows.planes, 4 * budget)
        self.stream = Stream(self.rows, self.device)
        self.residency = Residency(self.stream, SnapshotGround(snapshot))
        self.residency.update(self.context.entries)

    def step(self, scores: NDArray[np.float64]) -> NDArray[np.float16]:
        """A turn of the stream, a step, and one gather from what is resident."""
        self.bytes += self.stream.turn()
        self.stream.hush()
        change = self._stepped(scores)
        self.residency.update(self.context.entries, change.diff.left_at, change.diff.entered_at)
        seen = self.residency.seen()
        self.replaced = seen.replaced
        self.fallbacks += seen.replaced
        zeros = self.device.slots[GISTS]
        return self.device.take(GISTS, np.where(seen.nodes.level > 0, seen.slots, zeros))

    def meanwhile(self) -> None:
        """Ask for what comes next, and let it be read."""
        self.stream.wake()

    def counts(self) -> dict[str, float]:
        """Its own counters."""
        total = self.stream.counters.total
        return {"hits": total.hits, "misses": total.misses, "stalls": total.stalls, "waited": total.stall_s}

    def close(self) -> None:
        """Let the threads end."""
        self.stream.close()

    def _stepped(self, scores: NDArray[np.float64]) -> Change:
        return self.context.step(scores, self.residency.resident)


class AtOnce(Streamed):
    """The same, but what is wanted is expanded at once: ancestors stand in until it has come."""

    gated = False

    def _stepped(self, scores: NDArray[np.float64]) -> Change:
        return self.context.step(scores)


WAYS: dict[str, Callable[[Snapshot, int, Delay | None], Way]] = {
    "mctree": Streamed,
    "mctree, expanding at once": AtOnce,
    "what entered, read synchronously": Synchronous,
    "everything, gathered anew": Anew,
}


def measure(sizes: Sizes, folder: Path) -> dict[str, float]:
    """Milliseconds of a step of each way over each store, stretch by stretch, and what else there is to say.

    The ways take turns, a stretch of steps each.

    Raises:
        WrongValuesError: a way gives other vectors than the snapshot, or ours misses anything, or stalls.
    """
    found: dict[str, float] = {}
    bounds = np.linspace(0, sizes.steps, min(CHUNKS, sizes.steps) + 1).astype(np.int64).tolist()
    with mctree.open(folder / "store", writable=False, encoders=[Coded()]) as tree, tree.snapshot() as snapshot:
        for store, delay in STORES.items():
            runs = {
                name: _Run(sizes, snapshot, make(snapshot, 4 * sizes.entries, delay)) for name, make in WAYS.items()
            }
            try:
                for first, stop in pairwise(bounds):
                    for run in runs.values():
                        run.take(stop - first)
                for name, run in runs.items():
                    found.update((f"{store}/{name}/{key}", value) for key, value in run.told().items())
            finally:
                for run in runs.values():
                    run.way.close()
    return found


class _Run:
    """One way over one store: begun, and ready to take the steps that count.

    Args:
        sizes: of the run.
        snapshot: what it reads.
        way: how.
    """

    def __init__(self, sizes: Sizes, snapshot: Snapshot, way: Way) -> None:
        self.way = way
        self._snapshot = snapshot
        self._attention = attention = Wandering(max(sizes.entries // _PLACES, 1), snapshot.positions)
        self._stretches: list[list[float]] = []
        self._cpu: list[float] = []
        self._entries = 0
        self._meanwhile = 0.0
        for _ in range(_WARM_UP):
            before = self._tally()
            way.step(attention.scores(way.context.entries))
            if before == self._tally():
                break
            if way.gated:
                way.meanwhile()
                time.sleep(_BUSY_S / 10)
        way.context.allocator = Allocator(max_edits=_EDITS)
        way.context.budget = way.context.cost + _SPARE
        self._began, self._counted = self._tally(), way.counts()
        way.bytes = way.fallbacks = 0

    def take(self, steps: int) -> None:
        """Take a stretch of steps."""
        way, seconds = self.way, []
        for _ in range(steps):
            self._attention.move()
            scores = self._attention.scores(way.context.entries)
            began, used = time.perf_counter(), time.thread_time()
            vectors = way.step(scores)
            seconds.append(time.perf_counter() - began)
            self._cpu.append(time.thread_time() - used)
            self._entries += len(way.context)
            if len(self._cpu) % _COMPARED == 1 and not way.replaced:
                _compare(self._snapshot, way.context.entries, vectors)
            began, used = time.perf_counter(), time.thread_time()
            way.meanwhile()
            self._meanwhile += time.thread_time() - used
            time.sleep(max(began + _BUSY_S - time.perf_counter(), 0.0))
        self._stretches.append(seconds)

    def told(self) -> dict[str, float]:
        """What was measured."""
        way, steps, after = self.way, len(self._cpu), self.way.counts()
        stalls = after["stalls"] - self._counted["stalls"]
        if way.gated and (way.fallbacks or stalls):
            raise WrongValuesError(f"{way.fallbacks} entries were missing, and {stalls:.0f} steps stalled")
        hits, misses = (after.get(key, 0) - self._counted.get(key, 0) for key in ("hits", "misses"))
        edits, waiting = (now - before for now, before in zip(self._tally(), self._began, strict=True))
        return {
            **{f"ms/{i}": float(np.mean(seconds)) * 1e3 for i, seconds in enumerate(self._stretches)},
            "cpu": float(np.mean(self._cpu)) * 1e3,
            "meanwhile": self._meanwhile / steps * 1e3,
            "waited": (after["waited"] - self._counted["waited"]) / steps * 1e3,
            "p99": float(np.percentile(np.concatenate(self._stretches), 99)) * 1e3,
            "kib": way.bytes / steps / 1024,
            "hit_rate": hits / (hits + misses) if hits + misses else 0.0,
            "fallbacks": way.fallbacks / steps,
            "stalls": stalls,
            "entries": self._entries / steps,
            "edits": edits / steps,
            "waiting": waiting / steps,
        }

    def _tally(self) -> tuple[int, int]:
        """Edits so far, and expands that had to wait."""
        tally = self.way.context.tally
        return tally.expanded + tally.collapsed, tally.blocked.waiting


def _compare(snapshot: Snapshot, entries: Entries, vectors: NDArray[np.float16]) -> None:
    gists = snapshot.gists()
    for level in set(entries.level.tolist()):
        some = entries.level == level
        right = gists.gather(level, entries.index[some]) if level else 0
        if not (vectors[some] == right).all():
            raise WrongValuesError(f"vectors of level {level} are not those of the snapshot")
