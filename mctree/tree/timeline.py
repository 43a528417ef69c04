"""What will one commit place?  Blocks, in the order in which they came; nothing of it is written anywhere yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.records import BLOCK, BLOCK_DTYPE
from mctree.tree.turn import Turn

__all__ = ["Timeline"]

_LEAST_ROOM = 64
_MOST_ROOM_KEPT = 1 << 16
"""Blocks: what is made room for at first, and what room a timeline keeps for the next commit."""


class Timeline:
    """Blocks placed since the last commit.

    Args:
        blocks: blocks that were placed before.
        check: raises if none can be placed any more.

    Attributes:
        turn: whoever is about to place blocks takes it first.
        blocks: blocks placed, those from before included.
        new: how many of them were placed since the last commit.
        tokens: real tokens in those placed since the last commit.
    """

    def __init__(self, blocks: int, check: Callable[[], None]) -> None:
        self.blocks = blocks
        self.tokens = 0
        self.turn = Turn(check)
        self.new = 0
        self._grid: NDArray[np.uint32] = np.empty((0, BLOCK), np.uint32)
        self._records: NDArray[np.void] = np.empty(0, BLOCK_DTYPE)

    def room(self, blocks: int) -> tuple[NDArray[np.uint32], NDArray[np.void]]:
        """Room for so many blocks behind the last, with anything in it, for the caller to fill and then to `place`.

        Returns:
            Their tokens, `uint32 [blocks, 32]`, and their records, `BLOCK_DTYPE [blocks]`; checksums are left empty.
        """
        at, stop = self.new, self.new + blocks
        if stop > len(self._grid):
            # Room for twice as many: blocks that come one by one are copied a bounded number of times.
            room = max(2 * stop, _LEAST_ROOM)
            self._grid, self._records = _enlarged(self._grid, at, room), _enlarged(self._records, at, room)
        return self._grid[at:stop], self._records[at:stop]

    def place(self, blocks: int, tokens: int) -> int:
        """Put blocks that fill the room, with so many real tokens, at the end; returns the first one's number."""
        first = self.blocks
        self.blocks += blocks
        self.tokens += tokens
        self.new += blocks
        return first

    def truncate(self, blocks: int) -> None:
        """Take back the blocks placed last, so that `blocks` are left; none of them may be committed."""
        self.new -= self.blocks - blocks
        self.blocks = blocks
        self.tokens = int(self._records["count"][: self.new].sum(dtype=np.int64))

    def placed(self) -> tuple[NDArray[np.uint32], NDArray[np.void]]:
        """All blocks placed since the last commit: their tokens `uint32 [n, 32]` and records `[n]`."""
        return self._grid[: self.new], self._records[: self.new]

    def clear(self) -> None:
        """Forget what was placed: it was committed."""
        self.new = self.tokens = 0
        if len(self._grid) > _MOST_ROOM_KEPT:
            self._grid, self._records = np.empty((0, BLOCK), np.uint32), np.empty(0, BLOCK_DTYPE)


def _enlarged(rows: NDArray[Any], used: int, room: int) -> NDArray[Any]:
    """A copy with room for more rows behind those in use."""
    larger = np.empty((room, *rows.shape[1:]), rows.dtype)
    larger[:used] = rows[:used]
    return larger
