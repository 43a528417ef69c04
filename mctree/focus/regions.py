"""How does one look at a part of an image?  By a lens that wants it in full, the way down to it, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus.ground import BLOCK, TILE
from mctree.focus.lens import Look
from mctree.sources.images import Box

if TYPE_CHECKING:
    from mctree.tree import Image

__all__ = ["RegionLens"]


class RegionLens:
    """The tiles of an image that meet a region, at LOD0, however many these are.

    Args:
        image: of any snapshot in which it lies where it lies in what is looked at.
        region: in pixels; None: all of it.

    Raises:
        UsageError: the region is none, or reaches beyond the image.
    """

    def __init__(self, image: Image, region: Box | None = None) -> None:
        whole = Box(0, 0, image.width, image.height)
        if region is not None and (not isinstance(region, Box) or not whole.holds(region)):
            raise UsageError(f"a region of this image is a Box within {whole}, not {region!s:.80}")
        self._region = whole if region is None else region
        self._slot = image.block * BLOCK
        self._raster = image.raster
        self._first = [image.first(level) for level in range(image.root + 1)]

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`: 1 over a tile that meets the region, 0 at one, -1 elsewhere."""
        entries = look.entries
        above = (entries.space == 0) & (entries.level > 0)
        wished = np.where(above & (entries.start <= self._slot) & (self._slot < entries.stop), 1.0, -1.0)
        mine = np.flatnonzero((entries.space > 0) & (entries.slot == self._slot))
        level = np.maximum(entries.level[mine], 1)
        index = np.where(entries.level[mine] > 0, entries.index[mine], entries.index[mine] // TILE)
        region = self._region
        for one in set(level.tolist()):
            some = mine[level == one]
            left, top, right, bottom = self._raster.boxes(one, index[level == one] - self._first[one]).T
            meets = (left < region.x1) & (region.x0 < right) & (top < region.y1) & (region.y0 < bottom)
            wished[some] = np.where(meets, np.where(entries.level[some] > 0, 1.0, 0.0), -1.0)
        return wished
