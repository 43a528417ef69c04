"""How are PNG, JPEG, WebP, GIF and BMP read?  By Pillow, whole, at the first read, within a limit.

What pixels become:

    stored                                          given
    1 bit                                           1 channel: 0 or 255
    grey, RGB of 8 bits, with alpha or without      as they are; alpha is the last channel, not multiplied in
    palette, or one colour marked as transparent    RGB, or RGBA (grey: with alpha) if anything can be transparent
    CMYK, YCbCr                                     RGB by Pillow's own formula, which knows no colour profiles
    grey of 16 bits                                 uint16
    colour or alpha of 16 bits (PNG)                uint16, by imagecodecs, as Pillow would drop 8 of them
    an animation                                    its first frame

They come upright, as EXIF says.  Colour profiles are not applied.

The header is read when the image is opened, and an image with more pixels than the limit is refused then, before a
decoder has taken memory for it.  Formats are told by their first bytes, and each goes to its own decoder: Pillow's
limit for all of a process is neither needed nor changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

import imagecodecs
import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from mctree.errors import SourceError
from mctree.sources.files import OpenFile
from mctree.sources.images.local import FileSource, FileStream, damage_named
from mctree.sources.images.orientation import exif_orientation, swaps_sides, upright
from mctree.sources.images.protocol import Box, Pixels, PixelType, PixelValues
from mctree.sources.images.sniffing import Kind, kind_of_bytes
from mctree.sources.images.stated import webp_size
from mctree.sources.names import shown

__all__ = ["Picture", "PictureSource"]

_OPENERS: dict[Kind, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
_TAKEN_AS: dict[str, tuple[str, str]] = {  # mode: what it is converted to, and if something is transparent
    "1": ("L", "LA"),
    "L": ("L", "LA"),
    "LA": ("LA", "LA"),
    "P": ("RGB", "RGBA"),
    "PA": ("RGBA", "RGBA"),
    "RGB": ("RGB", "RGBA"),
    "RGBA": ("RGBA", "RGBA"),
    "CMYK": ("RGB", "RGB"),
    "YCbCr": ("RGB", "RGB"),
}
_DEEP = ("I;16", "I;16B", "I;16L")
_HEAD = 64
_LONGEST = 1 << 32
"""Bytes of a file: what sizes in WebP and BMP files can say.  Whoever wants to know it again reads it whole."""


class Picture:
    """An encoded picture whose header was read.

    Args:
        stream: its bytes, from the start; they are read again by `decode`, and not closed.
        name: of where it came from, printable.
        max_pixels: refuse more.

    Attributes:
        height: in pixels, upright, as what follows.
        width: in pixels.
        channels: values of each pixel.
        dtype: `uint8` or `uint16`.

    Raises:
        SourceError: it is damaged, too large, or of a kind that cannot be read without loss.
    """

    def __init__(self, stream: BinaryIO, name: str, max_pixels: int) -> None:
        self._stream = stream
        self._name = name
        head = stream.read(_HEAD)
        stream.seek(0)
        kind = kind_of_bytes(head)
        if kind not in _OPENERS:
            raise SourceError(f"{name} is no picture of a kind that can be read: {', '.join(sorted(_OPENERS))}")
        self._what = f"{kind.upper()} picture"
        if kind == "webp":  # its decoder takes memory for all pixels before it says how many there are
            with damage_named(name, self._what):
                stated = webp_size(head)
            self._limit(*stated, max_pixels)
        with damage_named(name, self._what):
            self._image = _OPENERS[kind](stream)
            width, height = self._image.size
        self._limit(width, height, max_pixels)
        mode = self._image.mode
        transparent = "transparency" in self._image.info or (mode == "P" and self._image.has_transparency_data)
        self._deep = kind == "png" and head[24:25] == b"\x10" and (head[25:26] != b"\0" or transparent)
        self._taken_as = mode
        self.dtype: PixelType = np.dtype(np.uint8)
        if self._deep:
            self.channels = {0: 1, 2: 3, 4: 2, 6: 4}[head[25]] + (head[25] in (0, 2) and transparent)
            self.dtype = np.dtype(np.uint16)
        elif mode in _DEEP:
            self.channels = 1
            self.dtype = np.dtype(np.uint16)
        elif mode in _TAKEN_AS:
            self._taken_as = _TAKEN_AS[mode][transparent]
            self.channels = len(self._taken_as)
        else:
            raise SourceError(f"{name} holds pixels of Pillow's mode {mode}: convert it to RGB or grey")
        exif = self._image.info.get("exif", b"")
        self._orientation = exif_orientation(exif) if isinstance(exif, bytes) else 1
        self.height, self.width = (width, height) if swaps_sides(self._orientation) else (height, width)

    def decode(self) -> PixelValues:
        """All pixels, `[height, width, channels]`; call it once.

        Raises:
            SourceError: it is damaged or cut short.
        """
        with damage_named(self._name, self._what):
            if self._deep:
                values = self._decode_deep()
            else:
                self._image.load()
                values = np.asarray(self._image.convert(self._taken_as) if self._converts() else self._image)
            values = upright(values.reshape(*values.shape[:2], self.channels), self._orientation)
            if values.shape[:2] != (self.height, self.width):
                raise ValueError(f"it has {values.shape[1]} × {values.shape[0]} pixels, and says otherwise")
            return np.ascontiguousarray(values, dtype=self.dtype)

    def _converts(self) -> bool:
        return self._taken_as != self._image.mode

    def _decode_deep(self) -> PixelValues:
        self._stream.seek(0)
        values: PixelValues = imagecodecs.png_decode(self._stream.read())
        return values

    def _limit(self, width: int, height: int, most: int) -> None:
        if width * height > most:
            raise SourceError(
                f"{self._name} is {width} × {height} pixels, which are decoded all at once: "
                f"allow {width * height} pixels (max_pixels, --max-pixels), or make a tiled TIFF of it"
            )


class PictureSource(FileSource):
    """A file that holds one picture.

    Args:
        opened: the file; it is closed with the source.
        max_pixels: refuse more.

    Raises:
        SourceError: as `Picture`; or the file is longer than one picture can be.
    """

    costly_copies = True
    """Each would decode all of it."""

    def __init__(self, opened: OpenFile, *, max_pixels: int) -> None:
        if opened.file.stamp.size > _LONGEST:
            raise SourceError(
                f"{shown(opened.file.path)} has {opened.file.stamp.size} bytes: a picture has {_LONGEST} at most"
            )
        self._picture: Picture | None = Picture(
            io.BufferedReader(FileStream(opened)), shown(opened.file.path), max_pixels
        )
        self._values: PixelValues | None = None
        picture = self._picture
        super().__init__(
            opened, {}, picture.height, picture.width, picture.channels, picture.dtype, max_pixels=max_pixels
        )

    def _read(self, box: Box, level: int) -> Pixels:
        if self._values is None:
            assert self._picture is not None
            self._values = self._picture.decode()
            self._picture = None
            self._opened.confirm()
        return Pixels(self._values[box.slices].copy())

    def _close(self) -> None:
        self._values = self._picture = None
        super()._close()
