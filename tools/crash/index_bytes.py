"""To which record of an index does each byte of its file belong?  Read from LMDB's pages, without the engine.

Pages are of 4096 bytes, and of the layout of LMDB 0.9: a header of 16 bytes, places of nodes, and the nodes from
behind; a node has a header of 8 bytes, a key, and a record or the number of the pages that hold a large one.  Two
headers come first, of which the newer leads to two trees: of free pages, and of records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["IndexBytes", "Spot"]

_PAGE = 4096
_HEADER = 16
_NODE = struct.Struct("<HHHH")
_TREE = struct.Struct("<IHHQQQQQ")
_TREES, _NUMBER = 40, 144
"""Where the trees, and the number of the transaction that wrote it, stand in a header."""
_BIG = 1
_NOTHING = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Spot:
    """What a byte is of.

    Attributes:
        page: the number of its page; of a large record, of the first of its pages.
        key: of the record that it is of, its key and what says how long both are; None if it is of the page itself.
        leads: the page that this node leads to, if it leads to one.
    """

    page: int
    key: bytes | None = None
    leads: int | None = None


@dataclass(slots=True)
class IndexBytes:
    """The bytes of an index that is whole.

    Attributes:
        data: all of them.
        spots: of each byte that says something, what it is of; others are of free pages, or of the room within one.
        ranges: the keys that a page of records holds or leads to: from the first on, and below the second.
        free: the pages of the tree of free pages.
    """

    data: bytes
    spots: dict[int, Spot] = field(default_factory=dict)
    ranges: dict[int, tuple[bytes, bytes | None]] = field(default_factory=dict)
    free: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        first, second = (int.from_bytes(self.data[at + _NUMBER : at + _NUMBER + 8], "little") for at in (0, _PAGE))
        newest = _PAGE * (second > first)
        for at in (0, _PAGE):
            self._claim(at, _TREES + 2 * _TREE.size + 16, Spot(at // _PAGE))
        free, main = (_TREE.unpack_from(self.data, newest + at) for at in (_TREES, _TREES + _TREE.size))
        self._walk(main[7], main[2], b"", None)
        records = set(self.ranges)
        if free[7] != _NOTHING:
            self._walk(free[7], free[2], b"", None)
        self.free = set(self.ranges) - records
        for page in self.free:
            del self.ranges[page]

    def _walk(self, page: int, depth: int, low: bytes, high: bytes | None) -> None:
        self.ranges[page] = low, high
        start = page * _PAGE
        self._claim(start, int.from_bytes(self.data[start + 12 : start + 14], "little"), Spot(page))
        nodes = list(self._nodes(start))
        if depth > 1:
            bounds = [low, *(key for _, key, _, _ in nodes[1:]), high]
            for (at, key, _, child), lower, upper in zip(nodes, bounds, bounds[1:], strict=False):
                self._claim(at, _NODE.size + len(key), Spot(page, None, child))
                assert lower is not None, "only the last bound can be none"
                self._walk(child, depth - 1, lower, upper)
            return
        for at, key, size, _ in nodes:
            big = _NODE.unpack_from(self.data, at)[2] & _BIG
            inside = _NODE.size + len(key) + (8 if big else size)
            if not big:
                self._claim(at, inside, Spot(page, key))
                continue
            first = int.from_bytes(self.data[at + inside - 8 : at + inside], "little")
            self._claim(at, inside, Spot(page, key, first))
            self.ranges[first] = key, key + b"\0"
            self._claim(first * _PAGE, _HEADER, Spot(first))
            self._claim(first * _PAGE + _HEADER, size, Spot(first, key))

    def _nodes(self, start: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Of each node of a page: where it begins, its key, the size of its record, the page that it leads to."""
        behind = int.from_bytes(self.data[start + 12 : start + 14], "little")
        for at in range(start + _HEADER, start + behind, 2):
            begin = start + int.from_bytes(self.data[at : at + 2], "little")
            low, high, more, size = _NODE.unpack_from(self.data, begin)
            key = self.data[begin + _NODE.size : begin + _NODE.size + size]
            yield begin, key, low | high << 16, low | high << 16 | more << 32

    def _claim(self, start: int, size: int, spot: Spot) -> None:
        self.spots.update((at, spot) for at in range(start, start + size))
