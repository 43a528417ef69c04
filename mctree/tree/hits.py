"""What of the tree does a damaged record of the index hit?  A node, a source, and bytes of it, if the rest can tell.

The record cannot be read, but its key says what it was about, and the records around it are whole.  Where these are
damaged too, less is said, and nothing that may be wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from mctree.errors import MctreeError
from mctree.format.facts import DocumentRecord
from mctree.format.images import ARENA, GRAFTS_PER_PAGE, NODES_PER_GROUP, NODES_PER_PAGE
from mctree.format.keys import Table, block_page_key, u32, u64
from mctree.format.records import BLOCK, BLOCKS_PER_PAGE, SUMS_PER_PAGE, Run, Tail
from mctree.format.values import unframe
from mctree.geometry import IMAGE, Address
from mctree.storage.index import Reading
from mctree.tree.gists import gist_arrays
from mctree.tree.images.check import at_image_node, every_page, every_piece, image_arrays
from mctree.tree.images.pages import popcount, set_bits
from mctree.tree.intact import place_of
from mctree.tree.provenance import block_records
from mctree.tree.snapshot import Snapshot
from mctree.tree.text_arrays import BEFORE, COUNT, LOD0

__all__ = ["Hit", "hit_by", "node_between"]

_DIGEST_BYTES = 16
_LINKED = struct.Struct(">IBQ")


@dataclass(frozen=True, slots=True)
class Hit:
    """What is hit.

    Attributes:
        node: the first node, if there is one.
        source: the name of the source, if it is known.
        start: first byte of the source.
        stop: byte of the source after the last.
    """

    node: Address | None = None
    source: bytes | None = None
    start: int = 0
    stop: int = 0


def hit_by(snapshot: Snapshot, key: bytes) -> Hit:
    """What a record hits that is damaged.

    Args:
        snapshot: the newest commit.
        key: the record's key; it may be damaged too.
    """
    table, rest, hit = key[:1], key[1:], Hit()
    with suppress(MctreeError, struct.error, LookupError), snapshot.reading() as index:
        if table == Table.BLOCKS:
            first = u64.unpack(rest)[0] * BLOCKS_PER_PAGE
            hit = _blocks(index, first, min(first + BLOCKS_PER_PAGE, snapshot.blocks))
        elif table == Table.DEATH:
            first = u64.unpack(rest[8:])[0]
            hit = Hit(Address(0, 1, first), *place_of(snapshot, 1, first))
        elif table in (Table.DOCUMENT, Table.RUN, Table.TAIL, Table.ORIGINAL, Table.IMAGE):
            hit = _document(index, u64.unpack(rest[:8])[0], table, u64.unpack(rest[8:16])[0])
        elif table == Table.SOURCE:
            hit = _document(index, u64.unpack(rest[_DIGEST_BYTES : _DIGEST_BYTES + 8])[0], table, 0)
        elif table in (Table.CHUNK, Table.CHECKSUMS, Table.PAGES, Table.PIECES):
            hit = _array(snapshot, table, rest)
        elif table == Table.GRAFTS:
            hit = _grafted(snapshot, index, u64.unpack(rest)[0] * GRAFTS_PER_PAGE)
        elif table == Table.STAMP:
            hit = Hit(None, _name_of_digest(index, rest))
        elif table in (Table.LINK, Table.LINK_NODE):
            hit = _linked(snapshot, index, table, rest)
    return hit


def _array(snapshot: Snapshot, table: Table | bytes, rest: bytes) -> Hit:
    """Where an array is hit by the loss of what is known of its rows."""
    array, number = u32.unpack(rest[:4])[0], u64.unpack(rest[4:12])[0]
    if table in (Table.PAGES, Table.PIECES):
        return _group(snapshot, array, number, table)
    page = u32.unpack(rest[20:])[0] if table == Table.CHECKSUMS else 0
    return _rows(snapshot, array, number, page * SUMS_PER_PAGE)


def _group(snapshot: Snapshot, array: int, group: int, table: Table | bytes) -> Hit:
    """Where a group of pages of an array's level, or of kept pixels, is hit: at its first node of an image."""
    level = image_arrays(snapshot)[array][0] if table == Table.PAGES else 1
    nodes = NODES_PER_GROUP if table == Table.PAGES else NODES_PER_PAGE
    width, images = IMAGE.width(level), snapshot.gallery.places.placed
    starts = images["base"].astype(np.int64)
    stops = starts + np.array(IMAGE.widths, np.int64)[images["level"]]
    first, stop = group * nodes * width, (group + 1) * nodes * width
    meeting = np.flatnonzero((starts < stop) & (stops > first))
    index = max(first, int(starts[meeting].min())) // width if len(meeting) else first // width
    found = at_image_node(snapshot, level, index, "", "")
    return Hit(found.node, found.source)


def _grafted(snapshot: Snapshot, index: Reading, first: int) -> Hit:
    """The first of the images from number `first` on, as they were put on the timeline."""
    images = dict.fromkeys(u64.unpack(key[1:9])[0] for key, _ in index.raw(Table.IMAGE))
    block = sorted(run.block for number in images for _, _, run in _runs(index, number))[first]
    return Hit(Address(0, 1, block), *place_of(snapshot, 1, block))


def _linked(snapshot: Snapshot, index: Reading, table: Table | bytes, rest: bytes) -> Hit:
    """Where a link is hit: at the node of a record that leads to it, or at the first such node."""
    if table == Table.LINK:
        rest = next((key[1:] for key, _ in index.raw(Table.LINK_NODE) if key[14:22] == rest[:8]), b"")
    space, level, node = _LINKED.unpack_from(rest)
    if space == ARENA:
        found = at_image_node(snapshot, level, node, "", "")
        return Hit(found.node, found.source)
    place: tuple[bytes | None, int, int] = None, 0, 0
    with suppress(MctreeError, LookupError):  # a link may reach beyond what is placed
        place = place_of(snapshot, level, node)
    return Hit(Address(space, level, node), *place)


def node_between(low: bytes, high: bytes | None) -> Address | None:
    """The first node whose block record has a key in [low, high), None being no bound; None if there is none such."""
    page = u64.unpack(low[1:9].ljust(8, b"\0"))[0] if low[:1] == Table.BLOCKS else 0
    within = low < block_page_key(page + 1) and (high is None or high > block_page_key(page))
    return Address(0, 1, page * BLOCKS_PER_PAGE) if within else None


def _document(index: Reading, number: int, table: Table | bytes, at: int) -> Hit:
    """Where a document is hit: from byte `at` on by the loss of original bytes, else where its other records end."""
    source, size = _known(index, number)
    ordinals = {ordinal: run for _, ordinal, run in _runs(index, number)}
    runs = list(ordinals.values())
    ends = {ordinal: _record(index, run.block + run.blocks - 1, "stop") for ordinal, run in ordinals.items()}
    tails = [Tail.decode(payload).start for payload in _sound(index, Table.TAIL + u64.pack(number))]
    size = max([size, *ends.values(), *tails])
    start = 0
    if table == Table.ORIGINAL:
        start = at
    elif table == Table.TAIL:
        commit = index.commit(at)  # since which it held; what was placed by then lies before it
        stops = [
            run.block + run.blocks if commit is None else min(run.block + run.blocks, commit.blocks) for run in runs
        ]
        placed = [stop for run, stop in zip(runs, stops, strict=True) if stop > run.block]
        start = max((_record(index, stop - 1, "stop") for stop in placed), default=0)
    elif table == Table.RUN:
        start = max((stop for ordinal, stop in ends.items() if ordinal < at), default=0)
    return Hit(None, source, min(start, size), size)


def _blocks(index: Reading, first: int, stop: int) -> Hit:
    """Where the document of the first of blocks [first, stop) is hit."""
    if first >= stop:
        return Hit()  # the key itself is damaged
    node = Address(0, 1, first)
    every = list(_runs(index))
    mine = next((found for found in every if found[2].block <= first < found[2].block + found[2].blocks), None)
    if mine is None:
        return Hit(node)
    document, ordinal, run = mine
    source, size = _known(index, document)
    # What lies before and behind them ends and begins where they begin and end.
    before = [other for number, at, other in every if number == document and at < ordinal]
    behind = [other for number, at, other in every if number == document and at > ordinal]
    start = 0
    if first > run.block:
        start = _record(index, first - 1, "stop")
    elif before:
        start = _record(index, before[-1].block + before[-1].blocks - 1, "stop")
    if stop < run.block + run.blocks:
        size = _record(index, stop, "start")
    elif behind:
        size = _record(index, behind[0].block, "start")
    return Hit(node, source, start, max(start, size))


def _rows(snapshot: Snapshot, array: int, chunk: int, inside: int) -> Hit:
    """Where a chunk of an array is hit from a row on."""
    if array in (LOD0, COUNT, BEFORE):
        row = chunk * snapshot.store.array(array, snapshot.commit).rows_per_chunk + inside
        level, index = 1, {LOD0: row // BLOCK, COUNT: row, BEFORE: row * BLOCK}[array]
    elif array in (images := image_arrays(snapshot)):
        level = images[array][0]
        found = at_image_node(snapshot, level, _node_of_row(snapshot, array, chunk, inside), "", "")
        return Hit(found.node, found.source)
    elif array == snapshot.gallery.pixels_array:
        found = at_image_node(snapshot, 1, _tile_of_byte(snapshot, array, chunk, inside), "", "")
        return Hit(found.node, found.source)
    else:
        level, _, layout, _ = gist_arrays(snapshot)[array]
        index = chunk * layout.rows_per_chunk + inside
    return Hit(Address(0, level, index), *place_of(snapshot, level, index))


def _node_of_row(snapshot: Snapshot, array: int, chunk: int, inside: int) -> int:
    """The first node of an array of images whose row lies at or behind a row of a chunk."""
    row = chunk * snapshot.store.array(array, snapshot.commit).rows_per_chunk + inside
    pages = every_page(snapshot, array, snapshot.commit)
    counts = popcount(np.ascontiguousarray(pages["present"]))
    start = pages["row"].astype(np.int64)
    behind = np.flatnonzero((start + counts > row) & (counts > 0))
    which = int(behind[np.argmin(start[behind])])
    page = pages[which : which + 1]
    nodes = set_bits(page["page"].astype(np.int64), np.ascontiguousarray(page["present"]))
    return int(nodes[max(row - int(start[which]), 0)])


def _tile_of_byte(snapshot: Snapshot, array: int, chunk: int, inside: int) -> int:
    """The tile whose kept pixels lie first at or behind a byte of a chunk."""
    byte = chunk * snapshot.store.array(array, snapshot.commit).rows_per_chunk + inside
    pieces = every_piece(snapshot, array)
    behind = pieces[pieces["start"].astype(np.int64) + pieces["size"] > byte]
    return int(behind["tile"][np.argmin(behind["start"])])


def _known(index: Reading, document: int) -> tuple[bytes | None, int]:
    """The name and the size of a document, by whatever still says so."""
    source, size = None, 0
    for payload in _sound(index, Table.DOCUMENT + u64.pack(document)):
        with suppress(MctreeError):
            record = DocumentRecord.decode(payload)
            source, size = record.source, max(size, record.size)
    if source is None:
        for key, value in index.raw(Table.SOURCE):
            if key[1 + _DIGEST_BYTES : 9 + _DIGEST_BYTES] == u64.pack(document):
                with suppress(MctreeError):
                    source = unframe(key, value)[1:] or source
    return source, size


def _name_of_digest(index: Reading, digest: bytes) -> bytes | None:
    """The name of a source that a digest stands for, if there is a document of that name."""
    return next((payload[1:] for payload in _sound(index, Table.SOURCE + digest)), None)


def _runs(index: Reading, document: int | None = None) -> Iterator[tuple[int, int, Run]]:
    """The runs of a document, or of all: (document, ordinal, run), in order."""
    prefix = Table.RUN + (b"" if document is None else u64.pack(document))
    for key, value in index.raw(prefix):
        with suppress(MctreeError):
            yield u64.unpack(key[1:9])[0], u64.unpack(key[9:17])[0], Run.decode(unframe(key, value))


def _sound(index: Reading, prefix: bytes) -> Iterator[bytes]:
    """The payloads, not empty, of the records below a prefix that pass their checksum."""
    for key, value in index.raw(prefix):
        with suppress(MctreeError):
            if payload := unframe(key, value):
                yield payload


def _record(index: Reading, block: int, field: str) -> int:
    """A field of a block's record; 0 if that cannot be read."""
    with suppress(MctreeError):
        return int(block_records(index, block, 1)[field][0])
    return 0
