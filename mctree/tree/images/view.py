"""How do other tools get to see an image?  Its colours, written as an OME-Zarr image that any of them opens.

The image is shown a sixteenth as large: the finest samples are mean colours of patches.  Every level is half as large
as the one before, as such tools expect; between patches and tiles there are two that a tree does not have, made of the
patches' sums.  All means are those of the real pixels, each counted once, rounded to the image's own type.  Where an
image is coarse, its finer levels have no samples: chunks without any are not written, and read as 0.

It is a copy, made when somebody asks for it and of one commit: so it costs a store nothing, and is not kept up with.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.ngff import chunk_name, view_array, view_group
from mctree.geometry import IMAGE, PATCH, morton
from mctree.sources.images import Box
from mctree.storage.creation import making
from mctree.storage.files import make_directory, replace_file
from mctree.tree.images.colours import Colours
from mctree.tree.images.pages import set_bits

if TYPE_CHECKING:
    from mctree.tree.images.image import Image
    from mctree.tree.snapshot import Snapshot

__all__ = ["write_view"]

_SIDE = 256
"""Samples on a side of a chunk."""
_MOST_CHUNKS = 10**6
_BETWEEN = (1, 2, 4)
"""By how much smaller than the patches levels are shown that have nothing but patches to be made of."""


def write_view(
    snapshot: Snapshot, image: Image, path: str, progress: Callable[[int, int], None] | None = None
) -> list[int]:
    """Write the colours of an image as an OME-NGFF 0.5 image.

    Args:
        snapshot: of which commit.
        image: which.
        path: its folder; nothing may be there.
        progress: called after each chunk with (chunks done, chunks in which there may be samples).

    Returns:
        For each level, how many pixels of the image are a side of one sample.  Levels of more than a million chunks are
        left out: of a gigantic image there are the coarser ones.

    Raises:
        StoreExistsError: something is at `path`.
    """
    levels = [level for level in _levels(image) if _chunks(image, level[2]) <= _MOST_CHUNKS]
    factors = [factor for _, _, factor in levels]
    dtype = image.dtype.name
    done, every = 0, 0
    if progress is not None:
        every = sum(1 for level, step, _ in levels for _ in _there(snapshot, image, level, step))
    with making(path) as (at, _):
        replace_file("zarr.json", view_group(image.name, dtype, image.channels, factors), at, sync=False)
        for number, (level, step, factor) in enumerate(levels):
            shape = image.channels, -(-image.height // factor), -(-image.width // factor)
            chunk = image.channels, _SIDE, _SIDE
            make_directory(str(number), at)
            replace_file(f"{number}/zarr.json", view_array(dtype, shape, chunk), at, sync=False)
            for row, column in _there(snapshot, image, level, step):
                data = _samples(image, level, step, row, column)
                if data is not None:  # the image is not coarser here
                    name = f"{number}/{chunk_name(row, column)}"
                    folder = os.path.dirname(name)
                    parts = folder.split("/")
                    for i in range(2, len(parts) + 1):
                        make_directory("/".join(parts[:i]), at)
                    replace_file(name, gzip.compress(data.tobytes(), 5, mtime=0), at, sync=False)
                done += 1
                if progress is not None:
                    progress(done, every)
    return factors


def _levels(image: Image) -> Iterator[tuple[int, int, int]]:
    """What is shown: (level of the tree, how many of its nodes are a side of a sample, pixels a side)."""
    for step in _BETWEEN:
        yield 0, step, PATCH * step
    for level in range(1, image.root + 1):
        yield level, 1, image.raster.side(level)


def _chunks(image: Image, factor: int) -> int:
    side = factor * _SIDE
    return -(-image.height // side) * -(-image.width // side)


def _there(snapshot: Snapshot, image: Image, level: int, step: int) -> Iterator[tuple[int, int]]:
    """The rows and columns of chunks that hold a sample."""
    side = image.raster.side(level) * step * _SIDE
    above = next((one for one in range(1, image.root + 1) if image.raster.side(one) >= side), None)
    if above is None or above == image.root:
        columns, rows = -(-image.width // side), -(-image.height // side)
        yield from ((row, column) for row in range(rows) for column in range(columns))
        return
    first = image.first(above)
    stop = first + IMAGE.width(image.root) // IMAGE.width(above)
    for pages in snapshot.gallery.pages.pages(snapshot.gallery.statistics_arrays(image.channels)[above], first, stop):
        nodes = set_bits(pages["page"].astype(np.int64), np.ascontiguousarray(pages["present"]))
        x, y = morton.decode(nodes[(nodes >= first) & (nodes < stop)] - first)
        yield from zip(y.tolist(), x.tolist(), strict=True)


def _samples(image: Image, level: int, step: int, row: int, column: int) -> NDArray[Any] | None:
    """The samples of one chunk, `[c, 256, 256]`, 0 where there are none; None if there are none at all."""
    rows, columns = image.raster.grid(level)
    side = _SIDE * step
    region = Box(column * side, row * side, min((column + 1) * side, columns), min((row + 1) * side, rows))
    found = image.colour(level, region)
    if not found.mask.any():
        return None
    if step > 1:
        sums, pixels = found.sums, found.pixels
        edges = [range(0, size, step) for size in pixels.shape]
        sums = np.add.reduceat(np.add.reduceat(sums, edges[0], axis=0), edges[1], axis=1)
        pixels = np.add.reduceat(np.add.reduceat(pixels, edges[0], axis=0), edges[1], axis=1)
        found = Colours(sums, pixels)
    mean = found.mean
    chunk = np.zeros((_SIDE, _SIDE, image.channels), image.dtype.newbyteorder("<"))
    chunk[: mean.shape[0], : mean.shape[1]] = np.rint(mean)
    return np.ascontiguousarray(np.moveaxis(chunk, -1, 0))
