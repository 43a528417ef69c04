"""How is it found out what a file holds while something else is done?  By a thread that reads it, for one block.

Reading and digesting release the interpreter lock, so it takes the time of a core that has nothing else to do.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from threading import Event
from types import TracebackType
from typing import Self

from mctree.errors import SourceError

__all__ = ["Digesting"]

_SOON = 0.05
"""Seconds in which whoever waits hears of Ctrl-C."""


class Digesting:
    """A digest that is on its way; a context manager, at the end of which its thread is gone.

    Args:
        digest: finds it, and calls what it is given now and then, which may raise; for a thread of its own.
    """

    def __init__(self, digest: Callable[[Callable[[], object]], bytes]) -> None:
        self._unwanted = Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mctree-digest")
        self._found = self._pool.submit(digest, self._between)

    def result(self, between: Callable[[], object]) -> bytes:
        """The digest, once it is there; empty if what it is of cannot be read, or is no longer what was found.

        Args:
            between: called now and then; what it raises ends the wait.
        """
        while True:
            between()
            try:
                return self._found.result(_SOON)
            except NotYet:
                continue
            except SourceError:
                return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwanted.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _between(self) -> None:
        if self._unwanted.is_set():
            raise CancelledError
