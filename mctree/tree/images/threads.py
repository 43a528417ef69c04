"""How do several threads make rows of pixels, and who reads these?  One thread reads, in order; the results keep it.

The thread that reads, and does what its caller does with the results, makes rows too whenever the next ones are not
there yet: so as many threads work as were asked for, and none waits while there is something to make.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

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
        workers: threads that make, this one among them.
    """
    if workers == 1:
        for at, box in boxes:
            yield at, make(box, read(box))
        return
    with ThreadPoolExecutor(workers - 1, thread_name_prefix="mctree-paint") as pool:
        waiting: deque[_Task[Made]] = deque()
        try:
            for at, box in boxes:
                waiting.append(_Task(pool, at, make, box, read(box)))
                if len(waiting) > workers:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            for task in waiting:
                task.future.cancel()


class _Task(Generic[Made]):
    """A box that the pool makes, unless this thread does it first."""

    def __init__(
        self, pool: ThreadPoolExecutor, at: int, make: Callable[[Box, Pixels], Made], box: Box, pixels: Pixels
    ) -> None:
        self.at = at
        self.future: Future[Made] = pool.submit(make, box, pixels)
        self._given = make, box, pixels

    def make_here(self) -> bool:
        """Make it in this thread if no other has begun; whether it was so."""
        if not self.future.cancel():
            return False
        make, box, pixels = self._given
        self.future = Future()
        try:
            self.future.set_result(make(box, pixels))
        except Exception as error:
            self.future.set_exception(error)
        return True


def _first(waiting: deque[_Task[Made]]) -> tuple[int, Made]:
    """The first result, once it is there; until then others are made here."""
    while not waiting[0].future.done():
        if not any(task.make_here() for task in waiting):
            break
    first = waiting.popleft()
    return first.at, first.future.result()
