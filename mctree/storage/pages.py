"""Are the pages of the index what LMDB takes them for?  Each page of its trees, read and never mapped.

LMDB trusts its pages.  One that was zeroed, or that belongs elsewhere, ends the process when a scan comes upon it; a
key that was changed where it only leads the way lets records go unfound, a bit in the header lets an older state stand
for the newest, and one in the list of free pages lets the next transaction write over what is in use.  Whoever wants to
rely on an index that may be damaged looks here first:

* the newer of the two headers leads to the newer commit;
* each page of the two trees is whole, of the kind and at the depth that it has to be, and stands in one place;
* keys are in order, within and across pages, and there are as many pages and records as the header says;
* no page is free that is in use, or free twice.

What the records say is not looked at: that is what their checksums are for.  Nor are pages that are free, the room
within a page, or whatever else LMDB never reads.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mctree.format.keys import Table
from mctree.storage.files import opened
from mctree.storage.walk import FreeWalk, PageFault, PageTree, Walk

if TYPE_CHECKING:
    import lmdb

    from mctree.storage.store import Store

__all__ = [
    "DATA_NAME",
    "FREE_FLAGS",
    "INDEX_NAME",
    "Meta",
    "PageFault",
    "damaged_below",
    "damaged_in",
    "damaged_pages",
    "damaged_way",
    "read_meta",
]

INDEX_NAME = "index.lmdb"
DATA_NAME = f"{INDEX_NAME}/data.mdb"

_HEADER = struct.Struct("<QHHHH")  # page number, padding, flags, and two numbers that only other pages have
_HEAD = struct.Struct("<IIQQ")  # magic, version, address to map at, map size
_TREE = struct.Struct("<IHHQQQQQ")  # padding (first: page size), flags, depth, pages of three kinds, records, root
_LAST_COMMIT = Table.COMMIT + b"\xff" * 9
_TRIES = 100

FREE_FLAGS = 8
"""Flags of the tree of free pages: its keys are integers.  The tree of records has none."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What one of the two headers says.

    Attributes:
        page: its own place: 0 or 1.
        kind: the flags of its page.
        magic: what LMDB's files begin with.
        version: of LMDB's format.
        page_bytes: bytes of a page.
        last: the last page that was ever taken.  It may lie behind the end of the file: what a transaction has taken
            and given back is never written.
        number: the transaction that wrote it.
        free: the tree of free pages.
        main: the tree of records.
    """

    page: int
    kind: int
    magic: int
    version: int
    page_bytes: int
    last: int
    number: int
    free: PageTree
    main: PageTree

    @property
    def flags(self) -> tuple[int, int]:
        """Of the trees of free pages and of records: how their keys are sorted."""
        return self.free.flags, self.main.flags

    @property
    def roots(self) -> tuple[int, int]:
        """Where the trees of free pages and of records begin."""
        return self.free.root, self.main.root

    @property
    def depths(self) -> tuple[int, int]:
        """Of the trees of free pages and of records; 0 if there is none."""
        return self.free.depth, self.main.depth


def read_meta(page: bytes) -> Meta:
    """What a header says; `page` holds at least its first 152 bytes."""
    own, _, kind, _, _ = _HEADER.unpack_from(page)
    magic, version, _, _ = _HEAD.unpack_from(page, _HEADER.size)
    trees = _HEADER.size + _HEAD.size
    (page_bytes, *free), (_, *main) = (_TREE.unpack_from(page, trees + i * _TREE.size) for i in range(2))
    last, number = struct.unpack_from("<QQ", page, trees + 2 * _TREE.size)
    return Meta(own, kind, magic, version, page_bytes, last, number, PageTree(*free), PageTree(*main))


def damaged_pages(store: Store) -> Iterator[PageFault]:
    """The pages of the index, as of now, that cannot be."""
    with opened(DATA_NAME, os.O_RDONLY, store.at) as fd:
        for _ in range(_TRIES):
            with store.environment.reading() as txn:
                if _headers(fd, txn) is None:
                    continue
                faults = damaged_in(fd, txn) if store.environment.locked else _damaged_unless_written(fd, txn)
                if faults is not None:
                    yield from faults
                    return
        yield PageFault(0, "names no transaction that can be read")


def _damaged_unless_written(fd: int, txn: lmdb.Transaction) -> list[PageFault] | None:
    """As `damaged_in`, where no writer sees this reader; None if one used the pages for something else meanwhile."""
    faults = list(damaged_in(fd, txn))
    return None if faults and _headers(fd, txn) is None else faults


def damaged_in(fd: int, txn: lmdb.Transaction) -> Iterator[PageFault]:
    """The pages of an index, as a transaction sees it, that cannot be.

    None if two commits were made since the transaction began: then begin another.

    Args:
        fd: the file.
        txn: a transaction that reads; it keeps pages of its commit, and of the one before, from being used otherwise.
    """
    headers = _headers(fd, txn)
    if headers is not None:
        size = int(txn.stat()["psize"])
        own, other = headers
        yield from _damaged_headers(fd, size, own, other)
        yield from damaged_below(fd, size, own)


def _headers(fd: int, txn: lmdb.Transaction) -> tuple[Meta, Meta] | None:
    """The header that a transaction reads by, and the other one; None if the former was written over since."""
    size = int(txn.stat()["psize"])
    first, second = (read_meta(os.pread(fd, size, number * size)) for number in range(2))
    # As LMDB chooses; if somebody has committed since the transaction began, it reads by the other.
    newer, older = (second, first) if first.number < second.number else (first, second)
    if newer.number != txn.id():
        newer, older = older, newer
    return (newer, older) if newer.number == txn.id() else None


def damaged_way(fd: int, size: int, meta: Meta) -> PageFault | None:
    """A page that cannot be, among those that lead to the store's own record and to its newest commit."""
    walk = Walk(fd, size, meta.last, meta.main)
    return walk.on_the_way(Table.META) or walk.on_the_way(_LAST_COMMIT)


def damaged_below(fd: int, size: int, meta: Meta) -> Iterator[PageFault]:
    """The pages of `size` bytes in the trees that a header leads to that cannot be, and the header where it says so."""
    main = Walk(fd, size, meta.last, meta.main)
    faults = list(main.faults())
    yield from faults
    if not faults and main.found != meta.main:
        yield PageFault(meta.page, "counts other pages or records than are there")
    free = FreeWalk(fd, size, meta.last, meta.free, seen=main.seen)
    for fault in free.faults():
        faults.append(fault)
        yield PageFault(fault.page, fault.what, lost=False)
    if not faults:
        if free.found != meta.free:
            yield PageFault(meta.page, "counts other pages of free ones than are there", lost=False)
        yield from _taken_twice(main.runs + free.runs, free)


def _damaged_headers(fd: int, size: int, own: Meta, other: Meta) -> Iterator[PageFault]:
    """What is wrong between the two headers, each of which was judged by itself when the file was opened."""
    if abs(own.number - other.number) != 1:
        yield PageFault(own.page, "does not follow upon the other header")
    # A header whose number was changed would let an older state stand for the newest.  But the header of a commit that
    # LMDB could not write has the numbers of the older one as well, its last page among them: it was never in use.
    if own.number >= other.number and own.last < other.last:
        here, there = (_newest_commit(fd, size, meta) for meta in (own, other))
        if there is not None and (here is None or here < there):
            yield PageFault(own.page, "leads to an older commit than the other header")
    if own.number >= other.number and own.main.root == other.main.root:
        yield PageFault(own.page, "leads to the records of the other header")


def _newest_commit(fd: int, size: int, meta: Meta) -> bytes | None:
    """The key of the newest commit that a header leads to."""
    key = Walk(fd, size, meta.last, meta.main).floor(_LAST_COMMIT)
    return key if key is not None and key[:1] == Table.COMMIT else None


def _taken_twice(runs: list[tuple[int, int]], free: FreeWalk) -> Iterator[PageFault]:
    """Pages that are in use twice, or that are said to be free and are not, or twice."""
    claims = [*((first, stop, False) for first, stop in runs), *((page, page + 1, True) for page in free.listed)]
    end, was_free = 2, False
    for first, stop, is_free in sorted(claims):
        if first < end:
            what = "is free twice" if is_free and was_free else "is in use, and said to be free"
            yield PageFault(first, what if is_free or was_free else "stands in two places", lost=not is_free)
        if stop > end:
            end, was_free = stop, is_free
    if end > free.last + 1:
        yield PageFault(end - 1, "is said to be free, and was never taken", lost=False)
