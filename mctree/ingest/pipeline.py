"""How do several cores tokenize what one thread reads and writes?  A bounded queue in which order is kept.

One thread, the caller's, reads jobs, queues each for the workers, and gets them back in the order in which they were
made; between two of its steps the workers go on with what is queued.  So the result is the same for any number of
workers, nothing is shared but a job and its tokens, and an exception (an interrupt, too) ends everything by unwinding
one stack.  The queue holds a bounded number of bytes.

The caller's thread is one of the workers: what it would wait for, and nobody has begun, it does itself.  So there are
never more threads at work than cores, which would drive each other's tables out of the cores' caches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mctree.encoders import Encoded, Tokenizer
from mctree.ingest.jobs import Job
from mctree.processes.tasks import Task, first

__all__ = ["Tokenized"]

_PER_WORKER = 1 << 20


class Tokenized:
    """Jobs in order, each with one `Encoded` per piece.

    Args:
        jobs: read as far ahead as the queue is long.
        tokenizer: safe to call from several threads at once.
        workers: how many threads tokenize, the caller's among them.
        ahead: bytes that the queue holds for the time of the caller's longest step, beside 1 MiB for each worker.
    """

    def __init__(self, jobs: Iterator[Job], tokenizer: Tokenizer, workers: int, ahead: int) -> None:
        self._jobs = jobs
        self._tokenizer = tokenizer
        self._limit = ahead + workers * _PER_WORKER
        self._queue: deque[tuple[Job, Task[list[Encoded]]]] = deque()
        self._size = 0
        self._pool = ThreadPoolExecutor(workers - 1, thread_name_prefix="mctree-tokenize") if workers > 1 else None

    def read_ahead(self) -> None:
        """Fill the queue, so that the workers have something to do while the caller does something else."""
        while self._pool is not None and self._size <= self._limit and self._take_one(self._pool):
            pass

    def __iter__(self) -> Iterator[tuple[Job, list[Encoded]]]:
        if self._pool is None:
            for job in self._jobs:
                yield job, self._tokenizer.encode(job.pieces())
            return
        more = True
        while more or self._queue:
            while self._queue and (not more or self._size > self._limit or self._queue[0][1].future.done()):
                job, encoded = first(self._queue)
                self._size -= job.weight
                yield job, encoded
            more = more and self._take_one(self._pool)

    def close(self) -> None:
        """End the workers; what they have not begun is left undone."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _take_one(self, pool: ThreadPoolExecutor) -> bool:
        """Queue the next job; False if there is none."""
        job = next(self._jobs, None)
        if job is None:
            return False
        encode = partial(self._tokenizer.encode, job.pieces())
        self._queue.append((job, Task(pool.submit(encode), encode)))
        self._size += job.weight
        return True
