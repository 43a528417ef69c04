"""Are images what was committed?  Their rows, pieces and records against checksums and against each other.

Rows that no commit's pages lead to are not looked at: nobody reads them.  Nor is what was committed since: it is not
what the snapshot says that it should be, and the next look will see it.  Whatever is hit is named as a node of the
arena, with the image that it belongs to and the pixels of it; also where that is dead, for older commits show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, MctreeError, NotFoundError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import array_layout
from mctree.format.facts import GistSetRecord
from mctree.format.images import ARENA, PAGE_DTYPE, PIECE_DTYPE, ImageRecord, decode_pages, decode_pieces
from mctree.format.keys import Table, u32, u64
from mctree.format.pixels import check_pixels
from mctree.format.values import crc32c
from mctree.geometry import IMAGE, Address, Raster
from mctree.storage.audit import committed_rows
from mctree.storage.chunks import row_sums
from mctree.storage.index import Reading
from mctree.storage.sums import committed_sums
from mctree.tree.gists import last_seen
from mctree.tree.images.families import pixels_array, read_statistics
from mctree.tree.images.image import Image
from mctree.tree.images.pages import popcount, set_bits
from mctree.tree.intact import name_of
from mctree.tree.problem import Problem

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["at_image_node", "check_images", "every_page", "every_piece", "image_arrays"]

_ROWS_AT_ONCE = 1 << 14
_MOST_CHANNELS = 64
_ROUNDED = 1e-9
"""By what part of them counts above 2^53 may differ."""


def check_images(snapshot: Snapshot) -> Iterator[Problem]:
    """What is wrong with the images of a snapshot, and with rows and pieces that older commits need."""
    yield from _records(snapshot)
    arrays = image_arrays(snapshot)
    with snapshot.reading() as index:
        seen = last_seen(index, snapshot.record, arrays.keys())
    for array, (level, what, layout) in arrays.items():
        if array in seen:  # else no commit sees it any more, and what is said of it is on its way out
            yield from _rows(snapshot, array, seen[array], level, what, layout)
    yield from _pieces(snapshot)
    for image in snapshot.images():
        try:
            yield from _structure(snapshot, image)
        except MctreeError as error:
            yield Problem(f"image {image.id}", str(error), "image", source=name_of(snapshot, image.id))


def image_arrays(snapshot: Snapshot) -> dict[int, tuple[int, str, ArrayLayout]]:
    """Arrays of rows of images, of this commit and any before it: their levels, what rows are, and how they lie."""
    with snapshot.reading() as index:
        described = _until(snapshot, index, Table.ARRAY)
        layouts = {u32.unpack(key[:4])[0]: array_layout(payload) for key, payload in described if payload}
        sets = [GistSetRecord.decode(payload) for _, payload in _until(snapshot, index, Table.GIST_SET) if payload]
        found = {
            array: (level, f"its gist in set {record.name!r} is", layouts[array])
            for record in sets
            for level, array in enumerate(record.images)
            if array in layouts
        }
        for channels in range(1, _MOST_CHANNELS + 1):
            for level, array in enumerate(read_statistics(index, snapshot.commit, channels)):
                if array not in layouts:
                    raise CorruptError(f"array {array} of statistics is not described; run `mctree verify`")
                found[array] = (level, "its statistics are", layouts[array])
    return found


def at_image_node(snapshot: Snapshot, level: int, index: int, what: str, kind: str) -> Problem:
    """A problem at a node of an image, with the image's source and the pixels that it stands for."""
    address = Address(ARENA, level, index)
    where, source = f"node {address}", None
    try:
        places = snapshot.gallery.places.ever
        at = int(places.at(np.array([index * IMAGE.width(level)]))[0])
        if at >= 0:
            graft = places.grafts[at]
            source = name_of(snapshot, int(graft["document"]))
            raster = Raster(int(graft["height"]), int(graft["width"]))
            first = int(graft["base"]) // IMAGE.width(level)
            x0, y0, x1, y1 = raster.boxes(level, np.array([index - first]))[0].tolist()
            where = f"node {address}, pixels [{x0}, {x1}) × [{y0}, {y1})"
    except MctreeError:
        pass  # then less is said
    return Problem(where, what, kind, address, source)


def _until(snapshot: Snapshot, index: Reading, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every version of facts whose keys begin so, up to the snapshot's own: the rest of the key, and the payload."""
    return ((key, payload) for key, payload in index.scan(prefix) if u64.unpack(key[-8:])[0] <= snapshot.commit)


def _records(snapshot: Snapshot) -> Iterator[Problem]:
    """Grafts against blocks, documents and records of images."""
    placed = snapshot.gallery.places.placed
    blocks = placed["block"].astype(np.int64)
    owners = snapshot.documents_of(blocks)
    for wrong in np.flatnonzero(owners != placed["document"].astype(np.int64)).tolist():
        what = f"is the block of image {placed['document'][wrong]}, but belongs to document {owners[wrong]}"
        yield Problem(f"node {Address(0, 1, int(blocks[wrong]))}", what, "image", Address(0, 1, int(blocks[wrong])))
    for graft in snapshot.gallery.places.grafts:
        number = int(graft["document"])
        where, name = f"image {number}", name_of(snapshot, number)
        try:
            image = Image(snapshot, graft)
            record = image.record
            media = snapshot.document(number).record.media
        except (CorruptError, NotFoundError) as error:
            yield Problem(where, str(error), "image", source=name)
            continue
        said = record.height, record.width, record.channels, record.space, record.base, record.level
        drawn = tuple(int(graft[field]) for field in ("height", "width", "channels", "space", "base", "level"))
        if said != drawn or media != "image":
            yield Problem(where, "has a record that does not fit its place on the timeline", "image", source=name)


def _rows(
    snapshot: Snapshot, array: int, seen: tuple[int, int], level: int, what: str, layout: ArrayLayout
) -> Iterator[Problem]:
    """Rows that some commit's pages lead to, against their checksums."""
    rows, last = seen
    # Pages that were put later stay for as long as the array does, though nobody is left who sees them.
    pages = every_page(snapshot, array, last)
    counts = popcount(np.ascontiguousarray(pages["present"]))
    start = pages["row"].astype(np.int64)
    for page in pages[start + counts > rows]:
        node = set_bits(page["page"].astype(np.int64).reshape(1), page["present"].reshape(1))[0]
        yield at_image_node(snapshot, level, int(node), f"lies behind the {rows} rows of {layout.path}", "page")
    sound = start + counts <= rows
    pages, start, counts = pages[sound], start[sound], counts[sound]
    wanted = np.zeros(rows + 1, np.int64)
    np.add.at(wanted, start, 1)
    np.add.at(wanted, start + counts, -1)
    needed = np.cumsum(wanted[:-1]) > 0
    for first in range(0, rows, _ROWS_AT_ONCE):
        some = first + np.flatnonzero(needed[first : first + _ROWS_AT_ONCE])
        if not len(some):
            continue
        stop = int(some[-1]) + 1
        try:
            values = committed_rows(snapshot.store, array, layout, int(some[0]), stop, snapshot.commit)
            with snapshot.reading() as index:
                sums = committed_sums(index, array, layout, some, snapshot.commit)
        except (CorruptError, OSError) as error:
            if not _is_seen(snapshot, array):
                return  # only older commits saw it, and were collected meanwhile
            yield _at_row(snapshot, level, pages, start, counts, int(some[0]), f"{what} lost: {error}", "chunk")
            continue
        for row in some[row_sums(values[some - some[0]]) != sums].tolist():
            yield _at_row(snapshot, level, pages, start, counts, row, f"{what} not what was committed", "image")


def _is_seen(snapshot: Snapshot, array: int) -> bool:
    """Whether some commit still sees an array."""
    with snapshot.reading() as index:
        return array in last_seen(index, snapshot.record, [array])


def _at_row(
    snapshot: Snapshot,
    level: int,
    pages: NDArray[np.void],
    start: NDArray[np.int64],
    counts: NDArray[np.int64],
    row: int,
    what: str,
    kind: str,
) -> Problem:
    """A problem at the node that a row is of."""
    which = int(np.flatnonzero((start <= row) & (row < start + counts))[-1])
    page = pages[which : which + 1]
    nodes = set_bits(page["page"].astype(np.int64), np.ascontiguousarray(page["present"]))
    return at_image_node(snapshot, level, int(nodes[row - start[which]]), what, kind)


def every_page(snapshot: Snapshot, array: int, last: int) -> NDArray[np.void]:
    """The pages of a level as commits up to one (`last`) see them, in order of their numbers and then of age."""
    with snapshot.reading() as index:
        parts = [
            decode_pages(payload, u64.unpack(key[:8])[0])
            for key, payload in index.scan(Table.PAGES + u32.pack(array))
            if u64.unpack(key[-8:])[0] <= last
        ]
    return np.concatenate([np.empty(0, PAGE_DTYPE), *parts])


def every_piece(snapshot: Snapshot, array: int) -> NDArray[np.void]:
    """The kept pixels of all tiles as this commit or any before it sees them, in order of the tiles."""
    with snapshot.reading() as index:
        parts = [
            decode_pieces(payload, u64.unpack(key[:8])[0])
            for key, payload in _until(snapshot, index, Table.PIECES + u32.pack(array))
        ]
    return np.unique(np.concatenate([np.empty(0, PIECE_DTYPE), *parts]))


def _pieces(snapshot: Snapshot) -> Iterator[Problem]:
    """Kept pixels that some commit sees, against their checksums and against the sizes of their tiles."""
    with snapshot.reading() as index:
        array = pixels_array(index, snapshot.commit)
    if array is None:
        return
    pieces = every_piece(snapshot, array)
    layout, rows = snapshot.layout(array), snapshot.state(array).rows
    shapes = _shapes(snapshot, pieces["tile"].astype(np.int64))
    for (tile, start, size, wanted), shape in zip(pieces.tolist(), shapes, strict=True):
        if start + size > rows:
            yield at_image_node(snapshot, 1, tile, "its kept pixels lie behind all there are", "pixels")
            continue
        try:
            packed = committed_rows(snapshot.store, array, layout, start, start + size, snapshot.commit).tobytes()
        except (CorruptError, OSError) as error:
            yield at_image_node(snapshot, 1, tile, f"its kept pixels are lost: {error}", "chunk")
            continue
        if crc32c(packed) != wanted:
            yield at_image_node(snapshot, 1, tile, "its kept pixels are not those that were committed", "pixels")
        elif shape is not None:
            try:
                check_pixels(packed, *shape)
            except CorruptError as error:
                yield at_image_node(snapshot, 1, tile, f"its {error}".partition(";")[0], "pixels")


def _shapes(
    snapshot: Snapshot, tiles: NDArray[np.int64]
) -> Iterator[tuple[tuple[int, int, int], np.dtype[np.generic]] | None]:
    """Of each tile, given in ascending order, the `(h, w, c)` and the type of its pixels.

    None of those whose image is not finished, or has no record that can be read, which is said elsewhere.
    """
    places, types = snapshot.gallery.places.ever, _types(snapshot)
    owners = places.at(tiles * IMAGE.width(1))
    ends = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)] if len(owners) else []
    for first, stop in itertools.pairwise(ends):
        graft = places.grafts[owners[first]] if owners[first] >= 0 else None
        dtype = None if graft is None else types.get(int(graft["document"]))
        if graft is None or dtype is None:
            yield from itertools.repeat(None, stop - first)
            continue
        raster = Raster(int(graft["height"]), int(graft["width"]))
        boxes = raster.boxes(1, tiles[first:stop] - int(graft["base"]) // IMAGE.width(1))
        for x0, y0, x1, y1 in boxes.tolist():
            yield (y1 - y0, x1 - x0, int(graft["channels"])), dtype


def _types(snapshot: Snapshot) -> dict[int, np.dtype[np.generic]]:
    """The types of the pixels of all images that this commit or any before it sees, by their documents' numbers."""
    found = dict[int, np.dtype[np.generic]]()
    with snapshot.reading() as index:
        for key, payload in _until(snapshot, index, Table.IMAGE):
            if payload:
                with suppress(CorruptError):
                    found[u64.unpack(key[:8])[0]] = np.dtype(ImageRecord.decode(payload).dtype)
    return found


def _structure(snapshot: Snapshot, image: Image) -> Iterator[Problem]:
    """Each level of a live image against its neighbours.

    Every node but the root has one above it.  A node counts the pixels of those below it and was made from overviews if
    one of them was; only one that was made from an overview has none below it.
    """
    arrays = snapshot.gallery.statistics_arrays(image.channels)
    if len(arrays) <= image.root or not image.find(image.root, np.array([image.first(image.root)])).present[0]:
        yield Problem(f"image {image.id}", "has no root", "image", source=name_of(snapshot, image.id))
        return
    for level in range(image.root + 1):
        first, stop = image.first(level), image.first(level) + IMAGE.width(image.root) // IMAGE.width(level)
        for pages in snapshot.gallery.pages.pages(arrays[level], first, stop):
            nodes = set_bits(pages["page"].astype(np.int64), np.ascontiguousarray(pages["present"]))
            nodes = nodes[(nodes >= first) & (nodes < stop)]
            if level < image.root:
                above = image.find(level + 1, nodes // IMAGE.fanout(level)).present
                for node in nodes[~above].tolist():
                    yield at_image_node(snapshot, level, node, "has no node above it", "image")
            if level:
                yield from _families(snapshot, image, level, nodes)


def _families(snapshot: Snapshot, image: Image, level: int, nodes: NDArray[np.int64]) -> Iterator[Problem]:
    """Nodes of a level that exist against those below them."""
    fanout = IMAGE.fanout(level - 1)
    children = (nodes[:, None] * fanout + np.arange(fanout)).reshape(-1)
    below, rows = image.find(level - 1, children), image.rows(level - 1, children)[1]
    found, mine = image.find(level, nodes), image.rows(level, nodes)[1][:, 0]
    summed = np.add.reduce(rows[:, 0].reshape(-1, fanout), axis=1)
    some, coarse = (part.reshape(-1, fanout).any(axis=1) for part in (below.present, below.overview))
    for wrong, what in (
        (~some & ~found.overview, "has no nodes below it, though it was not made from an overview"),
        (some & (np.abs(summed - mine) > _ROUNDED * mine), "does not have as many pixels as the nodes below it"),
        (some & (coarse != found.overview), "does not say of overviews what the nodes below it say"),
    ):
        for node in nodes[wrong].tolist():
            yield at_image_node(snapshot, level, node, what, "image")
