"""How do rows that were read get to their slots?  Copied so many bytes a turn, the most urgent first, then published.

    read ──► staged ──► copying ──► published, refused, failed or unwanted
             by rank     until the device says that it is done

A row gets its slot when its copy begins, and is found when that is done; its buffer is free again when all of its rows
were copied.  What becomes of each row is told to the stream, which knows who has asked for it: nothing here does.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.streaming.counters import Counters
from mctree.streaming.desk import Desk, Job
from mctree.streaming.device import Device
from mctree.streaming.pool import MISSING, Pool
from mctree.streaming.queue import Wanted

__all__ = ["Fate", "Landed", "Uploads"]


class Fate(enum.Enum):
    """What has become of a row that was read."""

    RESIDENT = enum.auto()
    FAILED = enum.auto()
    """It could not be read."""
    REFUSED = enum.auto()
    """There was no slot for it."""
    UNWANTED = enum.auto()
    """Nobody wanted it when its turn had come, so that it got no slot."""


@dataclass(frozen=True, eq=False, slots=True)
class Landed:
    """A row, and what has become of it.

    Attributes:
        wanted: the row.
        fate: what has become of it.
        error: why it could not be read, if it could not.
    """

    wanted: Wanted
    fate: Fate
    error: Exception | None = None


@dataclass(frozen=True, eq=False, slots=True)
class _Copy:
    """Some rows of a job that are being copied.

    Attributes:
        job: whose.
        first: the first of them.
        slots: where they go, `MISSING` for those that go nowhere: `int64 [n]`.
        good: those that were wanted, and read.
    """

    job: Job
    first: int
    slots: NDArray[np.int64]
    good: frozenset[int]


class Uploads:
    """Rows between the ring and their slots.

    Args:
        desk: where jobs come from, and buffers go back to.
        device: what copies.
        pools: the slots of each plane.
        counters: are told what was read and copied.
    """

    def __init__(self, desk: Desk, device: Device, pools: Sequence[Pool], counters: Counters) -> None:
        self._desk = desk
        self._device = device
        self._pools = pools
        self._counters = counters
        self._staged: list[Job] = []
        self._copying: list[_Copy] = []

    @property
    def copying(self) -> bool:
        """Whether the device is busy with copies."""
        return bool(self._copying)

    def settle(self, step: int, budget: int) -> tuple[int, list[Landed]]:
        """Copy as much of what was read as a budget allows, and publish what was copied.

        Args:
            step: the number of the turn.
            budget: bytes.

        Returns:
            How many bytes are being copied, and what has become of the rows whose copies are done.
        """
        fresh = self._desk.finished()
        if fresh:
            for job in fresh:
                self._counters.count("read", job.batch.rows)
                self._counters.of(job.batch.rows[0].image).runs += job.runs
            self._staged += fresh
            self._staged.sort(key=lambda job: job.batch.rank)
        left = budget
        while self._staged and (moved := self._copy(self._staged[0], step, left)):
            left -= moved
            if self._staged[0].copied == len(self._staged[0].batch.rows):
                del self._staged[0]
        return budget - left, self._published(step) if self._copying else []

    def _copy(self, job: Job, step: int, budget: int) -> int:
        """Begin to copy the next rows of a job; how many bytes, 0 if the budget does not allow for one."""
        first, plane = job.copied, job.batch.plane
        size = int(job.rows[0].nbytes)
        rows = job.batch.rows[first : first + budget // size]
        if not rows:
            return 0
        slots = np.full(len(rows), MISSING, np.int64)
        good = [i for i, wanted in enumerate(rows) if wanted.requests and first + i not in job.errors]
        # What is needed has first choice of the slots.
        for needed in (True, False):
            some = [i for i in good if (rows[i].needed or rows[i].pinned) == needed]
            if some:
                slots[some] = self._pools[plane].take([rows[i].key for i in some], step, needed=needed)
        job.copied += len(rows)
        self._copying.append(_Copy(job, first, slots, frozenset(good)))
        # The others go along, to where nobody looks: one copy of neighbours is cheaper than several.
        self._device.copy(job.buffer, plane, first, np.where(slots == MISSING, self._device.slots[plane] + 1, slots))
        self._counters.count("bytes", rows, size)
        return len(rows) * size

    def _published(self, step: int) -> list[Landed]:
        """Let rows be found whose copies are done; what has become of them."""
        there = [self._device.copied(copy.job.buffer) for copy in self._copying]
        done = [copy for copy, copied in zip(self._copying, there, strict=True) if copied]
        self._copying = [copy for copy, copied in zip(self._copying, there, strict=True) if not copied]
        landed: list[Landed] = []
        for copy in done:
            job, first, slots = copy.job, copy.first, copy.slots
            rows = job.batch.rows[first : first + len(slots)]
            self._pools[job.batch.plane].publish(slots[slots != MISSING], step)
            arrived = self._desk.arrived([wanted.key for wanted in rows])
            if first + len(rows) == len(job.batch.rows):
                self._desk.free(job.buffer)
            for i, (wanted, slot) in enumerate(zip(arrived, slots.tolist(), strict=True)):
                error = job.errors.get(first + i)
                if error is not None:
                    landed.append(Landed(wanted, Fate.FAILED, error))
                elif slot != MISSING:
                    landed.append(Landed(wanted, Fate.RESIDENT))
                else:
                    landed.append(Landed(wanted, Fate.REFUSED if i in copy.good else Fate.UNWANTED))
        return landed
