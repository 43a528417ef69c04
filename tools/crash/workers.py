"""How do thousands of points use all cores?  A few processes that have imported everything, and fork for each point.

They are forked by a server that has imported what they need and nothing else: whoever starts them may be large.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from tools.crash.scenario import reference

__all__ = ["PROCESSES", "Workers"]

PROCESSES = 2
_KNOWN = ["tools.crash.faults", "tools.crash.kills", "tools.crash.pictures", "tools.crash.replay"]

Point = TypeVar("Point")
Found = TypeVar("Found")


class Workers:
    """Processes that know a life, for a `with` block.

    Args:
        foresee: works out in each of them what they will have to know.
    """

    def __init__(self, foresee: Callable[[], object] = reference) -> None:
        # One thread each: what is forked from a process that has more may inherit a lock that nobody gives back.
        limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        known = {name: os.environ.get(name) for name in limits}
        os.environ.update(limits)
        try:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_KNOWN)
            self._pool = context.Pool(PROCESSES, foresee)
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
