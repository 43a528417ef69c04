"""Are the pages of the index what LMDB takes them for?  Each page of its trees, read and never mapped.

LMDB trusts its pages: one that was zeroed, or that belongs elsewhere, ends the process when a scan comes upon it.
Whoever wants to go through an index that may be damaged looks here first.  What the records in the pages say is not
looked at: that is what their checksums are for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mctree.storage.files import opened

if TYPE_CHECKING:
    from mctree.storage.store import Store

__all__ = ["DATA_NAME", "INDEX_NAME", "Meta", "damaged_below", "damaged_pages", "read_meta"]

INDEX_NAME = "index.lmdb"
DATA_NAME = f"{INDEX_NAME}/data.mdb"

_HEADER = struct.Struct("<QHHHH")  # page number, padding, flags, end of the pointers, begin of the nodes
_NODE = struct.Struct("<HHHH")  # two halves of a size or of a page number, flags or the rest of that, length of the key
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_KINDS = _BRANCH | _LEAF | _OVERFLOW | 8
_BIG = 1  # the node holds the number of the page with its data
_NOTHING = (1 << 64) - 1
_META_BYTES, _ROOT, _TREE_BYTES = 24, 40, 48
_DEEPEST = 32


def damaged_pages(store: Store) -> Iterator[tuple[int, str]]:
    """The pages of the index's two trees, as of now, that cannot be: (number, what is wrong)."""
    # The transaction keeps the pages of its commit from being used for anything else.
    with store.environment.reading() as txn, opened(DATA_NAME, os.O_RDONLY | os.O_NONBLOCK, store.at) as fd:
        size = int(txn.stat()["psize"])
        for meta in range(2):
            if read_meta(os.pread(fd, size, meta * size)).number == txn.id():
                yield from damaged_below(fd, size, meta)
                return


@dataclass(frozen=True, slots=True)
class Meta:
    """What one of the two meta pages says.

    Attributes:
        number: the transaction that wrote it.
        last: the last page that was ever taken.  It may lie behind the end of the file: what a transaction has taken
            and given back is never written.
        roots: the root pages of the trees of free pages and of records.
    """

    number: int
    last: int
    roots: tuple[int, int]


def read_meta(page: bytes) -> Meta:
    """What a meta page says; `page` holds at least its first 152 bytes."""
    trees = _HEADER.size + _META_BYTES
    last, number = struct.unpack_from("<QQ", page, trees + 2 * _TREE_BYTES)
    free, main = (struct.unpack_from("<Q", page, trees + i * _TREE_BYTES + _ROOT)[0] for i in range(2))
    return Meta(number, last, (free, main))


def damaged_below(fd: int, size: int, meta: int) -> Iterator[tuple[int, str]]:
    """The pages of `size` bytes in the trees of meta page `meta` that cannot be: (number, what is wrong)."""
    said = read_meta(os.pread(fd, size, meta * size))
    walk = _Walk(fd, size, said.last)
    for root in said.roots:
        if root != _NOTHING:
            yield from walk.below(root, _DEEPEST)


@dataclass(slots=True)
class _Walk:
    """A walk over the pages of one commit, of `size` bytes each, the last of which is `last`."""

    fd: int
    size: int
    last: int
    seen: set[int] = field(default_factory=set)

    def below(self, number: int, depth: int) -> Iterator[tuple[int, str]]:
        """What is wrong with a branch or leaf, and with all below it."""
        page = os.pread(self.fd, self.size, number * self.size) if number <= self.last else b""
        # Without this a few pages that refer to each other many times over would take for ever.
        twice = number in self.seen or not depth
        self.seen.add(number)
        fault = "stands in two places" if twice else self._fault(number, page)
        if fault:
            yield number, fault
            return
        is_branch = bool(_HEADER.unpack_from(page)[2] & _BRANCH)
        for at in self._nodes(page):
            low, high, more, key = _NODE.unpack_from(page, at)
            data, length = at + _NODE.size + key, low | high << 16
            inside = 0 if is_branch else 8 if more & _BIG else length
            if data + inside > self.size:
                yield number, "holds a record that leads out of it"
                return
            if is_branch:
                yield from self.below(length | more << 32, depth - 1)
            elif more & _BIG:
                yield from self._big(struct.unpack_from("<Q", page, data)[0], length)

    def _fault(self, number: int, page: bytes) -> str:
        """What is wrong with the frame of a branch or leaf; nothing if it is whole."""
        if len(page) < self.size:
            return "lies behind the end of the file"
        own, _, flags, lower, upper = _HEADER.unpack_from(page)
        if own != number or flags & _KINDS not in (_BRANCH, _LEAF):
            return "is not the page that stood there"
        if not _HEADER.size <= lower <= upper <= self.size or lower % 2:
            return "has no room for what it says it holds"
        if any(not upper <= at <= self.size - _NODE.size for at in self._nodes(page)):
            return "points outside of itself"
        return ""

    def _nodes(self, page: bytes) -> tuple[int, ...]:
        """Where the nodes of a page begin."""
        lower = _HEADER.unpack_from(page)[3]
        return struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)

    def _big(self, number: int, length: int) -> Iterator[tuple[int, str]]:
        """What is wrong with the pages that hold one large record."""
        page = os.pread(self.fd, _HEADER.size, number * self.size) if number <= self.last else b""
        if len(page) < _HEADER.size:
            yield number, "lies behind the end of the file"
            return
        own, _, flags, pages = struct.unpack("<QHHI", page)
        if own != number or flags & _KINDS != _OVERFLOW:
            yield number, "is not the page that stood there"
        elif number + pages - 1 > self.last or _HEADER.size + length > pages * self.size:
            yield number, "has no room for what it says it holds"
        elif not os.pread(self.fd, 1, (number + pages) * self.size - 1):
            yield number, "lies behind the end of the file"
