"""How do levels above the tiles come to be?  Each from the one below, a bounded number of nodes at a time.

Whether an image was just ingested or a part of it changed: the parents of all nodes that changed are made anew from
what their children say now, level by level up to the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE
from mctree.storage.rows import distinct
from mctree.tree.images.book import Book
from mctree.tree.images.families import Family
from mctree.tree.images.pages import set_bits
from mctree.tree.images.patches import Coder, Nodes, merged

__all__ = ["raise_levels"]

_FANOUT = IMAGE.fanout(1)
_PARENTS_AT_ONCE = 1 << 12


def raise_levels(
    book: Book,
    base: int,
    root: int,
    statistics: Family,
    coders: Sequence[tuple[Coder, Family]],
    tiles: NDArray[np.int64] | None,
    checkpoint: Callable[[], None],
    *,
    gists_only: bool = False,
) -> None:
    """Make every node above the tiles of an image that changed.

    Args:
        book: what the next commit says.
        base: the image's first position.
        root: the level of its root.
        statistics: the arrays of its statistics.
        coders: the gist sets that are to have gists of it, and their arrays.
        tiles: the tiles that changed, ascending, in the arena; None: all there are.
        checkpoint: called now and then; may commit.
        gists_only: statistics are there already.
    """
    width = IMAGE.width(root)
    for level in range(2, root + 1):
        first, stop = base // IMAGE.width(level - 1), (base + width) // IMAGE.width(level - 1)
        below = book.array(statistics, level - 1)
        batches = _all(book, below, first, stop) if tiles is None else _some(tiles)
        changed = [np.empty(0, np.int64)]
        for parents in batches:
            _raise(book, level, parents, statistics, coders, gists_only=gists_only)
            if tiles is not None:
                changed.append(parents)
            checkpoint()
        if tiles is not None:
            tiles = np.concatenate(changed)


def _all(book: Book, array: int, first: int, stop: int) -> Iterator[NDArray[np.int64]]:
    """The parents of all nodes [first, stop) of a level that exist, in order; all children of one are in a group."""
    for pages in book.pages(array, first, stop):
        nodes = set_bits(pages["page"].astype(np.int64), pages["present"])
        nodes = nodes[(nodes >= first) & (nodes < stop)]
        if len(nodes):
            yield distinct(nodes // _FANOUT)


def _some(nodes: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    parents = distinct(nodes // _FANOUT)
    return (parents[at : at + _PARENTS_AT_ONCE] for at in range(0, len(parents), _PARENTS_AT_ONCE))


def _raise(
    book: Book,
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
    # A node is known to be empty where all of its children are; what lies outside the image is not known of at all.
    every: NDArray[np.bool_] = np.logical_and.reduce(found.empty.reshape(-1, _FANOUT), axis=1)
    empty = every[np.searchsorted(parents, gone)]
    if not gists_only:
        book.put(book.array(statistics, level), made.index, made.statistics, gone, empty)
    for (_, family), rows in zip(coders, made.gists, strict=True):
        book.put(book.array(family, level), made.index, rows, gone, empty)
