"""What does an image look like, seen through nodes of mixed levels?  A picture of a region, from their colours alone.

Each pixel of the picture is looked up: which patch of the image lies there, which node stands for that patch, and what
the node shows there.  So the cost is that of the picture, whatever the image's size; nodes may be of any levels, and
where none stands for a patch the picture shows paper.

Pure functions of arrays, but for `save`, which needs Pillow (the extra `picture`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mctree.cli.pillow import pillow, require_format
from mctree.errors import UsageError
from mctree.geometry import IMAGE, PATCH, Raster, morton
from mctree.sources.images import Box

__all__ = ["PAPER", "fitting", "paint", "save", "suitable_level"]

PAPER = (236, 235, 230)
"""The colour of what does not exist."""
_LINE = 0.55
"""How bright an outline is, as a part of what lies under it."""
_LARGEST = 1 << 26
"""Samples of one picture."""


def paint(
    raster: Raster,
    level: NDArray[np.integer],
    index: NDArray[np.int64],
    colours: NDArray[np.floating],
    region: Box,
    size: tuple[int, int],
    *,
    samples: int = 2,
    outlines: bool = False,
) -> NDArray[np.uint8]:
    """Paint a region of an image.

    Args:
        raster: the image.
        level: `[n]`, those of the nodes.
        index: `int64 [n]`, theirs, relative to the image, in Z-order: no node's span begins before the last one's end.
        colours: what they show: `[n, c]`, one colour each, or `[n, s, s, c]`, cells from the upper left one; parts of
            the largest value.  One or two channels are shown as grey, of others the first three as red, green, blue.
        region: which part of the image, in pixels.
        size: rows and columns of the picture.
        samples: each pixel is the mean of so many squared, so that nodes smaller than it do not flicker.
        outlines: draw a line where one node ends and another begins.

    Returns:
        `uint8 [rows, columns, 3]`.

    Raises:
        UsageError: the nodes overlap or are out of order, the region is not within the image, or the picture would be
            too large.
    """
    if not Box(0, 0, raster.width, raster.height).holds(region):
        raise UsageError(f"{region} is not within an image of {raster.width} × {raster.height} pixels")
    rows, columns = size
    if min(rows, columns, samples) < 1 or rows * columns * samples**2 > _LARGEST:
        raise UsageError(f"a picture of {columns} × {rows} pixels with {samples} × {samples} samples each is too large")
    starts, stops = IMAGE.span(level, index)
    if (starts[1:] < stops[:-1]).any():
        raise UsageError("the nodes to paint overlap, or are not in Z-order")
    x, y = _places(region.x0, region.x1, columns * samples), _places(region.y0, region.y1, rows * samples)
    zero = np.zeros(1, np.int64)
    position = morton.encode(zero, y // PATCH)[:, None] | morton.encode(x // PATCH, zero)
    node = np.searchsorted(starts, position, side="right") - 1
    found = (node >= 0) & (position < np.append(stops, 0)[node])
    seen = np.broadcast_to(np.array(PAPER, np.float32), (*position.shape, 3)).copy()
    seen[found] = _shown(raster, level, index, colours, node, found, x, y)
    if outlines:
        node = np.where(found, node, -1)
        edge = np.zeros(node.shape, np.bool_)
        edge[:, 1:] |= node[:, 1:] != node[:, :-1]
        edge[1:] |= node[1:] != node[:-1]
        seen[edge] *= _LINE
    picture = np.rint(seen.reshape(rows, samples, columns, samples, 3).mean(axis=(1, 3)))
    painted: NDArray[np.uint8] = picture.astype(np.uint8)
    return painted


def fitting(region: Box, longest: int) -> tuple[int, int]:
    """Rows and columns of the picture of a region whose longer side has so many pixels."""
    scale = longest / max(region.height, region.width)
    return max(round(region.height * scale), 1), max(round(region.width * scale), 1)


def suitable_level(raster: Raster, region: Box, size: tuple[int, int], cells: int = 1) -> int:
    """The coarsest level whose nodes, or their cells, are no larger than a pixel of the picture; 0 if there is none.

    Args:
        raster: the image.
        region: which part of it is shown.
        size: rows and columns of the picture.
        cells: on a side of each node.
    """
    pixel = min(region.height / size[0], region.width / size[1])
    fitting_ones = [level for level in range(raster.root + 1) if raster.side(level) <= pixel * cells]
    return max(fitting_ones, default=0)


def save(picture: NDArray[np.uint8], path: str) -> None:
    """Write a picture into a file; its ending says in which format.

    Raises:
        UsageError: Pillow is not installed, or knows no such format.
    """
    require_format(path)
    pillow().fromarray(picture).save(path)


def _places(first: int, stop: int, count: int) -> NDArray[np.int64]:
    """The pixels of the image in which the middles of so many equal parts of a side lie."""
    # In whole numbers: positions in an image of 2**31 pixels times twice the samples of a picture stay below 2**63.
    middles = (2 * np.arange(count, dtype=np.int64) + 1) * (stop - first) // (2 * count)
    return first + middles


def _shown(
    raster: Raster,
    level: NDArray[np.integer],
    index: NDArray[np.int64],
    colours: NDArray[np.floating],
    node: NDArray[np.intp],
    found: NDArray[np.bool_],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
) -> NDArray[np.float32]:
    """What the nodes show at the samples that were found, `float32 [found, 3]`, 0 … 255."""
    cells = colours[:, None, None, :] if colours.ndim == 2 else colours
    if len(cells) != len(index) or cells.ndim != 4 or cells.shape[1] != cells.shape[2]:
        raise UsageError(f"colours of {len(index)} nodes are [n, c] or [n, s, s, c], not {list(colours.shape)}")
    shown = [0, 0, 0] if cells.shape[3] < 3 else [0, 1, 2]
    rgb = np.clip(cells[..., shown].astype(np.float32), 0, 1) * np.float32(255)
    side = np.array([raster.side(one) for one in range(raster.root + 1)])[level]
    boxes = raster.boxes(level, index)
    of, across = node[found], cells.shape[1]
    row, column = np.nonzero(found)
    cell_y = (y[row] - boxes[of, 1]) * across // side[of]
    cell_x = (x[column] - boxes[of, 0]) * across // side[of]
    seen: NDArray[np.float32] = rgb[of, cell_y, cell_x]
    return seen
