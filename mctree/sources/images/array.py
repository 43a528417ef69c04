"""How is an array in memory an image?  As it is: `[h, w]` or `[h, w, c]`, with a mask if some of it is not real."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.cores import at_once
from mctree.errors import UsageError
from mctree.sources.images.bounded import MOST_PIXELS, Bounded
from mctree.sources.images.protocol import Box, Pixels, PixelValues

__all__ = ["ArraySource"]

_BAND = 1 << 20
"""Bytes of pixels that are digested as one, by one thread."""


class ArraySource(Bounded):
    """An array as an image; it is not copied, and must not change while it is read.

    Args:
        values: `uint8` or `uint16`, `[h, w]` (one channel) or `[h, w, c]`; strided and memory-mapped arrays will do.
        mask: `bool [h, w]`, False where there is no pixel; what `values` holds there is not looked at.
        uri: what a store is to record of where it came from.
        max_pixels: the most that one read gives.

    Raises:
        UsageError: the array or its mask has another shape or dtype.
        SourceError: it is empty.
    """

    costly_copies = True
    """Each would have all of its pixels."""

    def __init__(
        self,
        values: NDArray[Any],
        mask: NDArray[np.bool_] | None = None,
        *,
        uri: str = "array:",
        max_pixels: int = MOST_PIXELS,
    ) -> None:
        values = np.asarray(values)
        if values.ndim not in (2, 3) or values.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
            raise UsageError(
                f"an image is uint8 or uint16 [height, width] or [height, width, channels], "
                f"not {values.dtype.name} {list(values.shape)}"
            )
        if values.ndim == 2:
            values = values[:, :, np.newaxis]
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != values.shape[:2]):
            raise UsageError(
                f"the mask of this image is bool {list(values.shape[:2])}, not {mask.dtype.name} {list(mask.shape)}"
            )
        height, width, channels = values.shape
        super().__init__(uri, height, width, channels, values.dtype, max_pixels=max_pixels)
        self._values: NDArray[Any] = values
        self._mask = mask

    @cached_property
    def fingerprint(self) -> str:
        """BLAKE2b-128 of shape and type and of the digests of bands of rows, made at its first use, by all cores."""
        digest = hashlib.blake2b(repr((self._values.shape, self.dtype.name)).encode(), digest_size=16)
        rows = max(_BAND // max(self._values[:1].nbytes, 1), 1)
        bands = [Box(0, top, self.width, min(top + rows, self.height)) for top in range(0, self.height, rows)]
        for part in at_once(self._digest, bands):
            digest.update(part)
        return digest.hexdigest()

    def _digest(self, band: Box) -> bytes:
        # Without a mask, pixels are digested where they lie.
        part = Pixels(self._values[band.slices]) if self._mask is None else self._read(band, 0)
        digest = hashlib.blake2b(digest_size=16)
        digest.update(b"all" if part.mask is None else np.packbits(part.mask).data)
        digest.update(part.values.astype(self.dtype, order="C", copy=False).data)
        return digest.digest()

    def _read(self, box: Box, level: int) -> Pixels:
        values: PixelValues = self._values[box.slices].astype(self.dtype, order="C")
        if self._mask is None or (mask := self._mask[box.slices].copy()).all():
            return Pixels(values)
        values[~mask] = 0
        return Pixels(values, mask)
