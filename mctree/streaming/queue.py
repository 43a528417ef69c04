"""What is read next?  The most urgent of what was asked for, and whatever lies beside it.

A row is waited for once, however often it was asked for.  The order is: what is pinned; then coarse before fine, since
a coarse row stands for everything below it; then by score; then as it was asked for.  A batch is filled by that order
with rows of one plane, and each row brings along those of its neighbours that wait too, so that what is read are runs.

The queue is bounded: when it is full, what is least urgent is given up, but nothing that is pinned.  Nothing here
knows about threads or time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.streaming.fetch import Fetch
from mctree.streaming.nodes import PLANES, STEPS, Key, plane_of
from mctree.streaming.requests import Request

__all__ = ["Batch", "Queue", "Rank", "Segment", "Wanted"]

_SLACK = 64
"""So many more than twice the rows that wait stand in a heap before it is made anew."""

Rank = tuple[bool, int, float, int]
"""What is smaller is more urgent: not pinned, minus the level, minus the score, the order of asking."""


@dataclass(eq=False, slots=True)
class Wanted:
    """A row that is on its way.

    Attributes:
        key: its node and version.
        fetch: where to read it.
        rank: how urgent it is.
        needed: a working context shows it, or something below it: other rows may have to make room at once.
        requests: who has asked for it.
        plane: the plane that it lies in.
        image: whether it is of an image.
    """

    key: Key
    fetch: Fetch
    rank: Rank
    needed: bool
    requests: list[Request] = field(default_factory=list)
    plane: int = field(init=False)
    image: bool = field(init=False)

    def __post_init__(self) -> None:
        space, level = self.key[0], self.key[1]
        self.plane, self.image = plane_of(space, level), space > 0

    @property
    def pinned(self) -> bool:
        """Whether it is to stay."""
        return not self.rank[0]


@dataclass(frozen=True, eq=False, slots=True)
class Segment:
    """Rows of one level within a batch.

    Attributes:
        fetch: where to read them.
        space: their space.
        level: their level.
        index: `int64 [n]`, ascending.
        first: the row of the batch that the first of them is.
    """

    fetch: Fetch
    space: int
    level: int
    index: NDArray[np.int64]
    first: int

    @property
    def runs(self) -> int:
        """How many stretches of neighbouring rows they are."""
        step = STEPS[plane_of(self.space, self.level)]
        return 1 + int(np.count_nonzero(np.diff(self.index) != step))


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows of one plane that are read together, in the order in which they are read.

    Attributes:
        plane: the plane.
        rows: what they are.
        rank: that of the most urgent one.
    """

    plane: int
    rows: list[Wanted]
    rank: Rank

    def segments(self) -> Iterator[Segment]:
        """Its rows level by level."""
        first = 0
        while first < len(self.rows):
            fetch, (space, level, _, _) = self.rows[first].fetch, self.rows[first].key
            stop = first + 1
            while (
                stop < len(self.rows) and self.rows[stop].fetch is fetch and self.rows[stop].key[:2] == (space, level)
            ):
                stop += 1
            index = np.array([wanted.key[2] for wanted in self.rows[first:stop]], np.int64)
            yield Segment(fetch, space, level, index, first)
            first = stop

    def runs(self) -> int:
        """How many stretches of neighbouring rows it is made of."""
        return sum(part.runs for part in self.segments())


class Queue:
    """Rows that wait to be read.

    Args:
        most: the most rows that may wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Key, Wanted] = {}
        # A row may stand in its heap several times, as it became more urgent; only its present rank counts.
        self._heaps: tuple[list[tuple[Rank, Key]], ...] = tuple([] for _ in range(PLANES))
        self._counts = [0] * PLANES

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def count(self, plane: int) -> int:
        """How many rows of a plane wait."""
        return self._counts[plane]

    def add(self, wanted: Wanted) -> None:
        """Let a row wait that does not wait yet."""
        assert wanted.key not in self._waiting
        self._waiting[wanted.key] = wanted
        self._counts[wanted.plane] += 1
        self._push(wanted)

    def hurry(self, key: Key, rank: Rank, *, needed: bool) -> None:
        """Let a waiting row be at least this urgent."""
        wanted = self._waiting[key]
        wanted.needed |= needed
        if rank[:3] < wanted.rank[:3]:
            wanted.rank = rank
            self._push(wanted)

    def waiting(self, key: Key) -> Wanted | None:
        """A row that waits; None if it does not."""
        return self._waiting.get(key)

    def clear(self) -> list[Wanted]:
        """Wait for nothing any more; what was waited for."""
        gone = list(self._waiting.values())
        self._waiting.clear()
        self._counts = [0] * PLANES
        return gone

    def remove(self, key: Key) -> Wanted | None:
        """No longer wait for a row; None if it does not wait."""
        wanted = self._waiting.pop(key, None)
        if wanted is not None:
            self._counts[wanted.plane] -= 1
        return wanted

    def shed(self) -> list[Wanted]:
        """Give up the least urgent rows if there are too many; they are returned.

        Raises:
            UsageError: those that are pinned are too many by themselves.
        """
        if len(self._waiting) <= self._most:
            return []
        # An eighth more than need be, so that a full queue is not sorted at every request.
        keep = self._most - self._most // 8
        ranked = sorted(self._waiting.values(), key=lambda wanted: wanted.rank)
        pinned = sum(wanted.pinned for wanted in ranked)
        if pinned > self._most:
            raise UsageError(f"{pinned} pinned rows wait to be read, and {self._most} may: pin fewer, or allow more")
        gone = ranked[max(keep, pinned) :]
        for wanted in gone:
            self.remove(wanted.key)
        return gone

    def pop(self, most: tuple[int, ...]) -> Batch | None:
        """Take the next batch out, None if nothing waits.

        Args:
            most: by plane, how many rows it may have; 1 at least.
        """
        heads = [(heap[0][0], plane) for plane in range(PLANES) if (heap := self._trimmed(plane))]
        if not heads:
            return None
        rank, plane = min(heads)
        rows: list[Wanted] = []
        while len(rows) < most[plane] and (heap := self._trimmed(plane)):
            key = heap[0][1]
            rows += self._neighbours(key, most[plane] - len(rows))
        rows.sort(key=lambda wanted: (id(wanted.fetch), wanted.key))
        return Batch(plane, rows, rank)

    def _push(self, wanted: Wanted) -> None:
        plane = wanted.plane
        heap = self._heaps[plane]
        heapq.heappush(heap, (wanted.rank, wanted.key))
        if len(heap) > 2 * self._counts[plane] + _SLACK:
            # What does not count any more may lie far below the top, and would stay there as long as others are read.
            heap[:] = {one for one in heap if (row := self._waiting.get(one[1])) is not None and row.rank == one[0]}
            heapq.heapify(heap)

    def _trimmed(self, plane: int) -> list[tuple[Rank, Key]]:
        """The heap of a plane, with what does not count any more taken off its top."""
        heap = self._heaps[plane]
        while heap:
            rank, key = heap[0]
            wanted = self._waiting.get(key)
            if wanted is not None and wanted.rank == rank:
                break
            heapq.heappop(heap)
        return heap

    def _neighbours(self, key: Key, most: int) -> list[Wanted]:
        """Take out a row and, on both sides, the run of rows that wait beside it."""
        space, level, index, version = key
        step = STEPS[plane_of(space, level)]
        taken = [self._waiting[key]]
        self.remove(key)
        for way in (step, -step):
            at = index + way
            # Another version is another row, elsewhere on disk.
            while len(taken) < most and (beside := self.remove((space, level, at, version))) is not None:
                taken.append(beside)
                at += way
        return taken
