"""Where do the real tokens of all documents lie?  As stretches of positions without padding, document after document.

A document is a list of runs of blocks, and nearly every run is one stretch: only the last block of a run has padding
as a rule.  A run of a document that was closed and opened again may have short blocks within, and is cut behind them.
An image is a document too, of one block without tokens, and has no stretch.  All of it is read as arrays, so that a
million documents take a few seconds and 24 bytes each; what is stored of a document besides, its name first of all, is
not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.keys import Table
from mctree.format.records import BLOCK

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["Stretches", "stretches"]

_NUMBERS = 16
"""Bytes of two numbers: a run's key behind its tag (document, ordinal), and its payload (first block, blocks)."""

_BEYOND = b"\xff" * (_NUMBERS + 1)


@dataclass(frozen=True, slots=True)
class Stretches:
    """Stretches of real tokens, in the order of documents' numbers and, within each, of its text.

    Attributes:
        position: the first LOD0 position of each, `int64 [n]`.
        tokens: how many tokens it holds, all at consecutive positions, `int64 [n]`.
        document: the number of its document, ascending, `int64 [n]`.
    """

    position: NDArray[np.int64]
    tokens: NDArray[np.int64]
    document: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.position)

    @classmethod
    def joined(cls, parts: list[Stretches]) -> Stretches:
        """Those of one after those of the other."""
        none = np.empty(0, np.int64)
        return cls(
            np.concatenate([none, *(part.position for part in parts)]),
            np.concatenate([none, *(part.tokens for part in parts)]),
            np.concatenate([none, *(part.document for part in parts)]),
        )


def stretches(snapshot: Snapshot) -> Stretches:
    """All placed tokens of live documents; the unfinished block of an open document is not among them.

    Raises:
        CorruptError: a record is damaged, or says what cannot be.
    """
    return Stretches.joined([_stretches(snapshot, *runs) for runs in _runs(snapshot)])


def _runs(snapshot: Snapshot) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Document, first block, and block after the last of the runs of live texts, a bounded number at a time."""
    blocks, after = snapshot.blocks, b""
    images = snapshot.gallery.places.blocks
    while True:
        with snapshot.reading() as index:
            found = next(index.fixed(Table.RUN, _NUMBERS, _NUMBERS, after, _BEYOND), None)
        if found is None:
            return
        keys, payloads = found
        after = keys[-1].tobytes() + b"\0"
        document = np.ascontiguousarray(keys).view(">u8")[:, 0]
        first, count = np.ascontiguousarray(payloads).view("<u8").T
        seen = np.flatnonzero(first < blocks)
        start = first[seen].astype(np.int64)
        stop = start + np.minimum(count[seen], blocks - first[seen]).astype(np.int64)
        if (stop <= start).any():
            raise CorruptError("a run of a document has no blocks; run `mctree verify`")
        alive = snapshot.world.exists(1, start) & ~np.isin(start, images, kind="sort")
        yield document[seen][alive].astype(np.int64), start[alive], stop[alive]


def _stretches(
    snapshot: Snapshot, document: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]
) -> Stretches:
    """The stretches of runs of blocks [start, stop)."""
    world = snapshot.world
    before, ahead = world.tokens_before(start), world.tokens_before(stop - 1)
    tokens = world.tokens_before(stop) - before
    if (tokens < stop - start).any():
        raise CorruptError("a living block holds no token; run `mctree verify`")
    short = np.flatnonzero(ahead - before != (stop - 1 - start) * BLOCK)
    if not len(short):
        return Stretches(start * BLOCK, tokens, document)
    parts, done = [], 0
    for i in short.tolist():
        parts.append(Stretches(start[done:i] * BLOCK, tokens[done:i], document[done:i]))
        parts.append(_cut(snapshot, int(document[i]), int(start[i]), int(stop[i])))
        done = i + 1
    parts.append(Stretches(start[done:] * BLOCK, tokens[done:], document[done:]))
    return Stretches.joined(parts)


def _cut(snapshot: Snapshot, document: int, start: int, stop: int) -> Stretches:
    """The stretches of one run, which end with its short blocks."""
    counts = snapshot.counts(start, stop).astype(np.int64)
    ends = np.flatnonzero(counts[:-1] != BLOCK)
    first = np.concatenate(([0], ends + 1))
    return Stretches((start + first) * BLOCK, np.add.reduceat(counts, first), np.full(len(first), document, np.int64))
