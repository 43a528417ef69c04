"""How do those who read and the one who asks meet?  Over a desk: rows that wait, a ring of buffers, and what was read.

A buffer is free, being read into, read, or being copied from, and its number goes round with its batch.  There are few
buffers and they are as large as they are, so reading stops by itself where copying does not keep up, and nothing is
ever read to nowhere.  Whoever reads takes a job, reads it without holding anything, and gives it back.

The desk is the only thing that threads share with the stream; one lock guards all of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.streaming.fetch import Fetch, Plane
from mctree.streaming.nodes import PLANES, Key
from mctree.streaming.queue import Batch, Queue, Segment, Wanted
from mctree.streaming.requests import Request

__all__ = ["Desk", "Job"]

_MOST_ADVISED, _MOST_UNTOLD = 4096, 1 << 16
"""Rows of which the kernel is told before a job is read, and that wait for that: of more it is not told."""


@dataclass(eq=False, slots=True)
class Job:
    """A batch and the buffer that it is read into.

    Attributes:
        batch: which rows.
        buffer: the number of the buffer.
        rows: where they go, `[n, *row]`: a view of the buffer.
        soon: rows that will be read afterwards.
        errors: why rows could not be read, by their number.
        runs: how many stretches of neighbouring rows they were read in.
        copied: how many of them were given to the device so far.
    """

    batch: Batch
    buffer: int
    rows: NDArray[Any]
    soon: list[Wanted]
    errors: dict[int, Exception] = field(default_factory=dict)
    runs: int = 0
    copied: int = 0

    def read(self) -> None:
        """Read all rows, and keep what goes wrong."""
        for fetch, space, level, index in _by_level(self.soon):
            with suppress(Exception):  # advice is not needed, and whoever reads these rows finds what is wrong
                fetch.advise(space, level, index)
        for part in self.batch.segments():
            self.runs += part.runs
            try:
                self._read(part, 0, len(part.index))
            except Exception:
                # One row must not spoil those that happened to be read with it.
                for i in range(len(part.index)):
                    try:
                        self._read(part, i, i + 1)
                    except Exception as error:
                        self.errors[part.first + i] = error

    def _read(self, part: Segment, first: int, stop: int) -> None:
        out = self.rows[part.first + first : part.first + stop]
        part.fetch.read(part.space, part.level, part.index[first:stop], out)


@dataclass(eq=False)
class Desk:
    """What is shared.

    Args:
        planes: the shapes of rows.
        ring: the buffers, `uint8` each, all of one size.
        most: the most rows that may wait.

    Attributes:
        lock: of all that is here.
        changed: told when there is something new to read or to fetch, or nothing more.
    """

    planes: Sequence[Plane | None]
    ring: Sequence[NDArray[np.uint8]]
    most: int

    def __post_init__(self) -> None:
        # Taken by its own name and never by that of the condition, whose methods are Python's: an interrupt between the
        # steps of these would leave it taken, and the next turn would wait for ever.
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.queue = Queue(self.most)
        self.moving: dict[Key, Wanted] = {}
        """Rows that were taken out of the queue and are not resident yet."""
        self.closed = False
        self._moving_by_plane = [0] * PLANES
        self._free = deque(range(len(self.ring)))
        self._done: list[Job] = []
        self._told: deque[Key] = deque(maxlen=_MOST_UNTOLD)
        size = len(self.ring[0])
        self._rows = tuple(max(1, size // plane.row_bytes) if plane else 1 for plane in self.planes)

    # For the one who asks

    def ask(self, rows: Sequence[Wanted], request: Request) -> list[Wanted]:
        """Let rows be read, but for those that are on their way; those that are not.  With the lock held."""
        moving, queue, told = self.moving, self.queue, self._told
        fresh = []
        for wanted in rows:
            key = wanted.key
            there = moving.get(key)
            if there is None:
                there = queue.waiting(key)
                if there is None:
                    there = wanted
                    queue.add(wanted)
                    told.append(key)
                    fresh.append(wanted)
                else:
                    queue.hurry(key, wanted.rank, needed=wanted.needed)
            there.needed |= wanted.needed
            there.requests.append(request)
        request.left += len(rows)
        return fresh

    def put_back(self, wanted: Wanted, fetch: Fetch) -> bool:
        """Let a row that was taken out wait again, to be read elsewhere; False if it is on its way by now."""
        with self.lock:
            if wanted.key in self.moving or wanted.key in self.queue:
                return False
            wanted.fetch = fetch
            self.queue.add(wanted)
            self.changed.notify()
        return True

    def on_its_way(self, plane: int) -> int:
        """How many rows of a plane wait or are being moved."""
        return self.queue.count(plane) + self._moving_by_plane[plane]

    def withdraw(self, request: Request, keys: Sequence[Key]) -> list[Wanted]:
        """Take a request off rows; those that nobody else waits for are not read, and returned.  With the lock held."""
        gone = []
        for key in keys:
            wanted = self.moving.get(key) or self.queue.waiting(key)
            if wanted is None or request not in wanted.requests:
                continue
            wanted.requests.remove(request)
            if not wanted.requests and key in self.queue:
                self.queue.remove(key)
                gone.append(wanted)
        return gone

    @property
    def waiting_to_be_fetched(self) -> bool:
        """Whether a job was read that nobody has asked for.  With the lock held."""
        return bool(self._done)

    def finished(self) -> list[Job]:
        """Jobs that were read since this was asked last."""
        with self.lock:
            done, self._done = self._done, []
        return done

    def arrived(self, keys: Sequence[Key]) -> list[Wanted]:
        """Rows are resident, or will not be; who waited for them."""
        with self.lock:
            found = [self.moving.pop(key) for key in keys]
            for wanted in found:
                self._moving_by_plane[wanted.plane] -= 1
        return found

    def free(self, buffer: int) -> None:
        """All of a buffer's rows were copied."""
        with self.lock:
            self._free.append(buffer)
            self.changed.notify()

    def close(self) -> list[Wanted]:
        """Let nobody read any more; what was on its way."""
        with self.lock:
            self.closed = True
            left = [*self.moving.values(), *self.queue.clear()]
            self.moving.clear()
            self.changed.notify_all()
        return left

    def abandon(self) -> None:
        """Let nobody read any more, without a word to whoever waits; may be called at any moment, by any thread.

        Garbage is collected wherever memory is asked for, also while the lock is held: so nobody waits for it here.  If
        somebody has it, that is one who reads, and wakes the others when there is nothing more to read.
        """
        self.closed = True
        if self.changed.acquire(blocking=False):
            self.changed.notify_all()
            self.changed.release()

    # For those who read

    def take(self, *, wait: bool) -> Job | None:
        """The next job.

        Args:
            wait: until there is one, or the desk is closed.

        Returns:
            None if there is nothing to read, or no buffer to read it into.
        """
        with self.lock:
            while not self.closed:
                batch = self.queue.pop(self._rows) if self._free else None
                if batch is not None:
                    return self._job(batch)
                if not wait:
                    break
                self.changed.wait()
            else:
                self.changed.notify_all()
        return None

    def give(self, job: Job) -> None:
        """A job was read."""
        with self.lock:
            self._done.append(job)
            self.changed.notify_all()

    def _job(self, batch: Batch) -> Job:
        self.moving.update((wanted.key, wanted) for wanted in batch.rows)
        self._moving_by_plane[batch.plane] += len(batch.rows)
        told = [self._told.popleft() for _ in range(min(len(self._told), _MOST_ADVISED))]
        soon = [wanted for key in told if (wanted := self.queue.waiting(key)) is not None]
        plane = self.planes[batch.plane]
        assert plane is not None, "what has no plane has no version, and is not read"
        buffer = self._free.popleft()
        rows = self.ring[buffer][: len(batch.rows) * plane.row_bytes].view(plane.dtype)
        return Job(batch, buffer, rows.reshape(len(batch.rows), *plane.row), soon)


def _by_level(rows: Sequence[Wanted]) -> list[tuple[Fetch, int, int, NDArray[np.int64]]]:
    """Rows of each fetch, space and level, ascending."""
    found: dict[tuple[int, int, int], tuple[Fetch, list[int]]] = {}
    for wanted in rows:
        space, level, index, _ = wanted.key
        found.setdefault((id(wanted.fetch), space, level), (wanted.fetch, []))[1].append(index)
    return [
        (fetch, space, level, np.sort(np.array(index, np.int64))) for (_, space, level), (fetch, index) in found.items()
    ]
