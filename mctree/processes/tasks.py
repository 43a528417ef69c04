"""How does the thread that waits for others take part in their work?  It does what nobody has begun.

A task is something that others are to make, and that this thread can make as well.  Whoever wants the first of several
makes others of them until that is there: so as many work as there are cores, none of them waits while there is
something to do, and results keep the order in which they were asked for.  What a process that died was to make is made
here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Generic, Protocol, TypeVar

__all__ = ["Pending", "Task", "first"]

Made = TypeVar("Made")
Marked = TypeVar("Marked")
Awaited_co = TypeVar("Awaited_co", covariant=True)


class Pending(Protocol[Awaited_co]):
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


class Task(Generic[Made]):
    """Something that others make, unless this thread does it first.

    Args:
        future: what comes of it when they make it.
        here: makes it in this thread.
        told: called when it was made by others.
    """

    def __init__(
        self, future: Pending[Made], here: Callable[[], Made], told: Callable[[], None] = lambda: None
    ) -> None:
        self.future = future
        self._here, self._told = here, told

    def make_here(self) -> bool:
        """Make it in this thread if no other has begun; whether it was so."""
        if not self.future.cancel():
            return False
        self.future = done = Future[Made]()
        self._told = lambda: None
        try:
            done.set_result(self._here())
        except Exception as error:
            done.set_exception(error)
        return True

    def result(self) -> Made:
        """What it has become, once that is there."""
        try:
            found = self.future.result()
        except BrokenExecutor:
            return self._here()
        self._told()
        return found


def first(waiting: deque[tuple[Marked, Task[Made]]]) -> tuple[Marked, Made]:
    """Take the first out of a queue, with its result once that is there; until then others are made here."""
    while not waiting[0][1].future.done():
        if not any(task.make_here() for _, task in waiting):
            break
    at, task = waiting.popleft()
    return at, task.result()
