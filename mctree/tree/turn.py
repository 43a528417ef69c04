"""Who may change what a writer holds?  One call at a time, whatever thread it comes from.

A call that comes while another still runs is refused, and has changed nothing: one from another thread, or one from
within the iterable that `Writer.add` reads.  It does not wait, for the other may be waiting for it.  Refused as well is
every call to a writer that cannot commit any more: it was closed, has failed, or was inherited by a forked process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mctree.errors import UsageError

__all__ = ["Turn"]


class Turn:
    """One writer's turn, and the documents' that are open in it.

    `with turn("adding 'a'"): …` takes it for the block, or raises `UsageError`.

    Args:
        check: raises if the writer can do nothing any more.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self.lock = threading.Lock()
        self.doing = ""

    def __call__(self, doing: str) -> _Taking:
        """Take it for a `with` block; `doing` says for what, to whoever is refused."""
        return _Taking(self, doing)


class _Taking:
    __slots__ = ("_doing", "_turn")

    def __init__(self, turn: Turn, doing: str) -> None:
        self._turn = turn
        self._doing = doing

    def __enter__(self) -> None:
        self._turn.check()
        if not self._turn.lock.acquire(blocking=False):
            raise UsageError(
                f"the writer is {self._turn.doing or 'busy'}: it does one thing at a time, so call it again when that "
                "is done"
            )
        self._turn.doing = self._doing

    def __exit__(self, *_: object) -> None:
        self._turn.doing = ""
        self._turn.lock.release()
