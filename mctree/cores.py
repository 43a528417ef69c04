"""How does work that falls into independent parts use all cores?  Threads, for the length of one call.

It pays for calls that last and release the interpreter lock, as tokenizers and digests do; not for many short ones of
NumPy, where threads lose more by handing the lock to and fro.  Results come in the order of the parts, and no part
depends on another, so they are the same for any number of threads.  No thread outlives the call, since threads that
wait would be lost in a forked process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["at_once", "cores"]

_MOST_THREADS: Final = 8

Part = TypeVar("Part")
Made = TypeVar("Made")


def at_once(work: Callable[[Part], Made], parts: Sequence[Part]) -> Iterable[Made]:
    """`work` of each part, in their order."""
    threads = min(cores(), len(parts), _MOST_THREADS)
    if threads < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads, thread_name_prefix="mctree-work") as pool:
        return list(pool.map(work, parts))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
