"""How often was each node read?  Telemetry in side files, never part of a commit.

Readers do not count by themselves.  Whoever wants counts records what it reads, an array at a time, which costs one
append; `flush` adds them to the files of the store, under one lock for each level.  Counts belong to an epoch: a
compaction, which gives nodes new addresses, starts anew.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.errors import UsageError
from mctree.geometry import TEXT
from mctree.storage.counters import add_counts, read_counts

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["AccessCounts"]

_FLUSH_AT = 1 << 18


class AccessCounts:
    """Counts of node reads; made by `Tree.access`, used as a `with` block that flushes at its end."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._waiting: dict[int, list[NDArray[np.int64]]] = {}
        self._recorded = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def record(self, level: int, index: ArrayLike) -> None:
        """Note that nodes of a level were read.

        Args:
            level: their level.
            index: integers `[n]`; as often as they occur.

        Raises:
            UsageError: no tree can have such a node.
        """
        nodes = np.atleast_1d(np.array(index, np.int64))
        if len(nodes) and (int(nodes.min()) < 0 or int(nodes.max()) >= TEXT.capacity(level)):
            raise UsageError(f"level {level} has no such nodes")
        with self._lock:
            self._waiting.setdefault(level, []).append(nodes)
            self._recorded += len(nodes)
            full = self._recorded >= _FLUSH_AT
        if full:
            self.flush()

    def flush(self) -> None:
        """Add what was recorded to the store's files.  A store that cannot be written to keeps no counts."""
        with self._lock:
            waiting, self._waiting, self._recorded = self._waiting, {}, 0
        store = self._tree.store
        if store.closed or not store.writable:
            return
        for level, parts in waiting.items():
            with suppress(OSError):  # as where there is no room: whoever reads goes on without
                add_counts(store.at, _name(level), np.concatenate(parts))

    def read(self, level: int, start: int, stop: int) -> NDArray[np.uint32]:
        """How often the nodes [start, stop) of a level were read, as far as flushed: `uint32 [stop - start]`."""
        return read_counts(self._tree.store.at, _name(level), start, stop)


def _name(level: int) -> str:
    return f"access.lod{level}"
