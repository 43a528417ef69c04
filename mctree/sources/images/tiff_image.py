"""How are the pixels of one TIFF directory read?  Piece by piece: tiles, or strips as wide as the image.

What pixels become:

    stored                                   given
    grey, RGB, any number of 8- or 16-bit samples, alpha among them      as they are
    1 bit                                    0 or 255
    grey where 0 is white                    turned round, so that more is brighter
    palette                                  RGB; uint8 if the palette's 16 bits say no more than 8 do
    YCbCr in JPEG                            RGB, by the decoder

Pieces that are not compressed are not read whole: of a strip a thousand million pixels wide, only what a box wants is.
Compressed ones are, so their size is limited, and so is what a decoder may make of their bytes.  A piece without bytes,
as sparse files have, is one without pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import imagecodecs  # noqa: F401  # without it, tifffile decodes some kinds itself, and without limits
import numpy as np
import tifffile
from numpy.typing import NDArray

from mctree.errors import SourceError
from mctree.sources.images.local import damage_named
from mctree.sources.images.mosaic import Layout, assembled
from mctree.sources.images.protocol import LARGEST_SIDE, Box, Pixels, PixelValues
from mctree.sources.images.recent import Recent
from mctree.sources.images.stated import check_jpeg_tables, jpeg_size, webp_size

__all__ = ["TiffImage"]

_NONE, _JPEG, _WEBP = 1, 7, 50001
_READ = {2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000, _WEBP}
"""CCITT of three kinds, LZW, JPEG, Deflate by two numbers, PackBits, LZMA, Zstandard, WebP."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_WIDENED = 4
_HEADERS = 1 << 16
"""A piece may be stored in this many times the bytes of its pixels, and so many more, but not longer."""


class TiffImage:
    """One directory.

    Args:
        page: of the library; its file must be open still.
        read: gives bytes from a place of the file on, exactly so many.
        name: printable.
        max_pixels: refuse pieces that have more, where they are decoded whole.

    Attributes:
        layout: of the pieces.
        channels: values of each pixel.
        dtype: of the values.
        whole_pieces: pieces are decoded whole.
        tiled: they are tiles.

    Raises:
        SourceError: it is damaged, or stored in a way that cannot be read.
    """

    def __init__(self, page: tifffile.TiffPage, read: Callable[[int, int], bytes], name: str, max_pixels: int) -> None:
        self._read = read
        self._name = name
        self._recent: Recent[int, PixelValues] = Recent()
        height, width, samples = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
        self.tiled = bool(page.is_tiled)
        rows, columns = (int(page.tilelength), int(page.tilewidth)) if self.tiled else (int(page.rowsperstrip), width)
        self._require(
            1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE,
            f"is {width} × {height} pixels: an image has 1 to {LARGEST_SIDE} on each side",
        )
        self._require(rows > 0 and columns > 0, "has pieces without pixels")
        self._require(page.imagedepth == 1 and page.tiledepth in (0, 1), "is more than one image deep: split it")
        self.layout = Layout(height, width, rows, columns)
        self._bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
        self._photometric = int(page.photometric)
        self._compression = int(page.compression)
        self._check_form(page, samples)
        self._planes = samples if int(page.planarconfig) == 2 and samples > 1 else 1
        self._samples = samples // self._planes
        raw = self._bits in (8, 16) and self._compression == _NONE and page.predictor == 1 and page.fillorder == 1
        self.whole_pieces = not raw
        self._stored = np.dtype(f"{page.parent.byteorder}u{max(self._bits, 8) // 8}")
        self._palette = self._colours(page)
        self.channels = samples if self._palette is None else 3
        self.dtype = np.dtype(f"=u{self._stored.itemsize}") if self._palette is None else self._palette.dtype
        self._offsets = np.array(page.dataoffsets, np.int64)
        self._sizes = np.array(page.databytecounts, np.int64)
        wanted = self._planes * self.layout.rows * self.layout.columns
        self._require(
            len(self._offsets) == len(self._sizes) == wanted, f"has {len(self._offsets)} pieces and needs {wanted}"
        )
        self._require(bool((self._offsets >= 0).all() and (self._sizes >= 0).all()), "has pieces before its beginning")
        if self.whole_pieces:
            self._prepare(page, max_pixels)

    def read(self, box: Box) -> Pixels:
        """The pixels of a box; what lies beyond the image is masked."""
        return assembled(box, self.layout, self.channels, self.dtype, self._part)

    @property
    def complete(self) -> bool:
        """Whether every piece has bytes."""
        return bool((self._sizes > 0).all())

    def covered(self, box: Box) -> Iterator[Box]:
        """What of a box lies in pieces that have bytes."""
        r0, r1, c0, c1 = self.layout.cells(box)
        there = self._sizes.reshape(self._planes, self.layout.rows, self.layout.columns)[0, r0:r1, c0:c1] > 0
        for row in np.flatnonzero(there.any(axis=1)):
            columns = np.flatnonzero(there[row])
            for run in np.split(columns, np.flatnonzero(np.diff(columns) != 1) + 1):
                first, last = (
                    self.layout.box(r0 + int(row), c0 + int(run[0])),
                    self.layout.box(r0 + int(row), c0 + int(run[-1])),
                )
                found = Box(first.x0, first.y0, last.x1, last.y1).common(box)
                if found is not None:
                    yield found

    def _check_form(self, page: tifffile.TiffPage, samples: int) -> None:
        listed = {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE} | ({_YCBCR} if self._compression == _JPEG else set())
        self._require(self._bits in (1, 8, 16), f"has samples of {page.bitspersample} bits: convert it to 8 or 16")
        self._require(page.sampleformat in (1, 4), "has samples other than unsigned integers: convert them")
        self._require(samples >= 1, "has pixels without values")
        self._require(
            self._photometric in listed, f"has pixels of kind {page.photometric!s}, uninterpreted: convert it to RGB"
        )
        self._require(page.predictor in (1, 2), f"has predictor {page.predictor!s}: store it without")
        self._require(
            self._compression == _NONE or self._compression in _READ,
            f"is compressed by {page.compression!s}: store it with Deflate, LZW, Zstandard or JPEG",
        )
        self._require(
            self._bits > 1 or samples == 1, "has more than one value of a bit for each pixel: convert it to 8 bits"
        )

    def _prepare(self, page: tifffile.TiffPage, max_pixels: int) -> None:
        area = self.layout.piece_height * self.layout.piece_width
        if area > max_pixels:
            raise SourceError(
                f"{self._name} is stored in pieces of {self.layout.piece_width} × {self.layout.piece_height} pixels, "
                f"each decoded at once: allow {area} pixels (max_pixels, --max-pixels), or make a TIFF with small "
                "tiles of it"
            )
        self._decode = cast("Callable[..., tuple[NDArray[Any] | None, Any, Any]]", page.decode)
        self._tables = page.jpegtables if self._compression == _JPEG else None
        if self._tables is not None:
            check_jpeg_tables(self._tables)

    def _colours(self, page: tifffile.TiffPage) -> PixelValues | None:
        """The colours of a palette, `[256, 3]`; None if there is none."""
        if self._photometric != _PALETTE:
            return None
        colours = np.asarray(page.colormap)
        self._require(
            self._samples == self._planes == 1 and self._bits == 8 and colours.shape == (3, 256),
            "has no palette of 256 colours for pixels of one value",
        )
        deep = colours.T.astype(np.uint16)
        # Eight bits were widened by doubling them, or by zeros.
        for narrowed, widened in ((deep >> 8, 257), (deep >> 8, 256)):
            if (narrowed * widened == deep).all():
                return narrowed.astype(np.uint8)
        return deep

    def _part(self, row: int, column: int, part: Box) -> PixelValues | None:
        """A part of a piece, as it is given."""
        planes = [self._stored_part(plane, row, column, part) for plane in range(self._planes)]
        there = [plane for plane in planes if plane is not None]
        if len(there) != len(planes):
            if there:
                raise SourceError(f"{self._name} is damaged: of some of its tiles, not all channels are there")
            return None
        values = there[0] if len(there) == 1 else np.concatenate(there, axis=2)
        if self._palette is not None:
            return cast(PixelValues, self._palette[values[:, :, 0]])
        if self._bits == 1:
            values = values.astype(np.uint8) * np.uint8(255)
        if self._photometric == _WHITE_IS_ZERO:
            values = np.iinfo(self.dtype).max - values
        return values

    def _stored_part(self, plane: int, row: int, column: int, part: Box) -> NDArray[Any] | None:
        index = self._index(plane, row, column)
        offset, size = int(self._offsets[index]), int(self._sizes[index])
        if not size:
            return None
        if self.whole_pieces:
            return self._piece(index, offset, size)[part.slices]
        pixel = self._samples * self._stored.itemsize
        line = self.layout.piece_width * pixel
        if (part.y1 - 1) * line + part.x1 * pixel > size:
            raise SourceError(f"{self._name} is damaged: piece {index} has only {size} bytes")
        if part.width == self.layout.piece_width:
            lines = [self._read(offset + part.y0 * line, part.height * line)]
        else:
            first = offset + part.x0 * pixel
            lines = [self._read(first + y * line, part.width * pixel) for y in range(part.y0, part.y1)]
        values = np.frombuffer(b"".join(lines), self._stored)
        return values.astype(self._stored.newbyteorder("="), copy=False).reshape(part.height, part.width, -1)

    def _piece(self, index: int, offset: int, size: int) -> PixelValues:
        held = self._recent.get(index)
        if held is not None:
            return held
        layout = self.layout
        area = layout.piece_height * layout.piece_width
        if size > _WIDENED * area * self._samples * self._stored.itemsize + _HEADERS:
            raise SourceError(f"{self._name} is damaged: piece {index} has {size} bytes, for {area} pixels")
        data = self._read(offset, size)
        with damage_named(self._name, "TIFF"):
            if self._compression in (_JPEG, _WEBP):
                width, height = jpeg_size(data) if self._compression == _JPEG else webp_size(data[:30])
                if width > layout.piece_width or height > layout.piece_height:
                    raise ValueError(f"piece {index} says that it is {width} × {height} pixels")
            values, _, _ = self._decode(data, index, jpegtables=self._tables)
            assert values is not None
            column = index % layout.columns
            row = index // layout.columns % layout.rows
            seen = layout.box(row, column)
            piece = cast(PixelValues, values[0])
            if piece.shape[0] < seen.height or piece.shape[1] < seen.width or piece.shape[2] != self._samples:
                raise ValueError(f"piece {index} has pixels {piece.shape}")
        self._recent.put(index, piece)
        return piece

    def _index(self, plane: int, row: int, column: int) -> int:
        return (plane * self.layout.rows + row) * self.layout.columns + column

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise SourceError(f"{self._name} {otherwise}")
