"""What kind of image is at a path?  Its first bytes, or the names in it if it is a folder, say it.

What reads a kind may need a library that is not installed; it is asked for only when an image of that kind is met.
"""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from mctree.errors import SourceError, UsageError
from mctree.sources.files import OpenFile, RegularFile
from mctree.sources.images.bounded import MOST_PIXELS, Bounded
from mctree.sources.images.folder_names import holds_tiles, holds_zarr
from mctree.sources.images.local import open_local
from mctree.sources.images.protocol import OpenedImage
from mctree.sources.images.sniffing import SNIFFED, kind_of_bytes
from mctree.sources.images.uris import Path, parsed, require_nameable
from mctree.sources.names import failure, shown
from mctree.sources.protocol import Skipped
from mctree.sources.records import shown_text

__all__ = ["open_file", "open_image"]


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reads a kind.

    Attributes:
        module: in this package; it may need libraries.
        name: of the function or class in it.
        options: that it takes.
    """

    module: str
    name: str
    options: tuple[str, ...] = ()

    def get(self, path: bytes) -> Callable[..., Bounded]:
        """Load it."""
        try:
            module = import_module(f"mctree.sources.images.{self.module}")
        except ImportError as error:
            raise UsageError(
                f"{shown(path)} needs {error.name}, which is not installed: pip install 'mctree[images]'"
            ) from error
        reader: Callable[..., Bounded] = getattr(module, self.name)
        return reader


_PICTURE = _Reader("pictures", "PictureSource")
_READERS: Mapping[str, _Reader] = {
    "bmp": _PICTURE,
    "gif": _PICTURE,
    "jpeg": _PICTURE,
    "png": _PICTURE,
    "webp": _PICTURE,
    "tiff": _Reader("tiff", "TiffSource", ("page",)),
    "pmtiles": _Reader("archives", "open_pmtiles", ("channels",)),
    "sqlite": _Reader("archives", "open_mbtiles", ("channels",)),
}
_FOLDER_TILES = _Reader("archives", "open_folder", ("channels",))
_ZARR = _Reader("zarr_source", "ZarrSource", ("inner", "axes", "t", "z"))
_NUMBERS = ("page", "channels", "t", "z")


def open_image(
    path_or_uri: Path,
    *,
    max_pixels: int = MOST_PIXELS,
    page: int | None = None,
    channels: int | None = None,
    inner: str | None = None,
    axes: str | None = None,
    t: int | None = None,
    z: int | None = None,
) -> OpenedImage:
    """Open an image on this machine's disk, of whatever kind it is.

    Args:
        path_or_uri: a file (PNG, JPEG, WebP, GIF, BMP, TIFF, BigTIFF, PMTiles, MBTiles), a folder (Zarr, OME-Zarr,
            tiles as `zoom/column/row.png`), or the `uri` of an image that was open before.
        max_pixels: the most that one read may give, or that is decoded in one piece.
        page: of a TIFF file: which image, counted from 0.
        channels: of an archive of tiles: values of each pixel, 1 to 4.
        inner: of a Zarr hierarchy: the path of the image in it.
        axes: of a Zarr array that does not say it: a letter for each, such as `cyx`.
        t: of a Zarr array: which of the moments, counted from 0.
        z: of a Zarr array: which of the planes, counted from 0.

    Raises:
        SourceError: it does not exist, is damaged, is of a kind that cannot be read, or has more than 16 GiB of holes.
        UsageError: an option does not apply to it or makes no sense; a library is needed, which the message names.
    """
    max_pixels = _number("max_pixels", max_pixels)
    if max_pixels < 1:
        raise UsageError(f"max_pixels is a number of pixels, 1 or more, and not {max_pixels}")
    path, named = parsed(path_or_uri)
    asked = {"page": page, "channels": channels, "inner": inner, "axes": axes, "t": t, "z": z}
    given = {key: _given(key, value) for key, value in asked.items() if value is not None}
    if twice := sorted(set(named) & set(given)):
        raise UsageError(f"the option {twice[0]} is given, and is in the URI as well: leave out one")
    options = {**_converted(named), **given}
    for value in options.values():
        if isinstance(value, str):
            require_nameable(value)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        why = failure(error) if isinstance(error, OSError) else "no path can be called so"
        raise SourceError(f"{shown(path)} cannot be opened: {why}") from error
    if stat.S_ISDIR(status.st_mode):
        reader = _folder_reader(path)
        _check_options(path, reader, options)
        return reader.get(path)(path, **options, max_pixels=max_pixels)
    return _of_file(open_local(path), options, max_pixels)


def open_file(file: RegularFile, *, max_pixels: int = MOST_PIXELS) -> Bounded:
    """Open a file that was found as an image, if it still is what was seen.

    Args:
        file: as it was when it was listed.
        max_pixels: see `open_image`.

    Raises:
        SourceError: it changed, is damaged, is of a kind that cannot be read, or has more than 16 GiB of holes.
        UsageError: a library is needed, which the message names.
    """
    opened = file.open()
    if isinstance(opened, Skipped):
        raise SourceError(f"{shown(file.path)} {opened.reason}: run again when it is at rest")
    return _of_file(opened, {}, max_pixels)


def _of_file(opened: OpenFile, options: Mapping[str, Any], max_pixels: int) -> Bounded:
    """The image in an open file, which is closed with it."""
    path = opened.file.path
    try:
        opened.require_dense()
        reader = _file_reader(opened)
        _check_options(path, reader, options)
        return reader.get(path)(opened, **options, max_pixels=max_pixels)
    except BaseException:
        opened.close()
        raise


def _folder_reader(path: bytes) -> _Reader:
    if holds_zarr(path):
        return _ZARR
    if holds_tiles(path):
        return _FOLDER_TILES
    raise SourceError(f"{shown(path)} is a folder that holds neither Zarr arrays nor tiles, as zoom/column/row.png")


def _file_reader(opened: OpenFile) -> _Reader:
    kind = kind_of_bytes(opened.read_at(0, SNIFFED))
    if kind is None:
        raise SourceError(
            f"{shown(opened.file.path)} is no image of a kind that can be read: PNG, JPEG, WebP, GIF, BMP, TIFF, "
            f"PMTiles, MBTiles"
        )
    return _READERS[kind]


def _check_options(path: bytes, reader: _Reader, options: Mapping[str, Any]) -> None:
    for option in options:
        if option not in reader.options:
            fits = f"give {' or '.join(reader.options)}" if reader.options else "give none"
            raise UsageError(f"{shown(path)} takes no option '{shown_text(option)}': {fits}")


def _number(option: str, value: object) -> int:
    try:
        return int(operator.index(cast("int", value)))
    except TypeError:
        raise UsageError(f"{option} is a whole number, not {type(value).__name__}") from None


def _given(option: str, value: object) -> int | str:
    """An option that the caller has named, if it is of the type that it has to be."""
    if option in _NUMBERS:
        return _number(option, value)
    if not isinstance(value, str):
        raise UsageError(f"{option} is a text, not {type(value).__name__}")
    return value


def _converted(named: Mapping[str, str]) -> dict[str, Any]:
    """The options of a URI."""
    options: dict[str, Any] = dict(named)
    for key in _NUMBERS:
        if key in options:
            text = named[key]
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise UsageError(f"the option {key} of a URI is a number, not '{shown(text.encode())}'")
            options[key] = int(text)
    return options
