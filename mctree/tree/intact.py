"""Is what is read back still what was committed?  Asked of all that something new is made of.

What is new gets checksums of its own, which would be valid whatever it was made of.  So tokens and gists that go into
a compaction, a refreshed chunk or another gist are compared with theirs first, and damage stays what `verify` finds.
What does not exist is not asked about: nothing is made of it.  Where all of a store is gone through, as in a
compaction, its index comes first: what that has lost would be left out.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, MctreeError
from mctree.format.facts import DocumentRecord, GistSetRecord
from mctree.format.keys import Table, u64
from mctree.format.records import BLOCK
from mctree.format.values import describe, unframe
from mctree.geometry import TEXT, Address, World
from mctree.storage.audit import bad_records
from mctree.storage.chunks import row_sums
from mctree.storage.index import table_sums
from mctree.storage.pages import damaged_pages
from mctree.storage.sums import committed_sums
from mctree.tree.packing import real_positions
from mctree.tree.provenance import block_records
from mctree.tree.text_arrays import LOD0

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["damaged_gist", "intact_blocks", "intact_gists", "intact_index", "intact_tokens", "name_of", "place_of"]


def intact_index(snapshot: Snapshot) -> None:
    """Make sure that an index holds all that its newest commit counted, whole, and that a look-up finds it.

    What is made of all of a store would be made without what its index has lost, and nobody would miss it there.

    Args:
        snapshot: the newest commit, of which nobody else makes another meanwhile.

    Raises:
        CorruptError: a page, a record or a table is not what it was.
    """

    def refused(what: str) -> CorruptError:
        return CorruptError(f"{what}; run `mctree verify`, and restore the store from a copy")

    for fault in damaged_pages(snapshot.store):
        if fault.lost:  # else nothing is read that it could be wrong about
            raise refused(f"page {fault.page} of the index {fault.what}")
    with snapshot.reading() as index:
        for key, what in bad_records(index):
            raise refused(f"index record {describe(key)} {what}")
        for tag, *found in table_sums(index):
            if tuple(found) != snapshot.record.tables.get(tag, (0, 0)):
                raise refused(f"index table {tag!r} does not hold what commit {snapshot.commit} counted")


def intact_blocks(
    snapshot: Snapshot, first: int, stop: int, world: World
) -> tuple[NDArray[np.generic], NDArray[np.void]]:
    """Blocks [first, stop) of a snapshot, compared with their checksums.

    Args:
        snapshot: where to look.
        first: the first block.
        stop: the block after the last.
        world: what exists: other blocks are not compared.

    Returns:
        Their tokens as stored `[n, 32]`, and their records `BLOCK_DTYPE [n]`.

    Raises:
        CorruptError: one has other tokens than were committed; the message names node, source and bytes.
    """
    tokens = snapshot.rows(LOD0).read(first * BLOCK, stop * BLOCK).reshape(-1, BLOCK)
    with snapshot.reading() as index:
        records = block_records(index, first, stop - first)
    wrong = first + np.flatnonzero(row_sums(tokens) != records["sum"])
    wrong = wrong[world.exists(TEXT, 1, wrong)]
    if len(wrong):
        more = f" (nor are those of {len(wrong) - 1} more blocks up to 1:{wrong[-1]})" if len(wrong) > 1 else ""
        raise CorruptError(
            f"{_named(snapshot, 1, int(wrong[0]))}: its tokens are not those that were committed{more}; restore the "
            "store from a copy, or remove or replace that document"
        )
    return tokens, records


def intact_tokens(snapshot: Snapshot, start: int, stop: int) -> NDArray[np.generic]:
    """The real, live tokens at positions [start, stop), compared as by `intact_blocks`.

    How many of a block are real is taken from its record, not from the level of counts, which has no checksums.

    Raises:
        CorruptError: they are not those that were committed.
    """
    first, last = start // BLOCK, -(-stop // BLOCK) if start < stop else start // BLOCK
    if first == last:
        return snapshot.tokens(start, start)
    world = snapshot.world.geometry
    tokens, records = intact_blocks(snapshot, first, last, world)
    return tokens[real_positions(start, stop, records["count"], world.exists(TEXT, 1, np.arange(first, last)))]


def intact_gists(
    snapshot: Snapshot, record: GistSetRecord, level: int, index: NDArray[np.int64]
) -> NDArray[np.generic]:
    """Gists of a set as a snapshot sees it, those of nodes that exist compared with their checksums.

    Args:
        snapshot: where to look.
        record: the set.
        level: the nodes' level, from 1 up.
        index: `int64 [n]`: nodes that have a row in the set.

    Returns:
        `[n, dim]`, as stored.

    Raises:
        CorruptError: one is not the one that was committed.
    """
    array = record.levels[level - 1]
    rows = snapshot.rows(array)
    values = rows.gather(index)
    with snapshot.reading() as reading:
        sums = committed_sums(reading, array, rows.layout, index, snapshot.commit)
    wrong = index[row_sums(values) != sums]
    wrong = wrong[snapshot.world.exists(level, wrong)]
    if len(wrong):
        raise damaged_gist(snapshot, record.name, level, int(wrong[0]))
    return values


def damaged_gist(snapshot: Snapshot, name: str, level: int, node: int) -> CorruptError:
    """What to say of a node whose gist is not the one that was committed."""
    return CorruptError(
        f"{_named(snapshot, level, node)}: its gist in set {name!r} is not the one that was committed; restore the "
        "store from a copy, or drop the set and build it again"
    )


def place_of(snapshot: Snapshot, level: int, index: int) -> tuple[bytes | None, int, int]:
    """The first source that a node stands for, None if no record tells it, and the bytes [start, stop) of it."""
    first, stop = TEXT.span(level, index)
    with snapshot.reading() as reading:
        record = block_records(reading, int(first) // BLOCK, 1)[0]
        last = block_records(reading, int(stop) // BLOCK - 1, 1)[0] if level > 1 else record
    document = int(record["document"])
    return (
        name_of(snapshot, document),
        int(record["start"]),
        int((last if last["document"] == document else record)["stop"]),
    )


def name_of(snapshot: Snapshot, number: int) -> bytes | None:
    """The name of a document, also of one that died; None if no record that is whole tells it."""
    found = None
    with snapshot.reading() as reading:
        for key, value in reading.raw(Table.DOCUMENT + u64.pack(number)):
            with suppress(MctreeError):
                if payload := unframe(key, value):
                    found = DocumentRecord.decode(payload).source
    return found


def _named(snapshot: Snapshot, level: int, index: int) -> str:
    source, start, stop = place_of(snapshot, level, index)
    shown = "a document that is gone" if source is None else repr(source.decode("utf-8", "backslashreplace"))
    return f"node {Address(0, level, index)}, bytes {start}..{stop} of {shown}"
