"""How is it made sure that nobody who is timed waits for the disk?  Files are locked in memory as long as they race.

To read them once is not enough: a kernel may take pages back that nobody has looked at for some seconds, though memory
is plenty, as hosts of virtual machines ask for.  Then whoever waited longest for a turn reads from the disk.  Locked
pages stay, whoever has mapped them.

It does not assume that it may: without the right to lock as much, files are only read.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["locked", "may_lock"]


def may_lock() -> bool:
    """Whether this process may lock as much memory as it likes."""
    if sys.platform != "linux":
        return False
    import resource  # noqa: PLC0415  # not everywhere

    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep all files below a folder, as they are now, in memory in a `with` block.

    Yields:
        Whether all of them are.
    """
    if not may_lock():
        yield False
        return
    libc = ctypes.CDLL(None, use_errno=True)
    held = []
    whole = True
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file() or not path.stat().st_size:
                continue
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            held.append(mapped)
            start = np.frombuffer(mapped, np.uint8).ctypes.data
            whole = not libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(len(mapped))) and whole
        yield whole
    finally:
        for mapped in held:
            mapped.close()  # and no longer locked
