"""mctree's pyramids of images, behind the protocol of the benchmark, by the public interface alone.

Each call makes a store and adds the image to it: counts, sums and sums of squares of every patch, tile and node above,
exact and durable; with the vectors of the built-in encoder beside them, or without.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.ours import KIND, NAME
from tools.bench.peers import About
from tools.bench.peers.protocol import library
from tools.bench.sizes import Sizes

__all__ = ["MctreePyramid"]


class MctreePyramid:
    """A store of one image, whose pixels it does not keep."""

    tolerance = 1e-9

    def __init__(self, sizes: Sizes, *, vectors: bool) -> None:
        self._vectors = vectors
        said = "count, Σ, Σ² of every node" + (", vectors of 48 numbers" if vectors else "") + "; stored, durable"
        self.about = About(NAME if vectors else f"{NAME}, colours alone", KIND, said, loads=("mctree.tree",))
        self._pixels = np.zeros((0, 0, 3), np.uint8)
        self._store = Path()

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """Keep it."""
        self._pixels, self._store = pixels, folder / "pyramid.mctree"

    def make(self) -> None:
        """A store in place of that of the last call."""
        shutil.rmtree(self._store, ignore_errors=True)
        with library("mctree").create(self._store) as tree:
            if self._vectors:
                tree.build_gists(library("mctree.encoders").CosineEncoder(self._pixels.shape[2]), "cosine")
            with tree.writer() as writer:
                writer.add_image("image", self._pixels, keep_pixels=0)

    def means(self) -> NDArray[np.float64]:
        """Of tiles."""
        with library("mctree").open(self._store, writable=False) as tree, tree.snapshot() as snapshot:
            found: NDArray[np.float64] = snapshot.image("image").colour(1).mean
        return found
