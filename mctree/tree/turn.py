"""Who may change what a writer holds?  One call at a time, whatever thread it comes from.

A call that comes while another still runs is refused, and has changed nothing: one from another thread, or one from
within the iterable that `Writer.add` reads.  It does not wait, for the other may be waiting for it.  Refused as well is
every call to a writer that cannot commit any more: it was closed, has failed, or was inherited by a forked process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from mctree.errors import UsageError

__all__ = ["Turn"]


class Turn:
    """One writer's turn, and the documents' that are open in it.

    `with turn("adding 'a'"): …` takes it for the block, or raises `UsageError`.

    Args:
        check: raises if the writer can do nothing any more.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._doing = ""

    def __call__(self, doing: str) -> Self:
        """Take it for a `with` block; `doing` says for what, to whoever is refused."""
        self._check()
        if not self._lock.acquire(blocking=False):
            raise UsageError(
                f"the writer is {self._doing or 'busy'}: it does one thing at a time, so call it again when that "
                "is done"
            )
        self._doing = doing
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._doing = ""
        self._lock.release()
