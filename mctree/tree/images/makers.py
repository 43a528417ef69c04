"""Who makes rows of pixels?  Several threads, or processes; one thread reads, in order, and the results keep it.

The thread that reads, and does what its caller does with the results, makes rows too whenever the next ones are not
there yet (see `mctree.processes.tasks`): so as many work as were asked for.

Processes read for themselves where a copy of the image can: then nothing but rows goes from one to the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from mctree.processes import Processes, Work
from mctree.processes.tasks import Pending, Task, first
from mctree.sources.images import Box, Pixels

__all__ = ["Readable", "Workers", "made"]

_QUEUED = 3
"""Boxes for each process, one of them on its way, so that it need not wait while this thread makes others."""
_OWN = 3
"""Boxes that this thread may make while it waits for one that a process has."""

Workers = int | Processes
"""Threads that make rows, the caller's among them; or processes that do, beside the caller's thread."""

Made = TypeVar("Made")


class Readable(Protocol):
    """What pixels are read from."""

    @property
    def copies(self) -> bool:
        """Whether a copy, pickled, reads boxes in another process for what they cost here."""
        ...

    def read(self, box: Box) -> Pixels:
        """The pixels of a box."""
        ...

    def was_read(self, box: Box) -> None:
        """A copy has read the pixels of a box."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


def made(
    boxes: Iterator[tuple[int, Box]],
    image: Readable,
    make: Callable[[Box, Pixels], Made],
    workers: Workers,
) -> Iterator[tuple[int, Made]]:
    """What boxes of pixels become, in their order, with the number of each.

    Args:
        boxes: numbers and boxes; asked for one after the other, as they are read.
        image: has the pixels of a box; used by this thread alone.
        make: a function of a box and its pixels, for any thread; one that does not pickle is not made by processes.
        workers: how many threads, or which processes.
    """
    if isinstance(workers, Processes):
        far = _far(image, make, workers)
        near = boxes if far is None else islice(boxes, max(workers.spare, 0))
        for one in made(near, image, make, workers.count + 1):
            workers.spare -= 1
            yield one
        if far is not None:
            yield from _made(boxes, far, _QUEUED * workers.count + _OWN)
    elif workers == 1:
        for at, box in boxes:
            yield at, make(box, image.read(box))
    else:
        with ThreadPoolExecutor(workers - 1, thread_name_prefix="mctree-paint") as pool:
            yield from _made(boxes, _Near(image, make, pool), workers)


class _Others(Protocol):
    """Who makes rows besides this thread."""

    def submit(self, make: Callable[..., Made], /, *given: Any) -> Pending[Made]:
        """Have rows made."""
        ...


class _Way(Protocol[Made]):
    """How a box becomes rows with the help of others."""

    def begin(self, box: Box) -> Task[Made]:
        """Let it begin."""
        ...


@dataclass(frozen=True, slots=True)
class _Near(Generic[Made]):
    """Pixels are read here, and given to others.

    Attributes:
        image: has them.
        make: what they become.
        others: who can make that.
    """

    image: Readable
    make: Callable[[Box, Pixels], Made]
    others: _Others

    def begin(self, box: Box) -> Task[Made]:
        """Read them, and have them made."""
        pixels = self.image.read(box)
        return Task(self.others.submit(self.make, box, pixels), lambda: self.make(box, pixels))


@dataclass(frozen=True, slots=True)
class _Sight(Generic[Made]):
    """What boxes become, for whoever has a copy of their image.

    Attributes:
        image: has their pixels.
        make: what these become.
    """

    image: Readable
    make: Callable[[Box, Pixels], Made]

    def __call__(self, box: Box) -> Made:
        """Read a box, and make it."""
        return self.make(box, self.image.read(box))

    def close(self) -> None:
        """Let go of files."""
        self.image.close()


@dataclass(frozen=True, slots=True)
class _Far(Generic[Made]):
    """Pixels are read by others, from copies.

    Attributes:
        sight: what boxes become.
        others: who can make that.
        shared: the same, for them.
    """

    sight: _Sight[Made]
    others: Processes
    shared: Work[Made]

    def begin(self, box: Box) -> Task[Made]:
        """Have them read and made."""
        return Task(
            self.others.submit(self.shared, box), lambda: self.sight(box), lambda: self.sight.image.was_read(box)
        )


def _far(image: Readable, make: Callable[[Box, Pixels], Made], processes: Processes) -> _Way[Made] | None:
    """How processes make rows; None if they cannot."""
    sight = _Sight(image, make)
    if image.copies and (seen := processes.share(sight)) is not None:
        return _Far(sight, processes, seen)
    shared = processes.share(make)
    return None if shared is None else _Near(image, shared, processes)


def _made(boxes: Iterator[tuple[int, Box]], way: _Way[Made], ahead: int) -> Iterator[tuple[int, Made]]:
    """The same, with others, of so many boxes at a time."""
    waiting: deque[tuple[int, Task[Made]]] = deque()
    try:
        for at, box in boxes:
            waiting.append((at, way.begin(box)))
            if len(waiting) > ahead:
                yield first(waiting)
        while waiting:
            yield first(waiting)
    finally:
        for _, task in waiting:
            task.future.cancel()
