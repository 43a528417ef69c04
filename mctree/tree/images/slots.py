"""Which blocks of the timeline are images, and which of these have a gist in a set?

A block that is an image holds no tokens: its gist is that of the image's root, in a set that covers text and images
alike.  In any other set it has none; such blocks do not exist for those who make gists, nor do nodes that consist of
nothing else.  Where the root's gist is out of date, as somebody changed the image who had no encoder of the set, so is
that of the block, and whatever is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.facts import GistSetRecord
from mctree.format.records import BLOCK
from mctree.geometry import IMAGE, World
from mctree.tree.images.pages import Located

__all__ = ["Slots", "root_rows", "slots", "stale_gists"]


@dataclass(frozen=True, slots=True)
class Slots:
    """The images of a timeline, as one gist set sees them.

    Attributes:
        blocks: the blocks that they take, ascending, `int64 [n]`.
        array: for each, the array of the set in which its root's gist lies; -1 where it has none.
        row: its row there.
        stale: whether that is out of date, `bool [n]`.
    """

    blocks: NDArray[np.int64]
    array: NDArray[np.int64]
    row: NDArray[np.int64]
    stale: NDArray[np.bool_]

    @property
    def absent(self) -> NDArray[np.int64]:
        """The blocks without a gist, ascending."""
        return self.blocks[self.array < 0]

    def within(
        self, first: int, stop: int, rows: Callable[[int, NDArray[np.int64]], NDArray[Any]]
    ) -> list[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Those of the blocks [first, stop) that have a gist: parts of them, and their gists, `int64 [m]`, `[m, dim]`.

        Args:
            first: the first block.
            stop: the block after the last.
            rows: gives rows of an array.
        """
        some = np.flatnonzero((self.blocks >= first) & (self.blocks < stop) & (self.array >= 0))
        parts = [(some[self.array[some] == array], array) for array in sorted(set(self.array[some].tolist()))]
        return [(self.blocks[mine], rows(array, self.row[mine])) for mine, array in parts]

    def without(self, world: World) -> World:
        """What exists of a timeline for those who make gists of this set."""
        if not len(self.absent):
            return world
        spans = np.column_stack([self.absent, self.absent + 1]) * BLOCK
        return World(world.positions, np.concatenate([world.dead, spans[spans[:, 1] <= world.positions]]))


def slots(record: GistSetRecord, grafts: NDArray[np.void], find: Callable[[int, NDArray[np.int64]], Located]) -> Slots:
    """The images of a timeline, as a gist set sees them.

    Args:
        record: the set.
        grafts: images that live, `GRAFT_DTYPE [n]`, in the order of their blocks.
        find: says where nodes of an array's level lie.
    """
    if "text" in record.modalities:
        array, row, stale = root_rows(record, grafts, find)
    else:
        array, row = np.full(len(grafts), -1, np.int64), np.zeros(len(grafts), np.int64)
        stale = np.zeros(len(grafts), np.bool_)
    return Slots(grafts["block"].astype(np.int64), array, row, stale)


def root_rows(
    record: GistSetRecord, grafts: NDArray[np.void], find: Callable[[int, NDArray[np.int64]], Located]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Where a gist set has the gists of the roots of images; the arguments are those of `slots`.

    Returns:
        For each the array, -1 where there is none, and the row there, `int64 [n]`; and whether that is out of date.
    """
    array, row = np.full(len(grafts), -1, np.int64), np.zeros(len(grafts), np.int64)
    stale = np.zeros(len(grafts), np.bool_)
    for level in sorted(set(grafts["level"].tolist())):
        some = np.flatnonzero(grafts["level"] == level)
        if level < len(record.images):
            found = find(record.images[level], grafts["base"][some].astype(np.int64) // IMAGE.width(level))
            array[some] = np.where(found.present, record.images[level], -1)
            row[some], stale[some] = found.row, found.stale
    return array, row, stale


def stale_gists(
    record: GistSetRecord, grafts: NDArray[np.void], find: Callable[[int, NDArray[np.int64]], Located]
) -> int:
    """How many gists of images are out of date in a set; the arguments are those of `slots`.

    Whatever is stale lies under nodes that are, so only these are looked at.
    """
    total = 0
    for graft in grafts[root_rows(record, grafts, find)[2]]:
        index = np.array([int(graft["base"]) // IMAGE.width(int(graft["level"]))], np.int64)
        for level in range(int(graft["level"]), -1, -1):
            stale = index[find(record.images[level], index).stale]
            total += len(stale)
            if level:
                fanout = IMAGE.fanout(level - 1)
                index = (stale[:, None] * fanout + np.arange(fanout)).reshape(-1)
    return total
