"""How is one process begun, asked and heard that works for this one?

It is begun afresh, with a pipe of its own, and takes its requests from files in memory.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mctree.processes import memory
from mctree.processes.jobs import Job
from mctree.processes.serving import serve

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["Worker", "beginning", "heard_from"]

_SURROUNDINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What processes find in their environment: each keeps the memory of its arrays for the next ones (glibc would give it
back to the kernel, and be given it anew, with every call of NumPy), and uses one core."""


class Worker:
    """One process, and what it was asked for and has not answered.

    Attributes:
        pipe: to it; only this process has this end, so that it ends when either does.
        ready: whether it has said that it is there.
        jobs: what it was asked for, the first first, and the file in memory of each.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        import multiprocessing  # noqa: PLC0415  # who needs no processes does not wait for it

        self.pipe, other = multiprocessing.Pipe()
        self.ready = False
        self.jobs = deque[tuple[Job[Any], int]]()
        self._process: SpawnProcess = multiprocessing.get_context("spawn").Process(
            target=serve, args=(other, modules), name="mctree-worker", daemon=True
        )
        try:
            self._process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            other.close()

    def send(self, job: Job[Any], free: list[int]) -> None:
        """Ask it for a job.

        Raises:
            OSError: it is gone, or its file cannot be made.
        """
        fd = free.pop() if free else os.memfd_create("mctree")
        self.jobs.append((job, fd))
        try:
            sizes = memory.put(fd, job.parcel)
        except OSError:
            raise
        except Exception as error:  # what does not pickle says so by all kinds of errors
            self.jobs.pop()
            free.append(fd)
            job.failed(error)
            return
        self.pipe.send((f"/proc/{os.getpid()}/fd/{fd}", sizes))

    def hear(self, free: list[int]) -> None:
        """Hear what it has to say.

        Raises:
            EOFError: it is gone.
            OSError: so it is.
        """
        said = self.pipe.recv()
        if not self.ready:
            self.ready = True
            return
        well, sizes = said
        job, fd = self.jobs.popleft()
        free.append(fd)
        try:
            found = memory.got(fd, sizes)
        except Exception as error:  # of classes that are not the same here and there
            job.failed(BrokenExecutor(f"what a process has made cannot be read: {error}"))
            return
        if well:
            job.made(found)
        else:
            job.failed(found)

    def end(self, free: list[int]) -> None:
        """Let it be gone."""
        self.pipe.close()
        self._process.kill()
        self._process.join()
        for job, fd in self.jobs:
            free.append(fd)
            job.failed(BrokenExecutor("a process died that had work to do"))
        self.jobs.clear()


def heard_from(workers: Sequence[Worker], timeout: float | None) -> list[Any]:
    """The pipes through which something has come, after so many seconds at most."""
    from multiprocessing.connection import wait  # noqa: PLC0415  # as below

    return wait([worker.pipe for worker in workers], timeout)


@contextmanager
def beginning() -> Iterator[None]:
    """What processes are begun in: an environment that suits them, and without Ctrl-C, of which they never hear."""
    with _interrupts_held(), _surroundings():
        yield


@contextmanager
def _surroundings() -> Iterator[None]:
    """Let processes that are begun find what they should in their environment, where nobody has said otherwise."""
    mine = {name: value for name, value in _SURROUNDINGS.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait; a process that is begun meanwhile never hears of it."""
    from multiprocessing import resource_tracker  # noqa: PLC0415  # as above

    resource_tracker.ensure_running()  # which, when it is begun with the first process, lets Ctrl-C strike again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
