"""How do thousands of points use all cores?  A few processes that have imported everything, and fork for each point.

They are spawned, not forked, so that they hold no more than they need: whoever starts them may be large.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from tools.crash.scenario import reference

__all__ = ["PROCESSES", "Workers"]

PROCESSES = 2

Point = TypeVar("Point")
Found = TypeVar("Found")


class Workers:
    """Processes that know the scenario, for a `with` block."""

    def __init__(self) -> None:
        # One thread each: what is forked from a process that has more may inherit a lock that nobody gives back.
        limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        known = {name: os.environ.get(name) for name in limits}
        os.environ.update(limits)
        try:
            self._pool = multiprocessing.get_context("spawn").Pool(PROCESSES, reference)
        finally:
            for name, value in known.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def each(self, work: Callable[[Point], Found], points: Iterable[Point]) -> Iterator[Found]:
        """What is found at each point, in their order; `work` is sent, and so has to be a function of a module."""
        return self._pool.imap(work, points)
