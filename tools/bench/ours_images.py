"""mctree's pyramids of images, behind the protocol of the benchmark.

The image goes through in blocks, as ingest hands it over.  Colours are exact: counts, sums and sums of squares of every
patch, tile and node above; vectors are those of the built-in encoder beside them.  Nothing is stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.ours import KIND, NAME
from tools.bench.peers import About
from tools.bench.sizes import Sizes

__all__ = ["MctreePyramid"]

_BLOCK_LEVEL = 4
"""Blocks of 8 × 8 tiles: 1,024 pixels square."""


class MctreePyramid:
    """Blocks in Z-order through a builder."""

    tolerance = 1e-9

    def __init__(self, sizes: Sizes, *, vectors: bool) -> None:
        self._vectors = vectors
        said = "count, Σ, Σ² of every node" + (", and vectors of 48 numbers" if vectors else "")
        self.about = About(NAME if vectors else f"{NAME}, colours alone", KIND, said)
        self._pixels = np.zeros((0, 0, 3), np.uint8)
        self._tiles: list[Any] = []

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """Keep it."""
        self._pixels = pixels

    def make(self) -> None:
        """All blocks, one by one."""
        from mctree.encoders import CosineEncoder  # noqa: PLC0415 - a process that measures a peer must not load it
        from mctree.encoders.pyramid import BlockBuilder  # noqa: PLC0415
        from mctree.geometry import Raster, intervals  # noqa: PLC0415

        height, width, channels = self._pixels.shape
        raster = Raster(height, width)
        encoder = CosineEncoder(channels) if self._vectors else None
        builder = BlockBuilder(raster, channels, self._pixels.dtype, encoder)
        level = min(_BLOCK_LEVEL, raster.root)
        blocks = intervals.points(raster.nodes(level))
        made = []
        for index, (x0, y0, x1, y1) in zip(blocks.tolist(), raster.boxes(level, blocks).tolist(), strict=True):
            made += builder.add(level, index, self._pixels[y0:y1, x0:x1])
        made += builder.finish()
        self._tiles = [rows for rows in made if rows.level == 1]

    def means(self) -> NDArray[np.float64]:
        """Of tiles, put where they belong."""
        from mctree.geometry import morton  # noqa: PLC0415

        height, width, channels = self._pixels.shape
        found = np.zeros((height // 128, width // 128, channels))
        for rows in self._tiles:
            x, y = morton.decode(rows.index)
            found[y, x] = rows.statistics.mean
        return found
