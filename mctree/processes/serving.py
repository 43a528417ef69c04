"""What does a process do that works for another one?  One thing after the other, until that is gone."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mctree.processes import memory

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["serve", "taken_up"]


def serve(pipe: Connection, modules: Sequence[str]) -> None:
    """Be a process that works for another one, until that closes the pipe or is gone."""
    for module in modules:
        import_module(module)
    with suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            path, sizes = pipe.recv()
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                pipe.send(_worked(fd, sizes))
            finally:
                os.close(fd)


def _worked(fd: int, sizes: Sequence[int]) -> tuple[bool, list[int]]:
    """Do what a file asks for, and put there what has come of it: whether all is well, and the sizes of its parts."""
    try:
        work, given = memory.got(fd, sizes)
    except Exception as error:  # of a class or function, or a file, that is not to be found here
        return False, memory.put(fd, BrokenExecutor(f"a process cannot take this up: {error}"))
    try:
        return True, memory.put(fd, work(*given))
    except Exception as error:
        try:
            return False, memory.put(fd, error)
        except Exception:  # it does not pickle: whoever asked will meet it himself
            return False, memory.put(fd, BrokenExecutor(f"{type(error).__name__}: {error}"))


_last: tuple[int, Callable[..., Any] | str] = -1, ""
"""The work that this process was last sent, by its number, or why it cannot be taken up."""


def taken_up(number: int, pickled: bytes) -> Callable[..., Any]:
    """Work that another process shares with this one.

    Raises:
        BrokenExecutor: it cannot be unpickled.
    """
    global _last  # noqa: PLW0603  # a process does one thing at a time
    if _last[0] != number:
        with suppress(Exception):  # it is done with, and need not have one
            _last[1].close()  # type: ignore[union-attr]
        try:
            _last = number, pickle.loads(pickled)  # noqa: S301  # of the process that began this one
        except Exception as error:  # as above; it would not be found the next time either
            _last = number, str(error)
    if isinstance(_last[1], str):
        raise BrokenExecutor(_last[1])
    return _last[1]
