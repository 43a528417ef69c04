"""Which of the stored positions hold something?  Real tokens without padding, and the blocks that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.format.records import BLOCK

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["Packed", "packed", "real_positions"]


@dataclass(frozen=True, slots=True)
class Packed:
    """Real tokens without padding.

    Attributes:
        tokens: `[n]`, of the store's token type.
        blocks: `int64 [b]`: the blocks they come from, in order.
        counts: `int64 [b]`: how many each block gave.
    """

    tokens: NDArray[np.generic]
    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]


def packed(snapshot: Snapshot, start: int, stop: int, *, dead: bool) -> Packed:
    """The real tokens among positions [start, stop), which must be placed.

    Args:
        snapshot: where to look.
        start: first position; need not be the start of a block.
        stop: position after the last.
        dead: also those of documents that are gone.
    """
    first, last = start // BLOCK, -(-stop // BLOCK)
    blocks = np.arange(first, last, dtype=np.int64)
    alive = np.ones(len(blocks), np.bool_) if dead else snapshot.world.exists(1, blocks)
    real = real_positions(start, stop, snapshot.counts(first, last), alive)
    grid = snapshot.tokens(first * BLOCK, last * BLOCK).reshape(-1, BLOCK)
    kept = real.sum(axis=1)
    found = kept > 0
    return Packed(grid[real], blocks[found], kept[found])


def real_positions(start: int, stop: int, counts: NDArray[np.integer], alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which positions of the blocks that [start, stop) meets lie within it and hold a real token.

    Args:
        start: first position.
        stop: position after the last.
        counts: `[n]`: how many tokens of each of the blocks are real.
        alive: `bool [n]`: which of the blocks count at all.

    Returns:
        `bool [n, 32]`.
    """
    offsets = np.arange(BLOCK, dtype=np.int64)
    positions = (start // BLOCK + np.arange(len(counts), dtype=np.int64))[:, None] * BLOCK + offsets
    return (offsets < counts[:, None]) & alive[:, None] & (positions >= start) & (positions < stop)
