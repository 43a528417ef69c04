"""How is a TIFF, a BigTIFF or a cloud-optimised GeoTIFF an image?  By its first directory, or the one asked for.

Its smaller sizes are its levels: directories that it points at, or that follow it and say that they are reduced (as in
cloud-optimised files, and in Aperio's slides, which do not say so).  One counts if it is as large as the image divided
by a power of two, rounded up or down, and of the same kind of pixels; others are not looked at.  A size that was
rounded down lacks the last row or column, which then is masked.

The image is given upright, as its orientation says.  Turned round, a smaller size of an image that cannot be divided
evenly would no longer lie pixel by pixel over the larger, so such sizes are left out then.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import tifffile

from mctree.errors import SourceError, UsageError
from mctree.sources.files import OpenFile
from mctree.sources.images.local import FileSource, FileStream, damage_named
from mctree.sources.images.mosaic import levels_among
from mctree.sources.images.orientation import inverse, stored_box, swaps_sides, turnable, upright
from mctree.sources.images.protocol import Box, Pixels, level_box
from mctree.sources.images.tiff_directory import main_directories
from mctree.sources.images.tiff_image import TiffImage
from mctree.sources.names import shown

__all__ = ["TiffSource"]

_REDUCED = 1
_MASK = 4
_LARGE_PIECE = 1 << 21
"""Pixels of a compressed tile above which several readers of one image would decode most tiles more than once."""
_MOST_SIZES = 64
_PLAIN: dict[str, Any] = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}
"""No maker's own ways of laying out a file are looked for."""


class TiffSource(FileSource):
    """An image in a TIFF file.

    Args:
        opened: the file; it is closed with the source.
        page: which of its images, counted from 0.
        max_pixels: the most that one read gives, or that a piece of a compressed image may have.

    Raises:
        SourceError: it is damaged, or stored in a way that cannot be read.
        UsageError: it has no such page.
    """

    def __init__(self, opened: OpenFile, *, page: int | None = None, max_pixels: int) -> None:
        name = shown(opened.file.path)
        self._opened = opened
        self.name = name
        wanted = page or 0
        with damage_named(name, "TIFF"):
            pages = main_directories(self._bytes, opened.file.stamp.size)
            if not 0 <= wanted < pages:
                raise UsageError(f"{name} has no page {wanted}: its {pages} are counted from 0")
            with tifffile.TiffFile(io.BufferedReader(FileStream(opened)), **_PLAIN) as parsed:
                main = parsed.pages[wanted]
                assert isinstance(main, tifffile.TiffPage)
                first = TiffImage(main, self._bytes, name, max_pixels)
                others: list[TiffImage] = []
                for smaller in _reduced(parsed, main, wanted, pages):
                    with suppress(SourceError):
                        image = TiffImage(smaller, self._bytes, name, max_pixels)
                        if (image.channels, image.dtype) == (first.channels, first.dtype):
                            others.append(image)
                found = levels_among(first, others)
                tag = main.tags.valueof(274, default=1)
                self._orientation = tag if turnable(tag) else 1
        layout = first.layout
        turned = swaps_sides(self._orientation)
        if self._orientation != 1:
            found = {k: image for k, image in found.items() if layout.height % k == layout.width % k == 0}
        levels = tuple(sorted(found))
        self._images = [found[level] for level in levels]
        height, width = (layout.width, layout.height) if turned else (layout.height, layout.width)
        rows_only = not first.tiled and first.whole_pieces and not turned
        self.costly_copies = first.whole_pieces and layout.piece_height * layout.piece_width > _LARGE_PIECE
        super().__init__(
            opened,
            {"page": page or None},
            height,
            width,
            first.channels,
            first.dtype,
            levels=levels,
            access="rows" if rows_only else "random",
            max_pixels=max_pixels,
        )

    def _read(self, box: Box, level: int) -> Pixels:
        pixels = self._images[level].read(self._stored(box, level))
        if self._orientation == 1:
            return pixels
        mask = None if pixels.mask is None else upright(pixels.mask, self._orientation).copy()
        return Pixels(upright(pixels.values, self._orientation).copy(), mask)

    def _covered(self, box: Box, level: int) -> Iterator[Box]:
        image = self._images[level]
        for found in image.covered(self._stored(box, level)):
            yield stored_box(found, inverse(self._orientation), image.layout.height, image.layout.width)

    def _stored(self, box: Box, level: int) -> Box:
        whole = level_box(self, level)
        return stored_box(box, self._orientation, whole.height, whole.width)


def _reduced(
    parsed: tifffile.TiffFile, main: tifffile.TiffPage, wanted: int, pages: int
) -> Iterator[tifffile.TiffPage]:
    """The directories that may hold an image's smaller sizes."""
    candidates: list[Any] = list(main.pages or ()) if main.subifds else []
    for number in range(wanted + 1, min(pages, wanted + 1 + _MOST_SIZES)):
        page = parsed.pages[number]
        assert isinstance(page, tifffile.TiffPage)
        if page.subfiletype & _REDUCED or main.is_svs or page.subfiletype & _MASK:
            candidates.append(page)
        else:
            break
    for page in candidates[:_MOST_SIZES]:
        if isinstance(page, tifffile.TiffPage) and not page.subfiletype & _MASK:
            yield page
