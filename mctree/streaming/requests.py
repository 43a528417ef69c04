"""What does somebody who asks for rows get at once?  A request: a future of many nodes.

It is done when all of them are resident, and fails with the first error that one of them met.  It can be cancelled
while it is not done: what nobody else has asked for is then not read any more, unless that has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from mctree.streaming.nodes import Key, Nodes

__all__ = ["Request"]


class Request(Future[None]):
    """A future of nodes, made by `Stream.request`.

    Rows become resident when the stream takes a turn, so somebody has to let it: `Stream.wait` does, `result` with no
    timeout would wait for ever in the thread that drives the stream.

    Attributes:
        nodes: what was asked for.
        keys: the rows that stand for them; a node without a row has none.
        pinned: whether they are to stay, until this is given to `Stream.unpin`, or cancelled before it is done.
        left: how many of them are still on their way.
    """

    def __init__(
        self, nodes: Nodes, keys: list[Key], withdraw: Callable[[Request], None], *, pinned: bool = False
    ) -> None:
        super().__init__()
        self.nodes = nodes
        self.keys = keys
        self.pinned = pinned
        self.left = 0
        self._withdraw = withdraw

    def __repr__(self) -> str:
        return f"<Request for {len(self.nodes)} nodes, {self.left} to come>"

    def cancel(self) -> bool:
        """Withdraw it, if it is not done: whether it is cancelled now."""
        cancelled = super().cancel()
        if cancelled:
            self._withdraw(self)
        return cancelled

    def arrived(self) -> None:
        """One more of the nodes is resident."""
        self.left -= 1
        if self.left == 0:
            self._end(lambda: self.set_result(None))

    def failed(self, error: BaseException) -> None:
        """A node could not be had."""
        self._end(lambda: self.set_exception(error))

    def _end(self, how: Callable[[], None]) -> None:
        # It may be done already: cancelled by another thread at this moment, or failed before.
        if not self.done():
            with suppress(InvalidStateError):
                how()
