"""What does a commit know of images?  Where they lie, on the timeline and in the arena, and in which arrays.

Belongs to one snapshot, and does not refer to it: a snapshot's lease goes when nobody refers to it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property

import numpy as np

from mctree.errors import CorruptError
from mctree.format.commits import Commit
from mctree.format.images import ImageRecord
from mctree.format.keys import Table, u64
from mctree.format.records import BLOCK
from mctree.format.values import unpack
from mctree.geometry import IMAGE, intervals
from mctree.storage.index import Reading
from mctree.storage.store import Store
from mctree.tree.images.arena import Arena
from mctree.tree.images.families import pixels_array, read_statistics
from mctree.tree.images.noted import UNFINISHED, unfinished
from mctree.tree.images.pages import PageReader
from mctree.tree.images.places import GraftLog, Places
from mctree.tree.rows import Rows
from mctree.tree.world import Deaths

__all__ = ["Gallery"]


class Gallery:
    """The images of one commit; made by `Snapshot.gallery`.

    Args:
        store: the open store in this process.
        record: the commit.
        deaths: what had died by then.

    Attributes:
        places: where images lie.
        pages: which nodes of images exist, and where their rows lie.
    """

    def __init__(self, store: Store, record: Commit, deaths: Deaths) -> None:
        placed = GraftLog.of(store).until(store, record.grafts)
        alive = ~intervals.contains(deaths.intervals, placed["block"].astype(np.int64) * BLOCK)
        held = None if store.leases.writable else record.number
        self.places = Places(placed, alive)
        self.pages = PageReader(lambda: store.reading(held), record.number)
        self._store = store
        self._record = record
        self._held = held
        self._arena: Arena | None = None
        self._statistics: dict[int, tuple[int, ...]] = {}

    @cached_property
    def pixels_array(self) -> int | None:
        """The array of kept pixels, if there is one."""
        with self._reading() as index:
            return pixels_array(index, self._record.number)

    def statistics_arrays(self, channels: int) -> tuple[int, ...]:
        """The arrays of statistics of images with so many channels, from LOD0 on."""
        found = self._statistics.get(channels)
        if found is None:
            with self._reading() as index:
                found = self._statistics[channels] = read_statistics(index, self._record.number, channels)
        return found

    def record(self, number: int) -> ImageRecord:
        """What the index says of a live image, by its document's number.

        Raises:
            CorruptError: it says nothing, or what cannot be.
        """
        with self._reading() as index:
            payload = index.version(Table.IMAGE, u64.pack(number), self._record.number)
        if payload is None:
            raise CorruptError(f"the record of image {number} is missing; run `mctree verify`")
        return ImageRecord.decode(payload)

    def is_coarse(self, number: int) -> bool:
        """Whether a live image, by its document's number, is somewhere made from an overview, with nothing below."""
        graft = self.places.of_document(number)
        if graft is None:
            return False
        level, arrays = int(graft["level"]), self.statistics_arrays(int(graft["channels"]))
        if level >= len(arrays):
            raise CorruptError(f"the statistics of image {number} have no level {level}; run `mctree verify`")
        root = np.array([int(graft["base"]) // IMAGE.width(level)])
        return bool(self.pages.find(arrays[level], root).overview[0])

    def unfinished(self) -> dict[bytes, int]:
        """Images whose ingest was begun and is not finished: their numbers, by name."""
        with self._reading() as index:
            payload = index.version(Table.SETTING, UNFINISHED, self._record.number)
        return {} if payload is None else unfinished(unpack(payload, "the setting of unfinished images"))

    def arena(self, rows: Callable[[int], Rows]) -> Arena:
        """What exists of the arena in which all images lie, for geometry and counting.

        Args:
            rows: gives an array of the store as this commit sees it.
        """
        if self._arena is None:
            channels = set(self.places.grafts["channels"].tolist())
            statistics = {count: self.statistics_arrays(count) for count in sorted(channels)}
            levels = {array: rows(array) for arrays in statistics.values() for array in arrays[1:]}
            self._arena = Arena(self.places, self.pages, self._record.arena, statistics, levels)
        return self._arena

    def _reading(self) -> AbstractContextManager[Reading]:
        return self._store.reading(self._held)
