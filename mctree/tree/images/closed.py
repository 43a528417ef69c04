"""Where does an image end before its patches?  At the nodes that were made from an overview and have nothing below."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE, Raster
from mctree.sources.images import Box
from mctree.tree.images.pages import Located

__all__ = ["closed_nodes"]

_AT_ONCE = 1 << 16


def closed_nodes(
    find: Callable[[int, NDArray[np.int64]], Located],
    base: int,
    root: int,
    within: tuple[Raster, Box] | None = None,
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The closed nodes of an image, found from its root down, at a cost that follows from what came of overviews.

    Args:
        find: says of nodes of a level, by their indices in the arena, which have a row, and which from an overview.
        base: the image's first position.
        root: the level of its root.
        within: the image, and a box of its pixels: only nodes that meet it.

    Yields:
        Levels, descending, and the nodes of each that are closed, some at a time, ascending.
    """
    nodes = np.array([base // IMAGE.width(root)], np.int64)
    for level in range(root, 0, -1):
        found = find(level, nodes)
        nodes = nodes[found.present & found.overview]
        if within is not None:
            nodes = nodes[_meets(*within, level, nodes - base // IMAGE.width(level))]
        if not len(nodes):  # as in any image that was read as a whole, at its root
            return
        below = [np.empty(0, np.int64)]
        for at in range(0, len(nodes), _AT_ONCE):
            some = nodes[at : at + _AT_ONCE]
            fanout = IMAGE.fanout(level - 1)
            children = (some[:, None] * fanout + np.arange(fanout)).reshape(-1)
            there = find(level - 1, children).present
            closed = ~there.reshape(-1, fanout).any(axis=1)
            if closed.any():
                yield level, some[closed]
            below.append(children[there])
        nodes = np.concatenate(below)


def _meets(raster: Raster, box: Box, level: int, code: NDArray[np.int64]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = raster.boxes(level, code).T
    there: NDArray[np.bool_] = (x0 < box.x1) & (box.x0 < x1) & (y0 < box.y1) & (box.y0 < y1)
    return there
