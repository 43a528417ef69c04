"""What exists at a commit, and how many real tokens does it hold?  Answers for whole arrays of nodes at once.

What exists is what was placed, minus what has died.  Deaths are few beside blocks, so they are kept as sorted runs with
prefix sums; the tokens placed before every 32nd block are a level of the store (`text/before`), and those within a
group of 32 blocks are its counts (`text/count`).  So the number of real tokens before any block, dead ones left out,
costs two gathers and two binary searches, whatever the size of the store.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.keys import Table, u64
from mctree.format.records import BLOCK, DEATH_DTYPE, decode_deaths
from mctree.geometry import TEXT, World, intervals
from mctree.storage.environment import Environment
from mctree.storage.index import Reading
from mctree.storage.store import Store
from mctree.tree.moments import Extents, Moments, extents
from mctree.tree.rows import Rows

__all__ = ["DeathLog", "Deaths", "TimelineWorld", "read_deaths"]

_NUMBERS = 16
"""Bytes of two numbers: a death's key behind its tag, and its payload."""


@dataclass(frozen=True)
class Deaths:
    """Runs of blocks that have died, as an array of `DEATH_DTYPE` sorted by first block; runs do not overlap."""

    runs: NDArray[np.void]

    @classmethod
    def none(cls) -> Deaths:
        """No deaths."""
        return cls(np.empty(0, DEATH_DTYPE))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The first block of each run."""
        return self.runs["start"].astype(np.int64)

    @cached_property
    def stops(self) -> NDArray[np.int64]:
        """The block after the last of each run."""
        return self.runs["stop"].astype(np.int64)

    @cached_property
    def newest(self) -> int:
        """The last commit in which something died."""
        return int(self.runs["commit"].max(initial=0))

    @cached_property
    def intervals(self) -> NDArray[np.int64]:
        """The dead LOD0 positions: sorted, disjoint `int64 [n, 2]`, neighbours joined."""
        starts, stops = self.starts, self.stops
        if not len(starts):
            return np.empty((0, 2), np.int64)
        opens = np.concatenate([[True], starts[1:] != stops[:-1]])
        closes = np.concatenate([opens[1:], [True]])
        return np.stack([starts[opens], stops[closes]], axis=1) * BLOCK

    @cached_property
    def tokens_before(self) -> NDArray[np.int64]:
        """Dead tokens in the first n runs: `int64 [runs + 1]`."""
        return np.concatenate([[0], np.cumsum(self.runs["tokens"].astype(np.int64))])

    def after(self, commit: int) -> Deaths:
        """The deaths of commits after `commit`."""
        return Deaths(self.runs[self.runs["commit"] > commit])

    def until(self, commit: int) -> Deaths:
        """The deaths of commits up to `commit`; these themselves if there are no later ones."""
        return self if self.newest <= commit else Deaths(self.runs[self.runs["commit"] <= commit])

    def joined(self, runs: NDArray[np.void]) -> Deaths:
        """These deaths and others, given in any order."""
        if not len(runs):
            return self
        runs = runs[np.argsort(runs["start"], kind="stable")]
        return Deaths(np.insert(self.runs, np.searchsorted(self.starts, runs["start"].astype(np.int64)), runs))


class DeathLog:
    """The deaths of one index as far as they were read, for all snapshots of a process; extended by what is new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commit = 0
        self._deaths = Deaths.none()

    @classmethod
    def of(cls, store: Store) -> DeathLog:
        """The log of a store: one for all handles of it that are open."""
        return _logs.setdefault(store.environment, cls())

    def at(self, store: Store, commit: int) -> Deaths:
        """What has died up to a commit.

        Args:
            store: one of those whose log this is.
            commit: a commit that was made.
        """
        with self._lock:
            if self._commit < commit:
                with store.reading() as index:
                    self._deaths = self._deaths.joined(read_deaths(index, self._commit, commit))
                self._commit = commit
            deaths = self._deaths
        return deaths.until(commit)


_logs: weakref.WeakKeyDictionary[Environment, DeathLog] = weakref.WeakKeyDictionary()
"""By what all handles of one index share, and what a forked child opens anew."""


def read_deaths(index: Reading, after: int, until: int) -> NDArray[np.void]:
    """The deaths of commits in (after, until], as `DEATH_DTYPE` in order of commit.

    Raises:
        CorruptError: a record is damaged.
    """
    found = index.fixed(Table.DEATH, _NUMBERS, _NUMBERS, u64.pack(after + 1), u64.pack(until + 1))
    parts = [decode_deaths(keys, payloads) for keys, payloads in found]
    return np.concatenate([np.empty(0, DEATH_DTYPE), *parts])


class TimelineWorld:
    """The text timeline as one commit sees it.

    Args:
        blocks: blocks placed.
        deaths: what of them has died.
        before: the rows of `text/before`: real tokens placed before every 32nd block.
        count: the rows of `text/count`: real tokens of each block.
        moments: what is remembered of its nodes; nothing yet if None.
        slots: the blocks of images that live, ascending.
    """

    def __init__(
        self,
        blocks: int,
        deaths: Deaths,
        before: Rows,
        count: Rows,
        moments: Moments | None = None,
        slots: NDArray[np.int64] | None = None,
    ) -> None:
        self.blocks = blocks
        self.deaths = deaths
        self.moments = Moments() if moments is None else moments
        self.geometry = World(positions=blocks * BLOCK, dead=deaths.intervals)
        self.slots = np.empty(0, np.int64) if slots is None else slots
        self._before = before
        self._count = count

    def exists(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which nodes of a level exist: complete, and not wholly dead.  `bool [n]`."""
        return self.geometry.exists(TEXT, level, index)

    def tokens_before(self, block: NDArray[np.int64]) -> NDArray[np.int64]:
        """Real, live tokens placed before each block: `int64 [n]`; `block` may be one past the last."""
        block = np.asarray(block, np.int64)
        runs = self.deaths.runs
        placed = self._placed_before(block)
        if not len(runs):
            return placed
        starts, stops = self.deaths.starts, self.deaths.stops
        past = np.searchsorted(stops, block, side="right")
        dead = self.deaths.tokens_before[past]
        inside = past < len(runs)
        inside[inside] = starts[past[inside]] < block[inside]
        if inside.any():
            dead = dead.copy()
            dead[inside] += placed[inside] - self._placed_before(starts[past[inside]])
        return placed - dead

    def tokens(self, level: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Real, live tokens under each node of a level from 1 up: `int64 [n]`."""
        index = np.asarray(index, np.int64)
        width = BLOCK ** (level - 1)
        first = index * width
        return self.tokens_before(np.minimum(first + width, self.blocks)) - self.tokens_before(first)

    def slots_in(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
        """Live images among the blocks [start, stop) of each span: `int64 [n]`."""
        if not len(self.slots):
            return np.zeros(len(start), np.int64)
        count: NDArray[np.int64] = self.slots.searchsorted(stop) - self.slots.searchsorted(start)
        return count

    def reach(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last living block among the blocks [start, stop) of each span: `int64 [n]` both.

        One of them lives at least.
        """
        if not len(self.geometry.dead):
            return start, stop - 1
        alive = intervals.trim(self.geometry.dead, np.column_stack((start, stop)) * BLOCK) // BLOCK
        return alive[:, 0], alive[:, 1] - 1

    def extents(self, level: NDArray[np.integer[Any]], index: NDArray[np.int64]) -> Extents:
        """What nodes hold, and where it lies: real tokens, the mean of their positions, and how far they reach.

        Costs a few look-ups for nodes without padding and dead blocks.  Of another node up to level 3 the counts of its
        blocks are read; of wider ones as well, but once in a process, and those of dead blocks under them each time.

        Args:
            level: integers from 1 up, `[n]`.
            index: `int64 [n]`; all of these nodes exist.
        """
        return extents(self, level, index)

    def counts(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Real tokens placed in each of the blocks [start, stop)."""
        counts: NDArray[np.uint8] = self._count.read(start, stop)
        return counts

    def counts_of(self, block: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Real tokens placed in blocks in any order: `uint8 [n]`."""
        counts: NDArray[np.uint8] = self._count.gather(block)
        return counts

    def counts_from(self, first: NDArray[np.int64], blocks: int) -> NDArray[np.uint8]:
        """Real tokens placed in each of so many blocks from each of `first` on: `uint8 [n, blocks]`."""
        counts: NDArray[np.uint8] = self._count.runs(first, blocks)
        return counts

    def placed(self, start: int, stop: int) -> int:
        """Real tokens of the blocks [start, stop), dead ones included.

        Raises:
            CorruptError: they are more than fit, or less than none.
        """
        before = self._placed_before(np.array([start, stop]))
        tokens = int(before[1] - before[0])
        if not 0 <= tokens <= (stop - start) * BLOCK:
            raise CorruptError(f"the counts of tokens of blocks {start}..{stop - 1} are damaged; run `mctree verify`")
        return tokens

    def _placed_before(self, block: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self.blocks:
            return np.zeros(len(block), np.int64)
        group = block // BLOCK
        if not self.blocks % BLOCK:
            # The group of the block one past the last has not begun: count on from the group before.
            group -= block == self.blocks
        rest = block - group * BLOCK
        total = self._before.gather(group).astype(np.int64)
        partial = rest.nonzero()[0]
        if len(partial):
            rows = group[partial, None] * BLOCK + np.arange(BLOCK)
            wanted = np.arange(BLOCK) < rest[partial, None]
            rows = np.where(wanted, rows, 0)
            counts = self._count.gather(rows.reshape(-1)).reshape(rows.shape).astype(np.int64)
            total[partial] += (counts * wanted).sum(axis=1)
        return total
