"""What kind of image may a folder be?  Its own names say it; nothing in it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mctree.errors import SourceError
from mctree.sources.names import failure, shown

__all__ = [
    "DEEPEST_ZOOM",
    "TILE_ENDINGS",
    "TILE_SIDES",
    "ZARR_NAMES",
    "holds_tiles",
    "holds_zarr",
    "is_left_behind",
    "number",
    "numbered",
    "numbered_folders",
]

ZARR_NAMES = (b"zarr.json", b".zarray", b".zgroup")
"""Files of which a Zarr array or group has one."""

DEEPEST_ZOOM = 30
"""No archive is asked for tiles beyond; with tiles of a pixel, it is as large as an image can be."""

TILE_ENDINGS = (b".png", b".jpg", b".jpeg", b".webp", b".gif", b".bmp")
"""What the name of a tile may end in."""

TILE_SIDES = tuple(1 << power for power in range(4, 13))
"""Pixels that tiles may have on either side."""

_LEFT_BEHIND = (b"Thumbs.db", b"ehthumbs.db", b"desktop.ini")
_LEFT_ENDINGS = (
    *(b".part", b".partial", b".tmp", b".temp", b".crdownload", b".download", b".aria2"),
    *(b"~", b".bak"),
    *(b".aux.xml", b".wld", b".pgw", b".jgw", b".kml"),
)
"""Of what is not finished; of editors; of what stands beside a picture."""


def holds_zarr(path: bytes) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any(os.path.lexists(os.path.join(path, name)) for name in ZARR_NAMES)


def holds_tiles(path: bytes) -> bool:
    """Whether a folder has folders that may be zooms.

    Raises:
        SourceError: it cannot be listed, or one of them is a link.
    """
    return bool(numbered_folders(path))


def number(name: bytes) -> int | None:
    """A number as tiles and chunks are called by, without leading zeros; None if it is none."""
    if not name.isdigit() or len(name) > 10 or (name.startswith(b"0") and name != b"0"):
        return None
    return int(name)


def is_left_behind(name: bytes) -> bool:
    """Whether a file of this name says nothing of the folder that it is in.

    It is hidden, left there by a system or an editor, not finished, or goes with another file (what GDAL writes beside
    a picture).
    """
    return name.startswith(b".") or name in _LEFT_BEHIND or name.lower().endswith(_LEFT_ENDINGS)


def numbered(path: bytes) -> Iterator[tuple[os.DirEntry[bytes], int | None]]:
    """Everything in a folder that says something, in any order, and the number that it is called by.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(path) as entries:
        for entry in entries:
            if not (is_left_behind(entry.name) and entry.is_file(follow_symlinks=False)):
                yield entry, number(entry.name)


def numbered_folders(path: bytes) -> list[int]:
    """The folders in a folder that are called by numbers, in any order.

    Raises:
        SourceError: it cannot be listed, or one of them is a link, which is not followed.
    """
    found: list[int] = []
    try:
        for entry, called in numbered(path):
            if called is None:
                continue
            if entry.is_symlink():
                raise SourceError(f"{shown(entry.path)} is a symbolic link, which is not followed: copy it there")
            if entry.is_dir(follow_symlinks=False):
                found.append(called)
    except OSError as error:
        raise SourceError(f"{shown(path)} cannot be listed: {failure(error)}") from error
    return found
