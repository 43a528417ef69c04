"""How do levels above the tiles come to be?  Each from the one below, a bounded number of nodes at a time.

Whether an image was just ingested, or a part of it changed or became finer: the parents of all nodes that changed are
made anew from what their children say now, level by level up to the root.

What was made from an overview taints what is above it: a node is marked as such if a child is.  And of what was looked
at, the children of a node are known all at once or not at all: those that a tainted parent does not have are marked as
empty, so that nobody takes them for nodes that are yet to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mctree.format.images import ImageRecord
from mctree.geometry import IMAGE, Raster
from mctree.storage.rows import distinct
from mctree.tree.images.book import Book
from mctree.tree.images.families import Family
from mctree.tree.images.pages import set_bits
from mctree.tree.images.patches import Coder, Nodes, merged

__all__ = ["raise_changed", "raise_levels"]

_FANOUT = IMAGE.fanout(1)
_PARENTS_AT_ONCE = 1 << 12


def raise_levels(
    book: Book,
    record: ImageRecord,
    statistics: Family,
    coders: Sequence[tuple[Coder, Family]],
    checkpoint: Callable[[], None],
    *,
    lowest: int = 1,
    gists_only: bool = False,
) -> None:
    """Make every node above those of a level that an image has.

    Args:
        book: what the next commit says.
        record: of the image.
        statistics: the arrays of its statistics.
        coders: the gist sets that are to have gists of it, and their arrays.
        checkpoint: called now and then; may commit.
        lowest: the level of the nodes that are there, 1 or more.
        gists_only: statistics are there already.
    """
    width = IMAGE.width(record.level)
    for level in range(lowest + 1, record.level + 1):
        first, stop = record.base // IMAGE.width(level - 1), (record.base + width) // IMAGE.width(level - 1)
        for parents in _all(book, book.array(statistics, level - 1), first, stop):
            _raise(book, record, level, parents, statistics, coders, gists_only=gists_only)
            checkpoint()


def raise_changed(
    book: Book,
    record: ImageRecord,
    statistics: Family,
    coders: Sequence[tuple[Coder, Family]],
    changed: Mapping[int, NDArray[np.int64]],
    *,
    top: int | None = None,
    gists_only: bool = False,
) -> None:
    """Make every node anew that is above some which changed.

    Args:
        book: what the next commit says.
        record: of the image.
        statistics: the arrays of its statistics.
        coders: the gist sets that are to have gists of it, and their arrays.
        changed: nodes by their level, 1 or more, in the arena.
        top: the highest level that is made; that of the root if None.
        gists_only: statistics are there already.
    """
    below = np.empty(0, np.int64)
    for level in range(2, (record.level if top is None else top) + 1):
        below = distinct(np.concatenate([below, changed.get(level - 1, below[:0])]))
        parents = distinct(below // _FANOUT)
        for some in _batches(parents):
            _raise(book, record, level, some, statistics, coders, gists_only=gists_only)
        below = parents


def _all(book: Book, array: int, first: int, stop: int) -> Iterator[NDArray[np.int64]]:
    """The parents of all nodes [first, stop) of a level that exist, in order; all children of one are in a group."""
    for pages in book.pages(array, first, stop):
        nodes = set_bits(pages["page"].astype(np.int64), pages["present"])
        nodes = nodes[(nodes >= first) & (nodes < stop)]
        if len(nodes):
            yield distinct(nodes // _FANOUT)


def _batches(parents: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    return (parents[at : at + _PARENTS_AT_ONCE] for at in range(0, len(parents), _PARENTS_AT_ONCE))


def _raise(
    book: Book,
    record: ImageRecord,
    level: int,
    parents: NDArray[np.int64],
    statistics: Family,
    coders: Sequence[tuple[Coder, Family]],
    *,
    gists_only: bool,
) -> None:
    below = (parents[:, None] * _FANOUT + np.arange(_FANOUT)).reshape(-1)
    found = book.find(book.array(statistics, level - 1), below)
    index = below[found.present]
    gists = tuple(
        book.rows(array, book.find(array, index).row)
        for array in (book.array(family, level - 1) for _, family in coders)
    )
    children = Nodes(index, book.rows(book.array(statistics, level - 1), found.row[found.present]), gists)
    made = merged(level, children, [coder for coder, _ in coders])
    gone = np.setdiff1d(parents, made.index, assume_unique=True)
    tainted: NDArray[np.bool_] = np.logical_or.reduce(found.overview.reshape(-1, _FANOUT), axis=1)
    overview = tainted[np.searchsorted(parents, made.index)]
    # A node is known to be empty where all of its children are, or lie outside; what nobody looked at is not known of.
    inside, seen = _places(record, level - 1, below)
    every: NDArray[np.bool_] = np.logical_and.reduce((found.empty | ~inside).reshape(-1, _FANOUT), axis=1)
    empty = every[np.searchsorted(parents, gone)]
    missing = below[~found.present & ~found.empty & seen & np.repeat(tainted, _FANOUT)]
    if len(missing) and not gists_only:
        book.mark_empty(book.array(statistics, level - 1), missing)
    families = [family for _, family in coders]
    for family, rows in zip(
        families if gists_only else [statistics, *families],
        made.gists if gists_only else [made.statistics, *made.gists],
        strict=True,
    ):
        book.put(book.array(family, level), made.index, rows, gone, empty, overview=overview)


def _places(record: ImageRecord, level: int, index: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which nodes meet the image, and which of these lie within the part that was looked at: `bool [n]`."""
    left, top, right, bottom = Raster(record.height, record.width).boxes(level, index - _first(record, level)).T
    x0, y0, x1, y1 = record.region
    inside = (left < right) & (top < bottom)
    return inside, inside & (x0 <= left) & (right <= x1) & (y0 <= top) & (bottom <= y1)


def _first(record: ImageRecord, level: int) -> int:
    return record.base // IMAGE.width(level)
