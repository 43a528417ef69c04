"""What will the timeline hold after the next commit?  What the newest one holds, and what was placed since.

Gists are made of it before it is committed, and its rows are what the commit appends to the arrays of the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.keys import block_page_key
from mctree.format.records import BLOCK, BLOCK_DTYPE, BLOCKS_PER_PAGE
from mctree.geometry import World
from mctree.storage.chunks import row_sums
from mctree.storage.session import Session
from mctree.tree.intact import intact_blocks
from mctree.tree.opened import OpenedDocuments
from mctree.tree.text_arrays import BEFORE, COUNT, LOD0
from mctree.tree.timeline import Timeline
from mctree.tree.world import Deaths, TimelineWorld

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["Upcoming"]

_PAGE_BYTES = BLOCKS_PER_PAGE * BLOCK_DTYPE.itemsize


class Upcoming:
    """The timeline as one writer's next commit will see it.

    Args:
        session: what writes.
        snapshot: the newest commit, wherever it goes.
        timeline: what was placed since.
        opened: says which documents the next commit ends.
    """

    def __init__(self, session: Session, snapshot: Snapshot, timeline: Timeline, opened: OpenedDocuments) -> None:
        self._session = session
        self._snapshot = snapshot
        self._timeline = timeline
        self._opened = opened
        placed = TimelineWorld(snapshot.blocks, Deaths.none(), snapshot.rows(BEFORE), snapshot.rows(COUNT))
        self._stored = session.array(LOD0).layout.numpy
        self._page = b""
        self._tokens = int(placed.tokens_before(np.array([snapshot.blocks]))[0])

    @property
    def blocks(self) -> int:
        """Blocks placed."""
        return self._timeline.blocks

    def world(self) -> World:
        """What exists, once the documents that are to be removed are dead."""
        runs = [run for one in self._opened.removed.values() for run in one.runs]
        dying = np.array(runs, np.int64).reshape(-1, 2) * BLOCK
        dead = np.concatenate([self._snapshot.world.deaths.intervals, dying])
        return World(positions=self._timeline.blocks * BLOCK, dead=dead)

    def block_tokens(self, first: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The tokens of blocks, committed or about to be, and how many of each are real.

        Raises:
            CorruptError: a block that is read back is not what was committed, and will exist.
        """
        old = self._snapshot.blocks
        grids, counts = [], []
        if first < old:
            last = min(stop, old)
            tokens, records = intact_blocks(self._snapshot, first, last, self.world())
            grids.append(tokens.astype(np.uint32))
            counts.append(records["count"].astype(np.int64))
        if stop > old:
            grid, records = self._timeline.placed()
            grids.append(grid[max(first - old, 0) : stop - old])
            counts.append(records["count"][max(first - old, 0) : stop - old].astype(np.int64))
        return np.concatenate(grids), np.concatenate(counts)

    def append_rows(self) -> tuple[int, bytes]:
        """Append the rows of what was placed to the arrays of the text.

        Returns:
            The number of a page of block records, and the payloads of all pages from it on, joined: the records of
            what was placed, checksums included, behind those committed before that share the first page with them.
        """
        grid, records = self._timeline.placed()
        first = self._timeline.blocks - len(grid)
        page, offset = divmod(first, BLOCKS_PER_PAGE)
        if not len(grid):
            return page, b""
        before = self._unfinished_page(page, offset) if offset else b""
        counts = records["count"]
        stored = grid.astype(self._stored)
        records["sum"] = row_sums(stored)
        rows: dict[int, NDArray[Any]] = {LOD0: stored.reshape(-1), COUNT: counts.astype(np.uint8)}
        group = -first % BLOCK
        if group < len(counts):
            rows[BEFORE] = (self._tokens + np.cumsum(counts, dtype=np.uint64) - counts)[group::BLOCK]
        self._session.append(rows)
        pages = before + records.tobytes()
        self._page = pages[len(pages) // _PAGE_BYTES * _PAGE_BYTES :]
        return page, pages

    def _unfinished_page(self, page: int, records: int) -> bytes:
        """The committed records of the page that the next block's record goes to."""
        size = records * BLOCK_DTYPE.itemsize
        if len(self._page) != size:
            with self._snapshot.reading() as index:
                self._page = (index.get(block_page_key(page)) or b"")[:size]
            if len(self._page) != size:
                raise CorruptError(f"page {page} of block records ends early; run `mctree verify`")
        return self._page

    def committed(self) -> None:
        """Go on from the commit that was just made of it."""
        self._tokens += self._timeline.tokens
        self._timeline.clear()
