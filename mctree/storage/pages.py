"""Are the pages of the index what LMDB takes them for?  Each page of its trees, read and never mapped.

LMDB trusts its pages: one that was zeroed, or that belongs elsewhere, ends the process when a scan comes upon it.
Whoever wants to go through an index that may be damaged looks here first.  What the records in the pages say is not
looked at: that is what their checksums are for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mctree.storage.environment import INDEX_NAME
from mctree.storage.files import opened
from mctree.storage.store import Store

__all__ = ["damaged_pages"]

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
    name = f"{INDEX_NAME}/data.mdb"
    # The transaction keeps the pages of its commit from being used for anything else.
    with store.environment.reading() as txn, opened(name, os.O_RDONLY | os.O_NONBLOCK, store.at) as fd:
        size = int(txn.stat()["psize"])
        for meta in range(2):
            data = os.pread(fd, size, meta * size)
            end = _HEADER.size + _META_BYTES + 2 * _TREE_BYTES
            last, number = struct.unpack_from("<QQ", data, end)
            if number == txn.id():
                walk = _Walk(fd, size, last)
                for tree in range(2):
                    root = struct.unpack_from("<Q", data, _HEADER.size + _META_BYTES + tree * _TREE_BYTES + _ROOT)[0]
                    if root != _NOTHING:
                        yield from walk.below(root, _DEEPEST)
                return


@dataclass(slots=True)
class _Walk:
    """A walk over the pages of one commit, of `size` bytes each, the last of which is `last`."""

    fd: int
    size: int
    last: int

    def below(self, number: int, depth: int) -> Iterator[tuple[int, str]]:
        """What is wrong with a branch or leaf, and with all below it."""
        page = os.pread(self.fd, self.size, number * self.size) if number <= self.last else b""
        fault = self._fault(number, page) if depth else "is below itself"
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
