"""How do images come along into the next epoch of a store?  Row by row, as they are, without those of dead ones.

Images keep their places in the arena, so that addresses and links in it stay; what is left behind are the rows of
images that are gone and those that changes have replaced.  An ingest that was begun and is not finished begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.images import NODES_PER_PAGE
from mctree.format.keys import Table, u32, u64
from mctree.format.values import crc32c
from mctree.geometry import IMAGE
from mctree.tree.gists import gist_sets
from mctree.tree.images.book import Book
from mctree.tree.images.families import Family
from mctree.tree.images.image import Image
from mctree.tree.images.kept import read_pieces
from mctree.tree.images.noted import intact_rows
from mctree.tree.images.pages import set_bits

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot
    from mctree.tree.writer import Writer

__all__ = ["copy_images"]

_ROWS_AT_ONCE = 1 << 18
"""Rows that may wait for a commit."""
_MOST_CHANNELS = 64


def copy_images(snapshot: Snapshot, writer: Writer, block: Callable[[int], int]) -> None:
    """Copy the live images of a snapshot into an empty epoch that has their documents and gist sets already.

    Args:
        snapshot: the old epoch.
        writer: of the new one.
        block: gives the new number of a live block.

    Raises:
        CorruptError: a row is not what was committed.
    """
    book = writer.next.painter.book
    waiting = 0
    for graft in snapshot.gallery.places.grafts:
        writer.next.painter.adopt(Image(snapshot, graft).record, graft, block(int(graft["block"])))
    with snapshot.reading() as index:
        sets = gist_sets(index, snapshot.commit)
    families = [
        (snapshot.gallery.statistics_arrays(channels), book.statistics(channels))
        for channels in range(1, _MOST_CHANNELS + 1)
    ]
    families += [(record.images, book.gists(number, replace(record, images=()))) for number, record in sets.items()]
    for arrays, family in families:
        for level, array in enumerate(arrays):
            for pages in snapshot.gallery.pages.pages(array, 0, IMAGE.capacity(level)):
                waiting += _copy_group(snapshot, book, family, level, array, pages)
                if waiting >= _ROWS_AT_ONCE:
                    writer.commit(gists=False)
                    waiting = 0
    if snapshot.gallery.pixels_array is not None:
        _copy_pieces(snapshot, writer, snapshot.gallery.pixels_array)
    writer.commit(gists=False)


def _copy_group(snapshot: Snapshot, book: Book, family: Family, level: int, array: int, pages: NDArray[np.void]) -> int:
    """Copy the rows of live images that a group of pages leads to; how many that were."""
    numbers = pages["page"].astype(np.int64)
    index = _living(snapshot, level, set_bits(numbers, np.ascontiguousarray(pages["present"])))
    empty = _living(snapshot, level, set_bits(numbers, np.ascontiguousarray(pages["empty"])))
    target = book.array(family, level)
    if len(index) or len(empty):
        found = snapshot.gallery.pages.find(array, index)
        rows = intact_rows(snapshot, array, found.row)
        book.put(target, index, rows, empty, overview=found.overview)
        if found.stale.any():
            book.mark_stale(target, index[found.stale])
    return len(index)


def _living(snapshot: Snapshot, level: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some nodes of a level that belong to an image that lives."""
    return index[snapshot.gallery.places.at(index * IMAGE.width(level)) >= 0] if len(index) else index


def _copy_pieces(snapshot: Snapshot, writer: Writer, array: int) -> None:
    """Copy the kept pixels of live images."""
    with snapshot.reading() as index:
        groups = [
            u64.unpack(key[4:])[0] for key, _, _ in index.versions(Table.PIECES, snapshot.commit, u32.pack(array))
        ]
    rows, size = snapshot.rows(array), 0
    for group in groups:
        pieces = read_pieces(snapshot, array, group)
        alive = _living(snapshot, 1, pieces["tile"].astype(np.int64))
        pieces = pieces[np.isin(pieces["tile"], alive.astype(np.uint64))]
        packed = []
        for tile, start, length, wanted in pieces.tolist():
            packed.append(rows.read(start, start + length).tobytes())
            if crc32c(packed[-1]) != wanted:
                raise CorruptError(
                    f"the kept pixels of tile a1/1:{tile} are not those that were committed; restore the store from a "
                    "copy, or remove or replace that image"
                )
        if packed:
            writer.next.painter.book.keep(pieces["tile"].astype(np.int64), packed)
        size += sum(map(len, packed))
        if size >= _ROWS_AT_ONCE * NODES_PER_PAGE:
            writer.commit(gists=False)
            size = 0
