"""How do gists come to be?  Blocks go in at the bottom in order; every parent that becomes complete goes on top.

A `GistBuilder` belongs to one gist set and one writing session.  It is fed the blocks that the set does not have yet,
in order and in batches of any size, and appends rows to the set's levels.  Of each level it remembers the gists whose
parent is not complete, or how many they are if that is made of its span alone, so that nothing is read twice.  Children
are taken as they are stored, after rounding: so a gist is the same whether it was made while its blocks arrived, or
later from the store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder
from mctree.encoders.protocol import reads_children
from mctree.encoders.visual import VisualEncoder
from mctree.errors import UsageError
from mctree.format.arrays import ArrayLayout, rows_per_chunk
from mctree.format.facts import GistSetRecord
from mctree.format.half import from_half, to_half
from mctree.format.records import BLOCK
from mctree.geometry import TEXT, World
from mctree.storage.session import Session

__all__ = ["BlockTokens", "GistBuilder", "Grafted", "encode_nodes", "level_layout", "single", "stored"]

BlockTokens = Callable[[int, int], tuple[NDArray[np.uint32], NDArray[np.int64]]]
"""(first block, block after the last) → their tokens `uint32 [n, 32]` and how many of each are real `int64 [n]`."""

Grafted = Callable[[int, int], list[tuple[NDArray[np.int64], NDArray[np.generic]]]]
"""(first block, block after the last) → those that are images with a gist, `int64 [n]`, and these, in parts."""

_FANOUT = TEXT.fanout(0)
_BATCH_BLOCKS = 1 << 13
"""Blocks that go up the levels at once where memory allows: one call then makes many nodes of the higher levels."""
_LEAST_BATCH_BLOCKS = 1 << 10
"""However long a gist is: fewer would make a call for every few nodes of level 2."""
_BATCH_BYTES = 1 << 24
"""Of gists that may wait for their parents in one batch, and of children made `float32` for one call."""
_ROWS_AT_ONCE = 1 << 9
"""Blocks encoded and written in one call: their gists stay in the processor's cache from one step to the next."""
_SPAN_BLOCKS = 1 << 13
"""Blocks whose tokens an encoder that wants spans is given at once, if one node does not have more."""


def level_layout(record: GistSetRecord, level: int, chunk_bytes: int) -> ArrayLayout:
    """Where the gists of a level lie."""
    path = f"gists/{record.folder}/text/lod{level}"
    row_bytes = ArrayLayout(path, record.dtype, (record.dim,), 1).row_bytes
    return ArrayLayout(path, record.dtype, (record.dim,), rows_per_chunk(row_bytes, chunk_bytes))


def encode_nodes(
    record: GistSetRecord,
    encoder: Encoder,
    level: int,
    first: NDArray[np.int64],
    children: NDArray[np.generic],
    world: World,
    tokens: BlockTokens,
) -> NDArray[np.generic]:
    """Make the gists of nodes of a level above 1, as the set stores them.

    Args:
        record: the set.
        encoder: what encodes.
        level: the nodes' level.
        first: `int64 [n]`: the nodes' indices.
        children: `[n, 32, dim]`: their children's gists, as stored; of no length if the encoder reads none.
        world: what exists.
        tokens: gives the tokens of blocks.

    Returns:
        `[n, dim]`, of the set's dtype.

    Raises:
        UsageError: the encoder made something that is not a finite vector for each node.
    """
    below = first[:, None] * _FANOUT + np.arange(_FANOUT)
    mask = world.exists(TEXT, level - 1, below.reshape(-1)).reshape(below.shape)
    width = TEXT.width(level) // BLOCK
    at_once = _BATCH_BYTES // (_FANOUT * record.dim * np.dtype(np.float32).itemsize)
    if level <= encoder.span_level:
        at_once = min(at_once, _SPAN_BLOCKS // width)
    made = [np.empty((0, record.dim), record.dtype)]
    for start in range(0, len(first), max(at_once, 1)):
        nodes = slice(start, start + max(at_once, 1))
        span = _spans(first[nodes], width, world, tokens) if level <= encoder.span_level else None
        vectors = encoder.encode(level, single(children[nodes]), mask[nodes], span)
        made.append(stored(record, encoder, level, vectors, len(mask[nodes])))
    return np.concatenate(made)


def single(gists: NDArray[np.generic]) -> NDArray[np.float32]:
    """Stored gists as `float32`, as encoders take them."""
    return from_half(gists) if gists.dtype == np.float16 else gists.astype(np.float32, copy=False)


def stored(
    record: GistSetRecord, encoder: Encoder | VisualEncoder, level: int, vectors: NDArray[np.float32], count: int
) -> NDArray[np.generic]:
    """The vectors of `count` nodes as the set stores them.

    Raises:
        UsageError: they are not a finite vector for each node.
    """
    vectors = np.asarray(vectors)
    if vectors.shape != (count, encoder.dim):
        raise UsageError(
            f"gist set {record.name!r}: encoder {encoder.kind!r} was asked for {count} nodes of level {level} and "
            f"returned an array of shape {vectors.shape}, not {(count, encoder.dim)}; mend the encoder, or drop the set"
        )
    largest = max(-float(vectors.min(initial=0.0)), float(vectors.max(initial=0.0)))  # NaN or infinite if any is
    if not math.isfinite(largest):
        raise UsageError(
            f"gist set {record.name!r}: encoder {encoder.kind!r} returned values that are not finite; "
            "mend the encoder, or drop the set"
        )
    dtype = np.dtype(record.dtype)
    limit = float(np.finfo(dtype).max)
    clipped = np.clip(vectors, -limit, limit) if largest > limit else vectors
    return to_half(clipped) if dtype == np.float16 else clipped.astype(dtype, copy=False)


def _spans(
    nodes: NDArray[np.int64], width: int, world: World, tokens: BlockTokens
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """The tokens of the `width` blocks under each node, and which of them are real and live: `[n, positions]`."""
    runs = np.split(nodes, np.flatnonzero(np.diff(nodes) != 1) + 1)
    grids, counts = zip(*(tokens(int(run[0]) * width, int(run[-1] + 1) * width) for run in runs), strict=True)
    alive = world.exists(TEXT, 1, (nodes[:, None] * width + np.arange(width)).reshape(-1))
    real = (np.arange(BLOCK) < np.concatenate(counts)[:, None]) & alive[:, None]
    return np.concatenate(grids).reshape(len(nodes), -1), real.reshape(len(nodes), -1)


class GistBuilder:
    """Appends to one gist set.

    Args:
        session: what writes; it must know the set's arrays.
        record: the set; `record` grows as levels are added.
        encoder: the set's encoder.
        new_array: gives the number of a new array.
        committed: gives committed gists of the set, by level and `int64 [n]` of nodes.
    """

    def __init__(
        self,
        session: Session,
        record: GistSetRecord,
        encoder: Encoder,
        new_array: Callable[[], int],
        committed: Callable[[int, NDArray[np.int64]], NDArray[np.generic]],
    ) -> None:
        self.record = record
        self.added: dict[int, ArrayLayout] = {}
        self._session = session
        self._encoder = encoder
        self._new_array = new_array
        self._row_bytes = record.dim * np.dtype(record.dtype).itemsize
        self._pending: defaultdict[int, list[NDArray[np.generic]]] = defaultdict(list)
        for level in range(1, len(record.levels) + 1):
            waiting = np.arange(self._rows(level + 1) * _FANOUT, self._rows(level))
            reads = reads_children(encoder, level + 1)
            self._pending[level].append(committed(level, waiting) if reads else self._counted(len(waiting)))

    @property
    def blocks(self) -> int:
        """How many blocks, from the first on, the set has gists of."""
        return self._rows(1)

    def append(self, stop: int, world: World, tokens: BlockTokens, grafted: Grafted | None = None) -> None:
        """Make gists of all blocks up to `stop`, and of every node that they complete.

        Args:
            stop: the block after the last.
            world: what exists, up to `stop` at least.
            tokens: gives the tokens of blocks.
            grafted: gives the gists of blocks that are images.
        """
        batch = max(min(_BATCH_BLOCKS, _BATCH_BYTES // self._row_bytes), _LEAST_BATCH_BLOCKS)
        while (first := self.blocks) < stop:
            last = min(first + batch, stop)
            grid, counts = tokens(first, last)
            mask = np.arange(BLOCK) < counts[:, None]
            mask &= world.exists(TEXT, 1, np.arange(first, last))[:, None]
            for start in range(0, last - first, _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                vectors = self._encoder.encode(1, grid[rows], mask[rows])
                made = stored(self.record, self._encoder, 1, vectors, len(mask[rows]))
                if grafted is not None:
                    for blocks, gists in grafted(first + start, first + start + len(made)):
                        made[blocks - first - start] = gists
                self._put(1, made)
            level = 1
            while sum(map(len, self._pending[level])) >= _FANOUT:
                waiting = np.concatenate(self._pending.pop(level))
                complete = len(waiting) // _FANOUT
                self._pending[level] = [waiting[complete * _FANOUT :].copy()]
                children = waiting[: complete * _FANOUT].reshape(complete, _FANOUT, -1)
                index = self._rows(level + 1) + np.arange(complete)
                level += 1
                self._put(level, encode_nodes(self.record, self._encoder, level, index, children, world, tokens))

    def _put(self, level: int, rows: NDArray[np.generic]) -> None:
        if level > len(self.record.levels):
            array = self._new_array()
            layout = level_layout(self.record, level, self._session.store.meta.chunk_bytes)
            self._session.add_arrays({array: layout})
            self.record = self.record.with_level(array)
            self.added[array] = layout
        self._session.append({self.record.levels[level - 1]: rows}, summed=True)
        self._pending[level].append(rows if reads_children(self._encoder, level + 1) else self._counted(len(rows)))

    def _counted(self, count: int) -> NDArray[np.generic]:
        """So many gists of no length: of those that are not read it is enough to know how many wait."""
        return np.empty((count, 0), self.record.dtype)

    def _rows(self, level: int) -> int:
        if level > len(self.record.levels):
            return 0
        return self._session.array(self.record.levels[level - 1]).rows
