"""Where did a stretch of the timeline come from?  From the records of its blocks: document and bytes of the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.keys import block_page_key
from mctree.format.records import BLOCK, BLOCK_DTYPE, BLOCKS_PER_PAGE, decode_blocks
from mctree.storage.index import Reading

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["Provenance", "block_documents", "block_records", "only_document", "provenance"]

_BLOCKS_AT_ONCE = 1 << 12


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a stretch of tokens came from: bytes [start, stop) of a document's source."""

    document: int
    source: bytes
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The source's name; bytes that are no UTF-8 are escaped as `os.fsdecode` does."""
        return self.source.decode("utf-8", "surrogateescape")


def block_records(index: Reading, first: int, count: int) -> NDArray[np.void]:
    """The records of blocks [first, first + count), which were placed: `BLOCK_DTYPE [count]`.

    Raises:
        CorruptError: some are missing: blocks that were placed always have records.
    """
    pages = range(first // BLOCKS_PER_PAGE, -(-(first + count) // BLOCKS_PER_PAGE))
    records = [_page(index, page) for page in pages]
    if not records:
        return np.empty(0, BLOCK_DTYPE)
    skip = first - pages[0] * BLOCKS_PER_PAGE
    found = np.concatenate(records)[skip : skip + count]
    if len(found) != count:
        raise CorruptError(f"the records of blocks {first}..{first + count} are cut off; run `mctree verify`")
    return found


def block_documents(index: Reading, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The documents of blocks in any order, which were placed: `int64 [n]`.  Each page of records is read once.

    Raises:
        CorruptError: records are missing.
    """
    found = np.empty(len(blocks), np.int64)
    if not len(blocks):
        return found
    order = np.argsort(blocks, kind="stable")
    sorted_blocks = blocks[order]
    pages = sorted_blocks // BLOCKS_PER_PAGE
    first = np.flatnonzero(np.diff(pages, prepend=-1))
    pages = pages[first]
    bounds = [*first.tolist(), len(blocks)]
    for number, start, stop in zip(pages.tolist(), bounds[:-1], bounds[1:], strict=True):
        records, begin = _page(index, number)["document"], number * BLOCKS_PER_PAGE
        wanted = sorted_blocks[start:stop] - begin
        if wanted[-1] >= len(records):
            raise CorruptError(f"the records of blocks {begin} and on are cut off; run `mctree verify`")
        found[order[start:stop]] = records[wanted]
    return found


def provenance(snapshot: Snapshot, start: int, stop: int, limit: int | None) -> list[Provenance]:
    """Which bytes of which sources the live blocks that meet positions [start, stop) stand for, in order.

    Args:
        snapshot: where to look.
        start: first position.
        stop: position after the last, not behind what is placed.
        limit: give at most so many stretches.
    """
    found: list[Provenance] = []
    sources: dict[int, bytes] = {}
    for records in _live_records(snapshot, start, stop):
        documents, begins, ends = (records[field] for field in ("document", "start", "stop"))
        apart = np.flatnonzero((documents[1:] != documents[:-1]) | (begins[1:] != ends[:-1]))
        first, last = np.append(0, apart + 1), np.append(apart, len(records) - 1)
        stretches = zip(documents[first].tolist(), begins[first].tolist(), ends[last].tolist(), strict=True)
        for document, begin, end in stretches:
            if found and found[-1].document == document and found[-1].stop == begin:
                found[-1] = Provenance(document, found[-1].source, found[-1].start, end)
                continue
            if limit is not None and len(found) >= limit:
                return found
            if document not in sources:
                sources[document] = snapshot.document(document).source
            found.append(Provenance(document, sources[document], begin, end))
    return found


def only_document(snapshot: Snapshot, start: int, stop: int) -> int | None:
    """The document that all live blocks that meet positions [start, stop) belong to, or None if they have several."""
    only: int | None = None
    for records in _live_records(snapshot, start, stop):
        documents = records["document"]
        only = int(documents[0]) if only is None else only
        if (documents != only).any():
            return None
    return only


def _live_records(snapshot: Snapshot, start: int, stop: int) -> Iterator[NDArray[np.void]]:
    """The records of the live blocks that meet positions [start, stop), a bounded number of them at a time."""
    last = -(-stop // BLOCK)
    for first in range(start // BLOCK, last, _BLOCKS_AT_ONCE):
        count = min(last - first, _BLOCKS_AT_ONCE)
        records = snapshot.block_records(first, count)[snapshot.world.exists(1, np.arange(first, first + count))]
        if len(records):
            yield records


def _page(index: Reading, page: int) -> NDArray[np.void]:
    payload = index.get(block_page_key(page))
    if payload is None:
        raise CorruptError(f"the records of blocks {page * BLOCKS_PER_PAGE} and on are missing; run `mctree verify`")
    return decode_blocks(payload)
