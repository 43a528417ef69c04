"""How does a gist set come to cover images that were there before it?  Block by block, from their pixels.

Where an image ends in nodes that were made from overviews, these are read again.  What is done is seen from the store
alone: a tile that has a gist in the set which is not stale is done, and so is an
image whose root has one.  So it can be broken off at any block, and what a change has made stale is made again by the
same means.

A source can say that it is what it was and show something else: a file was written anew with its old size and time.  So
what is read is compared with what the store knows of it: with the counts, sums and sums of squares of each patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import SourceError
from mctree.format.images import NODES_PER_PAGE, ImageRecord
from mctree.geometry import IMAGE
from mctree.sources.images import Box, ImageSource
from mctree.tree.images.asking import read_pixels
from mctree.tree.images.book import Book
from mctree.tree.images.closed import closed_nodes
from mctree.tree.images.families import Family
from mctree.tree.images.given import source_of
from mctree.tree.images.image import Image
from mctree.tree.images.merging import raise_levels
from mctree.tree.images.overviews import Views
from mctree.tree.images.pages import Located
from mctree.tree.images.patches import Block, Coder, Nodes, paint

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["cover"]

_ROUNDING = 1e-12
"""By how much sums of like numbers may differ, relatively, that were added up in another order."""


def cover(book: Book, snapshot: Snapshot, number: int, coder: Coder, budget: int) -> bool:
    """Make gists of a set for images that lack some, of so many blocks at most.

    Args:
        book: what the next commit says.
        snapshot: the newest commit.
        number: the set's number.
        coder: the set, and what encodes it.
        budget: blocks.

    Returns:
        Whether there may be more to do.

    Raises:
        NotFoundError: the pixels of an image are neither kept nor where they came from.
        SourceError: they cannot be read, or are no longer what was ingested.
    """
    family = book.gists(number, coder.record)
    for graft in _lacking(book, snapshot, family, coder):
        budget = _cover(book, Image(snapshot, graft), number, coder, family, budget)
        if budget <= 0:
            return True
    return False


def _lacking(book: Book, snapshot: Snapshot, family: Family, coder: Coder) -> NDArray[np.void]:
    """The images whose root has no gist in a set, or one that is out of date."""
    grafts: NDArray[np.void] = snapshot.gallery.places.grafts
    grafts = grafts[grafts["channels"] == coder.encoder.channels]
    lacking = np.ones(len(grafts), np.bool_)
    for level in sorted(set(grafts["level"].tolist())):
        if level < len(family.numbers):
            some = np.flatnonzero(grafts["level"] == level)
            roots = grafts["base"][some].astype(np.int64) // IMAGE.width(level)
            found = book.find(family.numbers[level], roots)
            lacking[some] = ~found.present | found.stale
    return grafts[lacking]


def _cover(book: Book, image: Image, number: int, coder: Coder, family: Family, budget: int) -> int:
    """Make gists of a set for one image; what is left of the budget."""
    record: ImageRecord = book.records.get(image.id) or image.record
    statistics = book.statistics(record.channels)
    with ExitStack() as stack:

        def source() -> ImageSource:
            if not opened:
                opened.append(source_of(image))
                stack.callback(opened[0].close)
            return opened[0]

        opened: list[ImageSource] = []
        for wanted in _tiles(book, image, statistics):
            there = book.find(book.array(family, 1), wanted)
            if (there.present & ~there.stale).all():
                continue
            if budget <= 0:
                return budget
            boxes = image.raster.boxes(1, wanted - image.first(1))
            box = Box(*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
            block = paint(box, read_pixels(source(), box), [coder], keep=False)
            _require_same(book, image, statistics, block.patches, wanted, level=0)
            _put(book, record.base, block, family, wanted)
            budget -= 1
        done = 0
        for level, nodes in closed_nodes(_finder(book, statistics), record.base, record.level):
            there = book.find(book.array(family, level), nodes)
            for node in nodes[~(there.present & ~there.stale)].tolist():
                if budget <= 0:
                    return budget
                part = Views(source(), [coder], keep=False).leaf(level, node - image.first(level))
                tile, overview = part.block.tiles, np.ones(1, np.bool_)
                _require_same(book, image, statistics, tile, np.array([node]), level=level)
                book.put(book.array(family, level), np.array([node]), tile.gists[0], overview=overview)
                done += 1
                budget -= done % NODES_PER_PAGE == 0
    raise_levels(book, record, statistics, [(coder, family)], lambda: None, gists_only=True)
    book.records[image.id] = replace(record, sets=tuple(sorted({*record.sets, number})))
    if "text" in coder.record.modalities:
        book.slots_changed.add(image.block)
    return budget - 1


def _tiles(book: Book, image: Image, statistics: Family) -> Iterator[NDArray[np.int64]]:
    """The tiles that an image has down to their patches, those of a page at a time."""
    first, stop = image.first(1), image.first(1) + IMAGE.width(image.root) // IMAGE.block
    for pages in book.pages(book.array(statistics, 1), first, stop):
        for page in pages["page"].tolist():
            index = np.arange(page * NODES_PER_PAGE, (page + 1) * NODES_PER_PAGE)
            index = index[(index >= first) & (index < stop)]
            found = book.find(statistics.numbers[1], index)
            if (found.present & ~found.overview).any():
                yield index[found.present & ~found.overview]


def _finder(book: Book, family: Family) -> Callable[[int, NDArray[np.int64]], Located]:
    return lambda level, index: book.find(book.array(family, level), index)


def _require_same(
    book: Book, image: Image, statistics: Family, nodes: Nodes, wanted: NDArray[np.int64], *, level: int
) -> None:
    """Make sure that what was read again is what the image was made of.

    Args:
        book: what the next commit says.
        image: as it was committed.
        statistics: their arrays.
        nodes: rows of a level, as they are made of what was read.
        wanted: the nodes of that level, or the tiles if it is 0, of which these have to be; those of others do not
            count.
        level: which.

    Raises:
        SourceError: its source shows something else.
        CorruptError: the rows in the store are not what was committed.
    """
    index, width = nodes.index + image.first(level), IMAGE.block if level == 0 else 1
    some = np.isin(index // width, wanted)
    every = (wanted[:, None] * width + np.arange(width)).reshape(-1)
    found = book.find(book.array(statistics, level), every)
    known = book.rows(book.array(statistics, level), found.row[found.present])
    # Sums over patches are whole numbers, and exact.  Those that a smaller version stands for may have been rounded,
    # in an order that is the library's own.
    tolerance = 0.0 if level == 0 else _ROUNDING
    same = np.array_equal(every[found.present], index[some])
    if not (same and np.allclose(known, nodes.statistics[some], rtol=tolerance, atol=0)):
        raise SourceError(
            f"{image.uri!r:.200} shows other pixels than those that image {image.id} was made of, though nothing else "
            "tells that it has changed: replace the image"
        )


def _put(book: Book, base: int, block: Block, family: Family, tiles: NDArray[np.int64]) -> None:
    """Put down the gists of those tiles of a block, and of their patches, that the image has."""
    for level, nodes, width in ((0, block.patches, IMAGE.block), (1, block.tiles, 1)):
        index = nodes.index + base // IMAGE.width(level)
        some = np.isin(index // width, tiles)
        book.put(book.array(family, level), index[some], nodes.gists[0][some])
