"""Which images does a tree hold, and which part of the arena has each?  One record for each, read once per process.

What these records say never changes: an image's block, its document, where it begins in the arena and how large it is.
So a process reads each once, for all snapshots; a snapshot sees the first so many, and of these the ones whose block
has not died.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.images import GRAFT_DTYPE, GRAFTS_PER_PAGE, decode_grafts
from mctree.format.keys import Table, u64
from mctree.geometry import IMAGE
from mctree.storage.environment import Environment
from mctree.storage.index import Reading
from mctree.storage.store import Store

__all__ = ["GraftLog", "Places", "read_grafts"]


def read_grafts(index: Reading, first: int, stop: int) -> NDArray[np.void]:
    """The records of images [first, stop), which were grafted: `GRAFT_DTYPE [n]`.

    Raises:
        CorruptError: some are missing.
    """
    page = first // GRAFTS_PER_PAGE
    parts = []
    for number, payload in enumerate(_pages(index, page, -(-stop // GRAFTS_PER_PAGE)), page):
        if payload is None:
            raise CorruptError(f"page {number} of graft records is missing; run `mctree verify`")
        parts.append(decode_grafts(payload))
    if not parts:
        return np.empty(0, GRAFT_DTYPE)
    skip = first - page * GRAFTS_PER_PAGE
    found = np.concatenate(parts)[skip : skip + stop - first]
    if len(found) != stop - first:
        raise CorruptError(f"the records of images {first}..{stop} are cut off; run `mctree verify`")
    return found


def _pages(index: Reading, first: int, stop: int) -> list[bytes | None]:
    return [index.get(Table.GRAFTS + u64.pack(page)) for page in range(first, stop)]


class GraftLog:
    """The grafts of one index as far as they were read, for all snapshots of a process; extended by what is new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grafts = np.empty(0, GRAFT_DTYPE)

    @classmethod
    def of(cls, store: Store) -> GraftLog:
        """The log of a store: one for all handles of it that are open."""
        return _logs.setdefault(store.environment, cls())

    def until(self, store: Store, count: int) -> NDArray[np.void]:
        """The first `count` grafts, in the order of their blocks."""
        with self._lock:
            if len(self._grafts) < count:
                with store.reading() as index:
                    more = read_grafts(index, len(self._grafts), count)
                self._grafts = np.concatenate([self._grafts, more])
            return self._grafts[:count]


_logs: weakref.WeakKeyDictionary[Environment, GraftLog] = weakref.WeakKeyDictionary()
"""By what all handles of one index share, and what a forked child opens anew."""


@dataclass(frozen=True)
class Places:
    """Images at one commit.

    Attributes:
        placed: those grafted so far, dead ones too: `GRAFT_DTYPE [n]`, in the order of their blocks.
        live: which of them live, `bool [n]`.
    """

    placed: NDArray[np.void]
    live: NDArray[np.bool_]

    @cached_property
    def grafts(self) -> NDArray[np.void]:
        """Those that live, in the order of their blocks."""
        return self.placed[self.live]

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """The blocks of those that live, ascending."""
        return self.grafts["block"].astype(np.int64)

    @cached_property
    def ever(self) -> Places:
        """The same as if none had died: the arena never gives a place to two images."""
        return Places(self.placed, np.ones(len(self.placed), np.bool_))

    @property
    def end(self) -> int:
        """The position of the arena behind the last image that lives; 0 if none does."""
        stops = self._by_base[2]
        return int(stops[-1]) if len(stops) else 0

    @cached_property
    def _by_base(self) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
        """Those that live, in the order in which they lie in the arena: which, where they begin, where they end."""
        grafts = self.grafts
        order = np.argsort(grafts["base"], kind="stable")
        starts = grafts["base"][order].astype(np.int64)
        widths = np.array(IMAGE.widths, np.int64)[grafts["level"][order]]
        return order, starts, starts + widths

    @cached_property
    def _by_document(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Those that live, in the order of their documents: which, and the documents' numbers."""
        documents = self.grafts["document"].astype(np.int64)
        order = np.argsort(documents, kind="stable")
        return order, documents[order]

    def at(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of `grafts` has each of the positions of the arena, -1 where none has: `int64 [n]`."""
        order, starts, stops = self._by_base
        if not len(starts):
            return np.full(len(position), -1, np.int64)
        found = np.searchsorted(starts, position, side="right") - 1
        inside = (found >= 0) & (position < stops[found])
        return np.where(inside, order[found], -1)

    def at_block(self, block: int) -> np.void | None:
        """The graft of the live image that takes a block."""
        at = int(np.searchsorted(self.blocks, block))
        graft: np.void | None = self.grafts[at] if at < len(self.blocks) and self.blocks[at] == block else None
        return graft

    def of_document(self, number: int) -> np.void | None:
        """The graft of a live image, by its document's number."""
        order, documents = self._by_document
        at = int(np.searchsorted(documents, number))
        graft: np.void | None = self.grafts[order[at]] if at < len(order) and documents[at] == number else None
        return graft
