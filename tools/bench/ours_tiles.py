"""mctree's images, behind the protocol of tiles, by the public interface alone.

Pixels are those that the store keeps, in pieces of 128 × 128; the means of 16 × 16 are the colours of level 0, exact
ones, rounded as the other contenders store them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.ours import KIND, NAME
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["MctreeTiles"]


class MctreeTiles:
    """A store of one image, whose pixels it keeps."""

    about = About(NAME, KIND, "zlib of differences, pieces of 128 × 128, checksums; Image.pixels, Image.colour(0)")

    def __init__(self, sizes: Sizes) -> None:
        pass

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """Add the image; its coarser levels are made of it."""
        with library("mctree").create(folder / "store") as tree, tree.writer() as writer:
            writer.add_image("image", levels[0], keep_pixels=levels[0].nbytes)

    def open(self, folder: Path) -> _Reader:
        """A snapshot of the newest commit."""
        tree = library("mctree").open(folder / "store", writable=False)
        return _Reader(tree, tree.snapshot())


class _Reader:
    def __init__(self, tree: Any, snapshot: Any) -> None:
        self._tree, self._snapshot = tree, snapshot
        self._image = snapshot.image("image")
        self._box = library("mctree.sources.images").Box

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """One call."""
        box = self._box(x, y, x + side, y + side)
        if level == 0:
            pixels: NDArray[np.uint8] = self._image.pixels(box).values
            return pixels
        colours: NDArray[np.uint8] = np.rint(self._image.colour(0, box).mean).astype(np.uint8)
        return colours

    def close(self) -> None:
        """Let go of the snapshot and the store."""
        self._snapshot.close()
        self._tree.close()
