"""Which nodes of an arena exist, and in which rows do they lie?  Asked of the pages of a level, for many nodes at once.

A page says of 64 nodes which are there and where the row of the first is; the others follow.  So the row of a node is
that of its page plus how many bits of the page's mask are set below its own: no pointer for each node, and nothing
stored for what is not there.  Pages are read a group of 64 at a time, and a snapshot remembers those it has read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.format.images import NODES_PER_GROUP, NODES_PER_PAGE, PAGE_DTYPE, decode_pages
from mctree.format.keys import Table, group_key, u32, u64
from mctree.storage.index import Reading
from mctree.storage.rows import distinct

__all__ = [
    "MOST_GROUPS",
    "NO_PAGES",
    "Located",
    "PageReader",
    "located",
    "masks",
    "popcount",
    "read_group",
    "set_bits",
    "written_groups",
]

NO_PAGES: NDArray[np.void] = np.empty(0, PAGE_DTYPE)
"""The pages of a group in which nothing was written."""

MOST_GROUPS = 1 << 12
"""Groups that are named at once."""
_REMEMBERED = 1 << 12
"""Groups that a reader keeps: at most 12 MB of them."""
_ONE = np.uint64(1)
_BITS = np.array([n.bit_count() for n in range(256)], np.uint8)


@dataclass(frozen=True, slots=True)
class Located:
    """What pages say of nodes.

    Attributes:
        row: `int64 [n]`: where each one's row lies, -1 where it has none.
        empty: `bool [n]`: which are known to have nothing.
        stale: `bool [n]`: which have a row of which something has changed below since.
        overview: `bool [n]`: which have a row that was made from an overview.
    """

    row: NDArray[np.int64]
    empty: NDArray[np.bool_]
    stale: NDArray[np.bool_]
    overview: NDArray[np.bool_]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which have a row: `bool [n]`."""
        return self.row >= 0


def popcount(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits of each mask are set: `int64 [n]`."""
    counts: NDArray[np.int64] = _BITS[bits.view(np.uint8).reshape(-1, 8)].sum(axis=1, dtype=np.int64)
    return counts


def _bits_of(index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The bit of each node in the masks of its page: `uint64 [n]`."""
    return _ONE << (index % NODES_PER_PAGE).astype(np.uint64)


def masks(pages: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """For each of ascending pages, the bits of those of its nodes that are in `index`, ascending: `uint64 [n]`."""
    found = np.zeros(len(pages), np.uint64)
    if len(index):
        np.bitwise_or.at(found, np.searchsorted(pages, index // NODES_PER_PAGE), _bits_of(index))
    return found


def set_bits(pages: NDArray[np.int64], bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The nodes whose bits are set in the masks of ascending pages, ascending: `int64 [m]`."""
    each = np.unpackbits(np.ascontiguousarray(bits, "<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    which, offset = np.nonzero(each)
    found: NDArray[np.int64] = pages[which] * NODES_PER_PAGE + offset
    return found


def located(pages: NDArray[np.void], index: NDArray[np.int64]) -> Located:
    """What pages, ascending, say of nodes in any order."""
    if not len(pages):
        none = np.zeros(len(index), np.bool_)
        return Located(np.full(len(index), -1, np.int64), none, none, none)
    wanted, numbers = (index // NODES_PER_PAGE).astype(np.uint64), pages["page"]
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    known, bit = numbers[at] == wanted, _bits_of(index)
    found = pages[at]
    present = known & (found["present"] & bit != 0)
    row = found["row"].astype(np.int64) + popcount(found["present"] & (bit - _ONE))
    return Located(
        np.where(present, row, -1),
        known & (found["empty"] & bit != 0),
        known & (found["stale"] & bit != 0),
        known & (found["overview"] & bit != 0),
    )


def read_group(index: Reading, array: int, group: int, commit: int) -> NDArray[np.void]:
    """The pages of a group of an array's level at a commit, as `PAGE_DTYPE` ascending by number."""
    payload = index.version(Table.PAGES, group_key(array, group), commit)
    return NO_PAGES if payload is None else decode_pages(payload, group)


def written_groups(index: Reading, array: int, first: int, stop: int, commit: int) -> list[int]:
    """The groups [first, stop) of a level in which something was written, ascending: the first `MOST_GROUPS`."""
    found = index.versions(Table.PAGES, commit, prefix=u32.pack(array), start=u64.pack(first))
    numbers: list[int] = []
    for key, _, _ in found:
        group = u64.unpack(key[4:])[0]
        if group >= stop or len(numbers) == MOST_GROUPS:
            break
        numbers.append(group)
    return numbers


class PageReader:
    """The pages of one commit, read when they are asked for and remembered.

    Threads may ask at once: two that are the first read the same twice, which does no harm.

    Args:
        reading: begins a look into the index.
        commit: which commit.
    """

    def __init__(self, reading: Callable[[], AbstractContextManager[Reading]], commit: int) -> None:
        self._reading = reading
        self._commit = commit
        self._known: OrderedDict[tuple[int, int], NDArray[np.void]] = OrderedDict()

    def group(self, array: int, group: int) -> NDArray[np.void]:
        """The pages of one group of an array's level, ascending."""
        key = array, group
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._load(array, group)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def find(self, array: int, index: NDArray[np.int64]) -> Located:
        """What is known of nodes of a level, in any order."""
        groups = distinct(index // NODES_PER_GROUP).tolist()
        parts = [self.group(array, group) for group in groups]
        return located(parts[0] if len(parts) == 1 else np.concatenate([NO_PAGES, *parts]), index)

    def pages(self, array: int, first: int, stop: int) -> Iterator[NDArray[np.void]]:
        """All pages that hold one of the nodes [first, stop) of a level, in order, a group at a time.

        Some of the nodes of these pages may lie outside.
        """
        group, last = first // NODES_PER_GROUP, -(-stop // NODES_PER_GROUP)
        low, high = first // NODES_PER_PAGE, -(-stop // NODES_PER_PAGE)
        while numbers := self._written(array, group, last):
            for number in numbers:
                pages = self.group(array, number)
                inside = (pages["page"] >= low) & (pages["page"] < high)
                yield pages if inside.all() else pages[inside]
            group = numbers[-1] + 1

    def _load(self, array: int, group: int) -> NDArray[np.void]:
        with self._reading() as index:
            return read_group(index, array, group, self._commit)

    def _written(self, array: int, first: int, stop: int) -> list[int]:
        with self._reading() as index:
            return written_groups(index, array, first, stop, self._commit)
