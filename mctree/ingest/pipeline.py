"""How do several cores tokenize what one thread reads and writes?  A bounded queue in which order is kept.

One thread, the caller's, reads jobs, hands each to a worker, and gets them back in the order in which they were made;
between two of its steps the workers go on with what is queued.  So the result is the same for any number of workers,
nothing is shared but a job and its tokens, and an exception (an interrupt, too) ends everything by unwinding one stack.
The queue holds a bounded number of bytes.

With one worker there are no threads at all: the work is done where it is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from mctree.encoders import Encoded, Tokenizer
from mctree.ingest.jobs import Job

__all__ = ["tokenized"]

_PER_WORKER = 1 << 20


def tokenized(
    jobs: Iterator[Job], tokenizer: Tokenizer, workers: int, ahead: int
) -> Generator[tuple[Job, list[Encoded]], None, None]:
    """Tokenize the pieces of jobs.

    Args:
        jobs: read as far ahead as the queue is long.
        tokenizer: safe to call from several threads at once.
        workers: how many threads tokenize; 1 for none beside the caller's.
        ahead: bytes that the queue holds for the time of the caller's longest step, beside 1 MiB for each worker.

    Yields:
        Each job in order, with one `Encoded` per piece.
    """
    if workers == 1:
        for job in jobs:
            yield job, tokenizer.encode(job.pieces())
        return
    limit = ahead + workers * _PER_WORKER
    queue: deque[tuple[Job, Future[list[Encoded]]]] = deque()
    size = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mctree-tokenize")
    try:
        for job in jobs:
            queue.append((job, pool.submit(tokenizer.encode, job.pieces())))
            size += job.size
            while queue and (size > limit or queue[0][1].done()):
                first, future = queue.popleft()
                size -= first.size
                yield first, future.result()
        while queue:
            first, future = queue.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
