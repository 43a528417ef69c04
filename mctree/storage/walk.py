"""What is wrong with the pages of one of LMDB's trees?  A walk over all of them, by reading the file and never a map.

Each page has to be whole, of the kind and at the depth that its place asks for, and to stand in one place; keys have to
be in order, within a page and across pages, for a key that only leads the way lets records go unfound when it changes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from operator import lt
from typing import NamedTuple

__all__ = ["FreeWalk", "PageFault", "PageTree", "Walk"]

_HEADER = struct.Struct("<QHHHH")  # page number, padding, flags, end of the pointers, begin of the nodes
_BIG_HEADER = struct.Struct("<QHHI")  # page number, padding, flags, how many pages
_NODE = struct.Struct("<HHHH")  # two halves of a size or of a page number, flags or the rest of that, length of the key
_NUMBER = struct.Struct("<Q")
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG = 1  # the node holds the number of the page with its data
_NOTHING = (1 << 64) - 1
_HEADERS = 2  # the first pages, which belong to no tree
_DEEPEST = 32
_LONGEST_KEY = 511
_FARTHEST = 1 << 40  # no file has as many pages
_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class PageFault:
    """A page that cannot be.

    Attributes:
        page: its number.
        what: what is wrong with it.
        low: keys of records that it leads to or holds are not below this.
        high: nor above this, exclusively; None where nothing bounds them.
        lost: whether records cannot be relied upon any more; else only what is written next is in danger.
    """

    page: int
    what: str
    low: bytes = b""
    high: bytes | None = None
    lost: bool = True


@dataclass(frozen=True, slots=True)
class PageTree:
    """What a header says of one of its two trees: how deep it is, its pages and records, and where it begins."""

    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    records: int
    root: int


class _Node(NamedTuple):
    """What a page holds many of.

    Attributes:
        key: its key.
        child: in a branch: the page that it leads to.
        length: in a leaf: bytes of the record.
        big: in a leaf: the first of the pages with the record, None if that stands here.
        data: in a leaf: the record, if it stands here.
    """

    key: bytes
    child: int
    length: int
    big: int | None
    data: bytes

    @classmethod
    def at(cls, page: bytes, start: int, *, is_branch: bool) -> _Node:
        """The node of a sound page that starts at a byte."""
        low, high, more, size = _NODE.unpack_from(page, start)
        begin, length = start + _NODE.size + size, low | high << 16
        key = page[start + _NODE.size : begin]
        if is_branch:
            return cls(key, length | more << 32, 0, None, b"")
        if more & _BIG:
            return cls(key, 0, length, _NUMBER.unpack_from(page, begin)[0], b"")
        return cls(key, 0, length, None, page[begin : begin + length])


@dataclass(slots=True)
class Walk:
    """A walk over the pages of one tree, of `size` bytes each, of which none lies behind page `last`.

    Attributes:
        seen: the pages that were come upon, so that pages that refer to each other many times over end the walk.
        runs: the pages in use: first, and the one behind the last.
    """

    fd: int
    size: int
    last: int
    said: PageTree
    seen: set[int] = field(default_factory=set)
    runs: list[tuple[int, int]] = field(default_factory=list)
    branches: int = 0
    leaves: int = 0
    overflows: int = 0
    records: int = 0

    @property
    def found(self) -> PageTree:
        """What the header should have said."""
        said, pages = self.said, (self.branches, self.leaves, self.overflows, self.records)
        return PageTree(said.flags, said.depth, *pages, said.root)

    def faults(self) -> Iterator[PageFault]:
        """What is wrong with the pages."""
        if self.said.root != _NOTHING:
            yield from self._below(self.said.root, min(self.said.depth, _DEEPEST), b"", None)

    def floor(self, bound: bytes) -> bytes | None:
        """The last key not above `bound`, without going through all pages; None if no whole page leads to one."""
        return self._floor(self.said.root, min(self.said.depth, _DEEPEST), bound)

    def on_the_way(self, bound: bytes) -> PageFault | None:
        """What is wrong with the pages that a search for `bound`, and a step from there to either side, come upon."""
        before: tuple[int, int] | None = None
        behind: tuple[int, int] | None = None
        number, depth = self.said.root, min(self.said.depth, _DEEPEST)
        while depth:
            fault, nodes = self._looked_into(number, depth)
            if fault:
                return PageFault(number, fault)
            depth -= 1
            if depth:
                at = _last_not_above(nodes, bound, first=1)
                before = (nodes[at - 1].child, depth) if at else before
                behind = (nodes[at + 1].child, depth) if at + 1 < len(nodes) else behind
                number = nodes[at].child
        for beside, nearest in ((before, -1), (behind, 0)):
            number, depth = beside or (0, 0)
            while depth:
                fault, nodes = self._looked_into(number, depth)
                if fault:
                    return PageFault(number, fault)
                number, depth = nodes[nearest].child, depth - 1
        return None

    def _below(self, number: int, depth: int, low: bytes, high: bytes | None) -> Iterator[PageFault]:
        """What is wrong with the page at a depth counted from the leaves, and with all below it."""
        fault, nodes = ("stands in two places", []) if number in self.seen else self._looked_into(number, depth)
        self.seen.add(number)
        # The first key of a branch is never looked at.
        fault = fault or self._disorder([node.key for node in nodes[depth > 1 :]], low, high)
        if fault:
            yield PageFault(number, fault, *self._reach(nodes[depth > 1 :], low, high))
            return
        self.runs.append((number, number + 1))
        if depth > 1:
            self.branches += 1
            bounds = [low, *(node.key for node in nodes[1:])]
            for node, lower, upper in zip(nodes, bounds, [*bounds[1:], high], strict=True):
                yield from self._below(node.child, depth - 1, lower, upper)
            return
        self.leaves += 1
        self.records += len(nodes)
        for node in nodes:
            fault = self._big(node.big, node.length) if node.big is not None else ""
            if fault := fault or self._record(node):
                yield PageFault(number if node.big is None else node.big, fault, node.key, node.key + b"\0")

    def _reach(self, nodes: list[_Node], low: bytes, high: bytes | None) -> tuple[bytes, bytes | None]:
        """The bounds of what a page holds: those given, and its own keys, if these are in order.

        Where they lie outside, the key in the branch above may be the one that is damaged.
        """
        places = self._places([node.key for node in nodes])
        if not places or not all(map(lt, places, places[1:])):
            return low, high
        return min(low, nodes[0].key), None if high is None else max(high, nodes[-1].key + b"\0")

    def _floor(self, number: int, depth: int, bound: bytes) -> bytes | None:
        """The last key not above `bound` under a page, or None; also where a page is not what it has to be."""
        fault, nodes = self._looked_into(number, depth)
        if fault:
            return None
        at = _last_not_above(nodes, bound, first=int(depth > 1))
        if depth == 1:
            return nodes[at].key if at >= 0 else None
        found = (self._floor(nodes[i].child, depth - 1, bound) for i in (at, at - 1) if i >= 0)
        return next((key for key in found if key is not None), None)

    def _looked_into(self, number: int, depth: int) -> tuple[str, list[_Node]]:
        """What is wrong with a branch or leaf at a depth, the order of its keys aside; and what is in it."""
        page = self._page(number)
        fault = self._fault(number, page, depth)
        return fault, [] if fault else [_Node.at(page, start, is_branch=depth > 1) for start in _starts(page)]

    def _page(self, number: int) -> bytes:
        return self._read(number, 0, self.size)

    def _read(self, number: int, offset: int, length: int) -> bytes:
        """Bytes of a page, or of those behind it; nothing if it is none that was ever taken."""
        taken = _HEADERS <= number <= min(self.last, _FARTHEST)
        return os.pread(self.fd, length, number * self.size + offset) if taken else b""

    def _fault(self, number: int, page: bytes, depth: int) -> str:
        if len(page) < self.size:
            return "lies behind the end of the file"
        own, _, flags, lower, upper = _HEADER.unpack_from(page)
        if own != number or depth < 1 or flags != (_BRANCH if depth > 1 else _LEAF):
            return "is not the page that stood there"
        if not _HEADER.size <= lower <= upper <= self.size or lower % 2:
            return "has no room for what it says it holds"
        if len(starts := _starts(page)) < (2 if depth > 1 else 1):
            return "holds nothing"
        fault = next((fault for at in starts if (fault := self._node_fault(page, at, upper, depth))), "")
        # A writer that takes one of two overlapping records out would move bytes to where none of the page are.
        ends = sorted((at, self._node_end(page, at, depth)) for at in starts) if not fault else []
        return fault or (
            "holds records in one place" if any(one[1] > other[0] for one, other in pairwise(ends)) else ""
        )

    def _node_fault(self, page: bytes, at: int, upper: int, depth: int) -> str:
        if not upper <= at <= self.size - _NODE.size:
            return "points outside of itself"
        _, _, more, key = _NODE.unpack_from(page, at)
        if depth == 1 and (more & ~_BIG or not 0 < key <= _LONGEST_KEY):
            return "holds a record of another kind"
        return "holds a record that leads out of it" if self._node_end(page, at, depth) > self.size else ""

    @staticmethod
    def _node_end(page: bytes, at: int, depth: int) -> int:
        """Where a node ends."""
        low, high, more, key = _NODE.unpack_from(page, at)
        inside: int = 0 if depth > 1 else _NUMBER.size if more & _BIG else low | high << 16
        return int(at + _NODE.size + key + inside)

    def _disorder(self, keys: list[bytes], low: bytes, high: bytes | None) -> str:
        """What is wrong with keys that have to ascend, and to lie in [low, high)."""
        places = self._places(keys)
        if not all(map(lt, places, places[1:])):
            return "holds keys that are out of order"
        lowest, *highest = self._places([low] if high is None else [low, high])
        if not places or (lowest <= places[0] and all(places[-1] < bound for bound in highest)):
            return ""
        return "holds keys that belong elsewhere"

    def _places(self, keys: list[bytes]) -> list[bytes]:
        """What keys are sorted by."""
        return keys

    def _record(self, node: _Node) -> str:
        """What is wrong with a record beyond its place in the tree."""
        return ""

    def _big(self, number: int, length: int) -> str:
        """What is wrong with the pages that hold one large record."""
        header = self._read(number, 0, _BIG_HEADER.size)
        if len(header) < _BIG_HEADER.size:
            return "lies behind the end of the file"
        own, _, flags, pages = _BIG_HEADER.unpack(header)
        if own != number or flags != _OVERFLOW:
            return "is not the page that stood there"
        if number + pages - 1 > self.last or _BIG_HEADER.size + length > pages * self.size:
            return "has no room for what it says it holds"
        if not self._read(number, pages * self.size - 1, 1):
            return "lies behind the end of the file"
        self.overflows += pages
        self.runs.append((number, number + pages))
        return ""


@dataclass(slots=True)
class FreeWalk(Walk):
    """A walk over the tree of free pages: transaction → the pages that it gave back.

    Attributes:
        listed: the pages that are said to be free.
    """

    listed: list[int] = field(default_factory=list)

    def _places(self, keys: list[bytes]) -> list[bytes]:
        return [key[::-1] for key in keys]  # integers of the machine, and that is little-endian

    def _record(self, node: _Node) -> str:
        """How many pages there are, and their numbers, the highest first."""
        numbers = self._numbers(node)
        count = next(numbers, _NOTHING)
        if len(node.key) != _NUMBER.size or (count + 1) * _NUMBER.size > node.length:
            return "holds a list of free pages that is none"
        before = _NOTHING
        for number in islice(numbers, count):
            if number >= before:
                return "holds a list of free pages that is none"
            self.listed.append(number)
            before = number
        return ""

    def _numbers(self, node: _Node) -> Iterator[int]:
        """The numbers in a record, of which a hostile one may have very many."""
        for at in range(0, node.length, _AT_ONCE):
            size = min(_AT_ONCE, node.length - at)
            part = node.data if node.big is None else self._read(node.big, _BIG_HEADER.size + at, size)
            yield from struct.unpack_from(f"<{len(part) // _NUMBER.size}Q", part)


def _last_not_above(nodes: list[_Node], bound: bytes, first: int) -> int:
    """The last of some nodes whose key is not above `bound`; those before `first` are not, whatever their key."""
    return next((i for i in range(first, len(nodes)) if nodes[i].key > bound), len(nodes)) - 1


def _starts(page: bytes) -> tuple[int, ...]:
    """Where the nodes of a page begin."""
    lower = _HEADER.unpack_from(page)[3]
    return struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)
