"""How far is an image read?  It tells while it is read, and lets Ctrl-C strike between two reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mctree.ingest.interrupts import Held
from mctree.sources.images import Access, Box, ImageSource, Pixels
from mctree.tree.images.overviews import Version, version_for

__all__ = ["BYTES_A_BYTE", "Watched"]

BYTES_A_BYTE = 8
"""So many bytes of pixels count as one of text: they cost about as much to read, and to hold until a commit."""


class Watched:
    """An image that tells how far it was read.

    Args:
        source: the image.
        size: bytes of input.
        advance: told of bytes of input while they are read.
        held: the block that reads run in.

    Attributes:
        size: as given.
        costly_copies: as the image says.
        advanced: bytes of input that were told of: as large a part of them as of the pixels was read.
        pixels: that were read.
        one_pixel: its bytes.
    """

    def __init__(self, source: ImageSource, size: int, advance: Callable[[int], None], held: Held) -> None:
        self.uri, self.height, self.width = source.uri, source.height, source.width
        self.channels, self.dtype, self.levels = source.channels, source.dtype, source.levels
        self.access: Access = source.access
        self.costly_copies = bool(getattr(source, "costly_copies", False))
        self.fingerprint = source.fingerprint
        self.one_pixel = source.channels * np.dtype(source.dtype).itemsize
        self.advanced = self.pixels = 0
        self._source = source
        self.size = size
        self._advance = advance
        self._held = held

    @property
    def weight(self) -> int:
        """How many bytes of text what was read of it counts as."""
        return self.pixels * self.one_pixel // BYTES_A_BYTE

    def probe(self, region: Box | None, finest: int) -> None:
        """Read a pixel of what is wanted, if there are any: of a picture that is decoded in one piece, that takes all.

        Args:
            region: what is wanted, in pixels at full size; None: all of it.
            finest: the level down to which: the size of the image that this is made from is looked at.

        Raises:
            SourceError: it cannot be read.
        """
        k = version_for(self, finest) if finest else 0
        version = Version(self, k)
        within = version.box if region is None else version.inside(region)
        found = next(self._source.covered(within, k), None)
        if found is not None:
            self._source.read(Box(found.x0, found.y0, found.x0 + 1, found.y0 + 1), k)

    def read(self, box: Box, level: int = 0) -> Pixels:
        """The pixels of a box."""
        self._held.allow()
        pixels = self._source.read(box, level)
        self._count(box)
        return pixels

    def was_read(self, box: Box, level: int = 0) -> None:
        """A copy of the image has read a box: see `Watching`."""
        self._held.allow()
        self._count(box)

    def _count(self, box: Box) -> None:
        self.pixels += box.area
        whole = self.height * self.width
        share = self.size * min(self.pixels, whole) // whole - self.advanced
        self.advanced += share
        self._advance(share)

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """Where in a box there may be pixels."""
        return self._source.covered(box, level)

    def close(self) -> None:
        """Whoever opened the source closes it."""

    def __reduce__(self) -> tuple[object, ...]:
        # Nobody watches a copy in another process: it is the image alone.
        return _itself, (self._source,)


def _itself(source: ImageSource) -> ImageSource:
    return source
