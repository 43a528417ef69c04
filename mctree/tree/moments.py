"""Where is the middle of what a node holds, and how far does it reach?  Exactly, whatever padding and death leave.

A node without padding and without dead blocks is a run of numbers: its middle is arithmetic.  Of any other the first
moment is added up from the counts of its blocks, one byte for every 32 positions; the block of an image, which holds no
tokens, counts as one that holds one.  What was placed never changes, so
sums over the blocks of wide nodes are remembered, for all snapshots of a process; what has died is taken off at each
commit.  Sums are integers of any size: nothing is rounded before the last division.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.records import BLOCK
from mctree.geometry import TEXT, intervals
from mctree.storage.environment import Environment
from mctree.storage.store import Store

if TYPE_CHECKING:
    from mctree.tree.world import TimelineWorld

__all__ = ["Extents", "Moments", "extents"]

_REMEMBERED = 4
"""From this level up the sums of a node are remembered; below, its counts are read again: 1,024 of them at most."""

_BLOCKS_AT_ONCE = 1 << 20

_BLOCKS = np.array(TEXT.widths, np.int64) // BLOCK
"""Blocks under a node, by level."""


@dataclass(frozen=True, slots=True)
class Extents:
    """What nodes hold, and where on the timeline it lies.

    Attributes:
        tokens: real, live tokens, and live images, `int64 [n]`.
        position: the mean of their positions, `float64 [n]`, rounded once or twice.
        length: positions from the first of them to the last, both included, `int64 [n]`.
    """

    tokens: NDArray[np.int64]
    position: NDArray[np.float64]
    length: NDArray[np.int64]


class Moments:
    """Sums over the blocks of wide nodes, dead ones included: for one index and all snapshots of it."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, int]] = {}

    @classmethod
    def of(cls, store: Store) -> Moments:
        """The sums of a store: one for all handles of it that are open."""
        return _moments.setdefault(store.environment, cls())

    def placed(self, world: TimelineWorld, level: int, index: int) -> tuple[int, int]:
        """Real tokens placed under a node from level 2 up, and the sum of their distances from its first position."""
        known = self._known.get((level, index))
        if known is None:
            known = self._known[level, index] = self._added(world, level, index)
        return known

    def _added(self, world: TimelineWorld, level: int, index: int) -> tuple[int, int]:
        first, stop = (bound // BLOCK for bound in TEXT.span(level, index))
        if level <= _REMEMBERED:
            tokens, moment = _sums(_held(world.counts(first, stop))[None, :])
            return int(tokens[0]), int(moment[0])
        width = TEXT.width(level)
        if world.placed(first, stop) == width:
            return width, width * (width - 1) // 2
        below = [self.placed(world, level - 1, child) for child in range(*TEXT.children(level, index))]
        step = TEXT.width(level - 1)
        return sum(n for n, _ in below), sum(m + k * step * n for k, (n, m) in enumerate(below))


_moments: weakref.WeakKeyDictionary[Environment, Moments] = weakref.WeakKeyDictionary()
"""By what all handles of one index share: another epoch has other blocks, and another index."""


def extents(world: TimelineWorld, level: NDArray[np.integer[Any]], index: NDArray[np.int64]) -> Extents:
    """What nodes of levels from 1 up hold, and where: see `TimelineWorld.extents`."""
    blocks = _BLOCKS.take(level)
    start = index * blocks
    stop = start + blocks
    first, last = world.reach(start, stop)
    tokens = np.zeros(len(start), np.int64)
    wide = (level > 1).nonzero()[0]
    if len(wide):
        bounds = world.tokens_before(np.concatenate((start[wide], stop[wide])))
        tokens[wide] = bounds[len(wide) :] - bounds[: len(wide)] + world.slots_in(start[wide], stop[wide])
    # What is full reaches over its whole span: its blocks, which may lie far apart, need not be looked at.
    length = blocks * BLOCK
    part = (tokens < length).nonzero()[0]
    end = last[part]
    length[part] = (end - first[part]) * BLOCK + _held(world.counts_of(end))
    # A block that exists is alive, and holds what it was placed with.
    block = (level == 1).nonzero()[0]
    tokens[block] = length[block]
    # Whatever has neither padding nor holes holds as many tokens as it reaches over.
    position = first * BLOCK + (length - 1) / 2
    ragged = (tokens < length).nonzero()[0]
    for at in set(level[ragged].tolist()):
        some = ragged[level[ragged] == at]
        position[some] = _positions(world, at, index[some], start[some] * BLOCK, tokens[some])
    return Extents(tokens, position, length)


def _positions(
    world: TimelineWorld,
    level: int,
    index: NDArray[np.int64],
    start: NDArray[np.int64],
    tokens: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The mean positions of what nodes of one level hold."""
    if level < _REMEMBERED:
        blocks = TEXT.width(level) // BLOCK
        first = start // BLOCK
        counts = _held(world.counts_from(first, blocks))
        numbers = first[:, None] + np.arange(blocks)
        dead = intervals.contains(world.geometry.dead, numbers * BLOCK)
        _, moments = _sums(np.where(dead, 0, counts))
        whole, rest = np.divmod(moments, tokens)
        return (start + whole) + rest / tokens
    found = np.empty(len(index))
    for i, node in enumerate(index.tolist()):
        _, placed = world.moments.placed(world, level, node)
        full, left = divmod(placed - sum(_dead_moments(world, level, node)), int(tokens[i]))
        found[i] = (int(start[i]) + full) + left / int(tokens[i])
    return found


def _dead_moments(world: TimelineWorld, level: int, index: int) -> Iterator[int]:
    """The moments of the dead under a node about its first position, a bounded number of blocks at a time."""
    first, stop = (bound // BLOCK for bound in TEXT.span(level, index))
    dead = world.geometry.dead // BLOCK
    for begin in range(first, stop, _BLOCKS_AT_ONCE):
        runs = intervals.within(dead, begin, min(begin + _BLOCKS_AT_ONCE, stop))
        blocks = intervals.points(runs)
        if len(blocks):
            tokens, moment = _sums(_held(world.counts_of(blocks))[None, :], blocks - begin)
            yield int(moment[0]) + (begin - first) * BLOCK * int(tokens[0])


def _held(counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What blocks hold that has a place: their real tokens, or one image."""
    held: NDArray[np.uint8] = np.maximum(counts, 1)
    return held


def _sums(
    counts: NDArray[np.integer[Any]], block: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens, and the sum of their distances from the first position, for each row of counts of blocks: `int64 [n]`.

    Args:
        counts: `[n, blocks]`, at most `_BLOCKS_AT_ONCE` to a row, so that every sum is exact in `float64`.
        block: which blocks from the first on these are; all of them if None.
    """
    real = counts.astype(np.float64)
    numbers = np.arange(counts.shape[1]) if block is None else block
    tokens = real.sum(axis=1)
    moment = BLOCK * (real @ numbers.astype(np.float64)) + (np.einsum("ij,ij->i", real, real) - tokens) / 2
    return tokens.astype(np.int64), moment.astype(np.int64)
