"""How do small square tiles, numbered by zoom, column and row, make an image?  As web maps lay them out.

Zoom `z` is a square of `2**z` tiles a side, of which any may be missing; column 0 is at the left, row 0 at the top.
The image is the finest zoom that there is, and the coarser ones are its levels.  Where the tiles come from is an
*archive*: a PMTiles or MBTiles file, or a folder.

All tiles must have one size, and their pixels are given with one number of channels:

* If the caller names none, it is what any tile of the kind of the first one can have: 3 for JPEG and BMP, 4 for the
  others, which know transparency.
* A tile that has fewer is widened (grey to three equal values, full alpha added), which loses nothing.  One that has
  more is narrowed only where that loses nothing, and is an error otherwise.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from mctree.errors import SourceError, UsageError
from mctree.sources.images.bounded import Bounded
from mctree.sources.images.folder_names import TILE_SIDES
from mctree.sources.images.local import reopening
from mctree.sources.images.mosaic import Layout, assembled
from mctree.sources.images.pictures import Picture
from mctree.sources.images.protocol import LARGEST_SIDE, Box, Pixels, PixelValues
from mctree.sources.images.recent import Recent
from mctree.sources.images.sniffing import SNIFFED, kind_of_bytes

__all__ = ["MOST_TILE_BYTES", "Archive", "Cells", "TilePyramid"]

MOST_TILE_BYTES = 1 << 25
"""No tile is longer, encoded."""

_OPAQUE = ("jpeg", "bmp")
_MOST_TRIED = 16
"""Tiles that are looked at for one that is a picture."""

Cells = tuple[int, int, int, int]
"""Tiles `[c0, c1) × [r0, r1)` of a zoom: `c0, r0, c1, r1`."""


class Archive(Protocol):
    """Where tiles come from."""

    @property
    def name(self) -> str:
        """Of the archive, printable."""
        ...

    @property
    def zooms(self) -> tuple[int, ...]:
        """The zooms of which there may be tiles, the finest first; at least one."""
        ...

    @property
    def fingerprint(self) -> str:
        """See `ImageSource`."""
        ...

    @property
    def in_one_file(self) -> bool:
        """Whether a look at one file makes its fingerprint, and not one at every tile."""
        ...

    def tile(self, zoom: int, column: int, row: int) -> bytes | None:
        """A tile, encoded, of at most `MOST_TILE_BYTES`; None if there is none.

        Raises:
            SourceError: the archive is damaged, or changed since it was opened.
        """
        ...

    def covered(self, zoom: int, cells: Cells) -> Iterator[Cells]:
        """Which of some tiles there are, as rectangles that share none; at a cost that follows from their number.

        Raises:
            SourceError: the archive is damaged, or changed since it was opened.
        """
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class TilePyramid(Bounded):
    """An archive of tiles as one image.

    Args:
        archive: it is closed with the source, also if this fails.
        uri: of the image.
        channels: values of each pixel, 1 to 4; None for what the first tile suggests.
        max_pixels: the most that one read gives.

    Attributes:
        side: pixels of each tile, on either side.

    Raises:
        SourceError: the archive is empty, damaged or deeper than an image can be, or its tiles are no square pictures.
        UsageError: no image can have so many channels.
    """

    def __init__(self, archive: Archive, uri: str, *, channels: int | None, max_pixels: int) -> None:
        self._archive = archive
        self._recent: Recent[tuple[int, int, int], PixelValues] = Recent()
        if channels is not None and not 1 <= channels <= 4:
            raise UsageError(f"tiles can be given with 1 to 4 channels, not with {channels}")
        zooms = archive.zooms
        first, sample = self._first()
        if sample.width != sample.height or sample.width not in TILE_SIDES:
            raise SourceError(
                f"{archive.name}: its first tile is {sample.width} × {sample.height} pixels; tiles are square, and "
                f"{TILE_SIDES[0]}, {TILE_SIDES[1]}, {TILE_SIDES[2]} … or {TILE_SIDES[-1]} pixels a side"
            )
        self.side = sample.width
        if self.side << zooms[0] > LARGEST_SIDE:
            raise SourceError(
                f"{archive.name} reaches zoom {zooms[0]}, with tiles of {self.side} pixels: an image ends at "
                f"{LARGEST_SIDE} pixels a side, which is zoom {(LARGEST_SIDE // self.side).bit_length() - 1}"
            )
        if channels is None:
            channels = 3 if kind_of_bytes(first) in _OPAQUE else 4
        side = self.side << zooms[0]
        levels = tuple(1 << (zooms[0] - zoom) for zoom in zooms)
        super().__init__(uri, side, side, channels, sample.dtype, levels=levels, max_pixels=max_pixels)

    @property
    def fingerprint(self) -> str:
        """Of the archive."""
        return self._archive.fingerprint

    def _first(self) -> tuple[bytes, Picture]:
        """The beginning of some tile of the finest zoom that has one, and its header.

        A tile that is no picture is an error when it is read, and one of the next ones says what tiles are like.
        """
        archive = self._archive
        damage: list[SourceError] = []
        for zoom in archive.zooms:
            for column, row, _, _ in archive.covered(zoom, (0, 0, 1 << zoom, 1 << zoom)):
                data = archive.tile(zoom, column, row)
                if data is not None:
                    name = _tile_name(archive, zoom, column, row)
                    try:
                        return data[:SNIFFED], Picture(io.BytesIO(data), name, TILE_SIDES[-1] ** 2)
                    except SourceError as error:
                        damage.append(error)
                if len(damage) == _MOST_TRIED:
                    raise damage[0]
        raise damage[0] if damage else SourceError(f"{archive.name} holds no tiles")

    def _layout(self, level: int) -> Layout:
        side = self.side << self._archive.zooms[level]
        return Layout(side, side, self.side, self.side)

    def _read(self, box: Box, level: int) -> Pixels:
        zoom = self._archive.zooms[level]

        def fetch(row: int, column: int, part: Box) -> PixelValues | None:
            tile = self._tile(zoom, column, row)
            return None if tile is None else tile[part.slices]

        return assembled(box, self._layout(level), self.channels, self.dtype, fetch)

    def _covered(self, box: Box, level: int) -> Iterator[Box]:
        r0, r1, c0, c1 = self._layout(level).cells(box)
        for left, top, right, bottom in self._archive.covered(self._archive.zooms[level], (c0, r0, c1, r1)):
            tiles = Box(left * self.side, top * self.side, right * self.side, bottom * self.side).common(box)
            if tiles is not None:
                yield tiles

    def _tile(self, zoom: int, column: int, row: int) -> PixelValues | None:
        held = self._recent.get((zoom, column, row))
        if held is not None:
            return held
        data = self._archive.tile(zoom, column, row)
        if data is None:
            return None
        name = _tile_name(self._archive, zoom, column, row)
        picture = Picture(io.BytesIO(data), name, TILE_SIDES[-1] ** 2)
        if (picture.height, picture.width, picture.dtype) != (self.side, self.side, self.dtype):
            raise SourceError(
                f"{name} is {picture.width} × {picture.height} pixels of {picture.dtype.name}, where the first one is "
                f"{self.side} × {self.side} of {self.dtype.name}: make all of one size and depth"
            )
        values = _with_channels(picture.decode(), self.channels)
        if values is None:
            raise SourceError(
                f"{name} has {picture.channels} channels, which {self.channels} cannot hold: open the archive with "
                f"channels=4"
            )
        self._recent.put((zoom, column, row), values)
        return values

    def __reduce__(self) -> tuple[object, ...]:
        return reopening(self, self.max_pixels, self.fingerprint if self._archive.in_one_file else None)

    def _close(self) -> None:
        self._recent.clear()
        self._archive.close()


def _tile_name(archive: Archive, zoom: int, column: int, row: int) -> str:
    return f"{archive.name}: tile {zoom}/{column}/{row}"


def _with_channels(values: PixelValues, channels: int) -> PixelValues | None:
    """The same pixels in another number of channels, 1 to 4 each (grey or colour, without or with alpha).

    Returns:
        `[h, w, channels]`; None if something would be lost.
    """
    have = values.shape[2]
    if have == channels:
        return values
    full = np.iinfo(values.dtype).max
    colour = values[:, :, : 1 if have < 3 else 3]
    alpha = values[:, :, -1:] if have % 2 == 0 else np.full_like(values[:, :, :1], full)
    if channels % 2 and not (alpha == full).all():
        return None
    if channels < 3 and colour.shape[2] == 3:
        grey = colour[:, :, :1]
        if not (colour == grey).all():
            return None
        colour = grey
    elif channels >= 3 and colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    return colour if channels % 2 else np.concatenate((colour, alpha), axis=2)
