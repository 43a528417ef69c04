"""Who reads?  A few threads; or, for tests and simulations, nobody but the clock.

`Threads` is the real thing.  `Timed` reads what was taken when its time has come on a clock that only moves when it is
told to: everything happens in one thread, in an order that does not change from run to run.
"""

from __future__ import annotations

import threading
from typing import Protocol

from mctree.errors import UsageError
from mctree.streaming.desk import Desk, Job
from mctree.streaming.slow import Delay, Pipe, VirtualClock

__all__ = ["Loader", "Threads", "Timed"]


class Loader(Protocol):
    """Whoever reads the jobs of a desk."""

    def pump(self) -> None:
        """Called at each turn of the stream."""
        ...

    def rest(self, seconds: float) -> None:
        """Let time go by until something was read, or so many seconds at most."""
        ...

    def close(self) -> None:
        """Read no more; the desk was closed."""
        ...


class Threads:
    """Threads that read as long as there is something to read.

    Args:
        desk: where the jobs are.
        workers: how many; reading from mapped files releases the interpreter's lock.

    Raises:
        UsageError: there are none.
    """

    def __init__(self, desk: Desk, workers: int = 2) -> None:
        if workers < 1:
            raise UsageError(f"somebody has to read: {workers} workers cannot")
        self._desk = desk
        # They hold the desk, not the stream, so that a stream that was forgotten can be collected, and closes the desk.
        self._threads = [
            threading.Thread(target=_work, args=(desk,), name=f"mctree-stream-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def pump(self) -> None:
        """Nothing: they go on by themselves."""

    def rest(self, seconds: float) -> None:
        """Wait until a job was given back."""
        desk = self._desk
        with desk.lock:
            if not desk.waiting_to_be_fetched:
                desk.changed.wait(seconds)

    def close(self) -> None:
        """Wait for the threads: each ends when it has read what it is reading."""
        for thread in self._threads:
            thread.join()


def _work(desk: Desk) -> None:
    while (job := desk.take(wait=True)) is not None:
        job.read()
        desk.give(job)


class Timed:
    """Reading that takes as long as a model says, on a clock of its own.

    Args:
        desk: where the jobs are.
        clock: moved on by whoever drives the simulation, and by `rest`.
        delay: how long reading takes.
        workers: how many jobs are being read at a time.
    """

    def __init__(self, desk: Desk, clock: VirtualClock, delay: Delay, workers: int = 2) -> None:
        self._desk = desk
        self._clock = clock
        self._pipe = Pipe(delay)
        self._workers = workers
        self._reading: list[tuple[float, Job]] = []

    def pump(self) -> None:
        """Read what its time has come for, and begin as much as can be."""
        self._begin()
        while self._reading and self._reading[0][0] <= self._clock.now:
            job = self._reading.pop(0)[1]
            job.read()
            self._desk.give(job)
            self._begin()

    def rest(self, seconds: float) -> None:
        """Move the clock to when the next job is read, or by so much."""
        self._begin()
        until = self._clock.now + seconds
        due = self._reading[0][0] if self._reading else until
        self._clock.now = max(self._clock.now, min(due, until))

    def close(self) -> None:
        """Forget what was being read."""
        self._reading.clear()

    def _begin(self) -> None:
        while len(self._reading) < self._workers and (job := self._desk.take(wait=False)) is not None:
            due = self._pipe.due(self._clock.now, job.batch.runs(), job.rows.nbytes)
            self._reading.append((due, job))
            self._reading.sort(key=lambda one: one[0])
