"""How does something get from one process into another?  By a file in memory, which both open."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from typing import Any

__all__ = ["got", "put"]


def put(fd: int, what: object) -> list[int]:
    """Pickle something into a file, its arrays behind it: the sizes of all of these."""
    buffers = list[pickle.PickleBuffer]()
    parts = [memoryview(pickle.dumps(what, protocol=5, buffer_callback=buffers.append))]
    parts += [buffer.raw() for buffer in buffers]
    end, sizes = 0, [len(part) for part in parts]
    for part in parts:
        stop = end + len(part)
        while end < stop:
            end += os.pwrite(fd, part[end - stop :], end)
    return sizes


def got(fd: int, sizes: Sequence[int]) -> Any:
    """What a file holds; its arrays are the caller's own."""
    start, parts = 0, []
    for size in sizes:
        part = bytearray(size)
        rest = memoryview(part)
        while rest:
            count = os.preadv(fd, [rest], start)
            if not count:
                raise EOFError("a file in memory ends before what was put there")
            rest, start = rest[count:], start + count
        parts.append(part)
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  # of a process that this one began, or that began it
