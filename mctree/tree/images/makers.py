"""Who makes rows of pixels?  Several threads, or processes; one thread reads, in order, and the results keep it.

The thread that reads, and does what its caller does with the results, makes rows too whenever the next ones are not
there yet: so as many work as were asked for, and none waits while there is something to make.  What a process that died
was to make is made here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from mctree.processes import Processes
from mctree.sources.images import Box, Pixels

__all__ = ["Workers", "made"]

_QUEUED = 2
"""Boxes for each process, one of them on its way, so that it need not wait while this thread makes others."""
_OWN = 3
"""Boxes that this thread may make while it waits for one that a process has."""

Workers = int | Processes
"""Threads that make rows, the caller's among them; or processes that do, beside the caller's thread."""

Made = TypeVar("Made")
Awaited_co = TypeVar("Awaited_co", covariant=True)


def made(
    boxes: Iterator[tuple[int, Box]],
    read: Callable[[Box], Pixels],
    make: Callable[[Box, Pixels], Made],
    workers: Workers,
) -> Iterator[tuple[int, Made]]:
    """What boxes of pixels become, in their order, with the number of each.

    Args:
        boxes: numbers and boxes; asked for one after the other, as they are read.
        read: gives the pixels of a box; called by this thread alone.
        make: a function of a box and its pixels, for any thread; one that does not pickle is not made by processes.
        workers: how many threads, or which processes.
    """
    if isinstance(workers, Processes):
        takes = workers.take(make)
        by_threads = islice(boxes, max(workers.spare, 0)) if takes else boxes
        for one in made(by_threads, read, make, workers.count + 1):
            workers.spare -= 1
            yield one
        if takes:
            yield from _made(boxes, read, make, workers, _QUEUED * workers.count + _OWN)
    elif workers == 1:
        for at, box in boxes:
            yield at, make(box, read(box))
    else:
        with ThreadPoolExecutor(workers - 1, thread_name_prefix="mctree-paint") as pool:
            yield from _made(boxes, read, make, pool, workers)


class _Pending(Protocol[Awaited_co]):
    """What others are to make: a `Future`, or a `Job`."""

    def cancel(self) -> bool:
        """Take it back if nobody has begun; whether it was so."""
        ...

    def done(self) -> bool:
        """Whether it is there."""
        ...

    def result(self) -> Awaited_co:
        """What has come of it."""
        ...


class _Others(Protocol):
    """Who makes rows besides this thread."""

    def submit(self, make: Callable[..., Made], /, *given: Any) -> _Pending[Made]:
        """Have rows made."""
        ...


def _made(
    boxes: Iterator[tuple[int, Box]],
    read: Callable[[Box], Pixels],
    make: Callable[[Box, Pixels], Made],
    others: _Others,
    ahead: int,
) -> Iterator[tuple[int, Made]]:
    """The same, with others, of so many boxes at a time."""
    waiting: deque[_Task[Made]] = deque()
    try:
        for at, box in boxes:
            waiting.append(_Task(others, at, make, box, read(box)))
            if len(waiting) > ahead:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        for task in waiting:
            task.future.cancel()


class _Task(Generic[Made]):
    """A box that others make, unless this thread does it first."""

    def __init__(self, others: _Others, at: int, make: Callable[[Box, Pixels], Made], box: Box, pixels: Pixels) -> None:
        self.at = at
        self.future: _Pending[Made] = others.submit(make, box, pixels)
        self._given = make, box, pixels

    def make_here(self) -> bool:
        """Make it in this thread if no other has begun; whether it was so."""
        if not self.future.cancel():
            return False
        self.future = here = Future[Made]()
        try:
            here.set_result(self._made())
        except Exception as error:
            here.set_exception(error)
        return True

    def result(self) -> Made:
        """What it has become, once that is there."""
        try:
            return self.future.result()
        except BrokenExecutor:
            return self._made()

    def _made(self) -> Made:
        make, box, pixels = self._given
        return make(box, pixels)


def _first(waiting: deque[_Task[Made]]) -> tuple[int, Made]:
    """The first result, once it is there; until then others are made here."""
    while not waiting[0].future.done():
        if not any(task.make_here() for task in waiting):
            break
    first = waiting.popleft()
    return first.at, first.result()
