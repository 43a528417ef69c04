"""How do several threads make rows of pixels, and who reads these?  One thread reads, in order; the results keep it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mctree.sources.images import Box, Pixels

__all__ = ["made"]

Made = TypeVar("Made")


def made(
    boxes: Iterator[tuple[int, Box]],
    read: Callable[[Box], Pixels],
    make: Callable[[Box, Pixels], Made],
    workers: int,
) -> Iterator[tuple[int, Made]]:
    """What boxes of pixels become, in their order, with the number of each.

    Args:
        boxes: numbers and boxes; asked for one after the other, as they are read.
        read: gives the pixels of a box; called by this thread alone.
        make: a function of a box and its pixels, for any thread.
        workers: threads that make; 1 makes here.
    """
    if workers == 1:
        for at, box in boxes:
            yield at, make(box, read(box))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="mctree-paint") as pool:
        waiting: deque[tuple[int, Future[Made]]] = deque()
        try:
            for at, box in boxes:
                waiting.append((at, pool.submit(make, box, read(box))))
                if len(waiting) > workers:
                    number, result = waiting.popleft()
                    yield number, result.result()
            while waiting:
                number, result = waiting.popleft()
                yield number, result.result()
        finally:
            for _, result in waiting:
                result.cancel()
