"""Who works for this process, and who does what?  Some processes, begun when there is something to do."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from mctree.errors import UsageError
from mctree.processes.jobs import Job, Work
from mctree.processes.worker import Worker, beginning, heard_from

__all__ = ["Processes"]

_SENT = 2
"""Jobs that a process has: the one that it works on, and the next.  While plenty wait it has one more, so that it goes
on for as long as nobody hears it; near the end of all, whoever is there first takes what is left."""
_PLENTY = 3
"""More jobs than these that nobody has are plenty."""
_LARGEST_WORK = 1 << 20
"""Bytes of pickled work: with what is larger than that it is better to go by its parts."""

Made = TypeVar("Made")


class Processes:
    """Some processes that work for this one, begun when there is something to do; for one thread at a time.

    A context manager: at its end they are gone, whatever they were at.

    Args:
        count: how many.
        spare: pieces of work that whoever has them does himself before a process is begun: for so few, it is not worth
            its start.
        modules: that each of them imports as it begins.

    Attributes:
        count: as given.
        spare: how many such pieces are left; who does one counts it.

    Raises:
        UsageError: there would be none.
    """

    def __init__(self, count: int, *, spare: int = 24, modules: Sequence[str] = ()) -> None:
        if count < 1:
            raise UsageError(f"somebody has to work: {count} processes cannot")
        self.count, self.spare = count, spare
        self._modules = tuple(modules)
        self._owner = os.getpid()
        self._workers: list[Worker] | None = None
        self._waiting = deque[Job[Any]]()
        self._free = list[int]()  # files in memory that nobody uses

    def expect(self, pieces: int) -> None:
        """Begin now if so many pieces of work are to come soon that it is worth it."""
        if pieces > self.spare and os.getpid() == self._owner:
            self.spare = 0
            self._workers = self._begun() if self._workers is None else self._workers

    def share(self, function: Callable[..., Made]) -> Work[Made] | None:
        """Some work that these can do again and again; None if they cannot.

        Args:
            function: must pickle, into a megabyte at most, as must what it is given and gives.  A process unpickles it
                with the first job; if it has a `close`, that is called when other such work takes its place.
        """
        if os.getpid() != self._owner or self._workers == []:
            return None
        apart = list[pickle.PickleBuffer]()  # arrays are counted before they are copied
        try:
            pickled = pickle.dumps(function, protocol=5, buffer_callback=apart.append)
            if len(pickled) + sum(buffer.raw().nbytes for buffer in apart) > _LARGEST_WORK:
                return None
            return Work(function, pickle.dumps(function) if apart else pickled)
        except Exception:  # what does not pickle says so by all kinds of errors
            return None

    def submit(self, work: Callable[..., Made], /, *given: object) -> Job[Made]:
        """Have some work done: a function that pickles, or `Work` that is shared."""
        job = Job(self, work, given)
        if os.getpid() != self._owner:
            job.failed(BrokenExecutor("these processes work for another one"))
            return job
        if self._workers is None:
            self._workers = self._begun()
        self._waiting.append(job)
        self.look(0)
        return job

    def withdraw(self, job: Job[Any]) -> bool:
        """Take back a job that no process has; whether that was so."""
        with suppress(ValueError):
            self._waiting.remove(job)
            return True
        return False

    def look(self, timeout: float | None) -> None:
        """See what processes have done, for so many seconds at most, and give them more to do."""
        if os.getpid() != self._owner:
            raise BrokenExecutor("these processes work for another one")
        workers = self._workers or []
        for pipe in heard_from(workers, timeout) if workers else ():
            worker = next(worker for worker in workers if worker.pipe is pipe)
            try:
                worker.hear(self._free)
            except (EOFError, OSError):
                self._lose(worker)
            except BaseException:  # Ctrl-C: its next answer would be taken for that to something else
                self._lose(worker)
                raise
        for worker in list(workers):
            while self._waiting and worker.ready and len(worker.jobs) < _SENT + (len(self._waiting) > _PLENTY):
                job = self._waiting.popleft()
                try:
                    worker.send(job, self._free)
                except OSError as error:  # it is gone, or there is no memory
                    job.failed(BrokenExecutor(str(error)))
                    self._lose(worker)
                    break
                except BaseException:  # as above
                    self._lose(worker)
                    raise
        if not workers:
            for job in self._waiting:
                job.failed(BrokenExecutor("no process is left"))
            self._waiting.clear()

    def close(self) -> None:
        """End them; what they were asked for is lost."""
        if os.getpid() == self._owner:
            for worker in list(self._workers or []):
                self._lose(worker)
            self.look(0)
        while self._free:
            os.close(self._free.pop())

    def _begun(self) -> list[Worker]:
        """As many processes as can be begun."""
        workers = list[Worker]()
        if hasattr(os, "memfd_create"):
            # An AssertionError: this process is one that may begin none.
            with suppress(OSError, AssertionError), beginning():
                while len(workers) < self.count:
                    workers.append(Worker(self._modules))
        return workers

    def _lose(self, worker: Worker) -> None:
        """Let a process be gone, and what it was asked for be lost."""
        assert self._workers is not None, "it was one of them"
        self._workers.remove(worker)
        worker.end(self._free)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
