"""Is a folder one image of tiles, `zoom/column/row.png`, or just one of numbered folders?  All that is in it says it.

Photographs may lie in numbered folders, too, so a folder is taken for tiles only if nothing speaks against it:

* it holds zooms, these hold columns, and these hold tiles: folders, folders and files, called by numbers without
  leading zeros, of which none is larger than its zoom allows;
* all tiles have one ending, and the first one is a square picture of a size that tiles have;
* there is a tile of zoom 0, or there are several zooms, and each tile of one lies under a tile of the next coarser.

Files that are hidden, or that systems leave behind, and a `metadata.json` beside the zooms say nothing.  Links speak
against it, as they are not followed.  Names are looked at to the first that does not fit, and one picture's header; one
column is held at a time.  What cannot be looked at says nothing either: whoever takes the image will find it wanting.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from mctree.errors import SourceError
from mctree.sources.images.folder_names import DEEPEST_ZOOM, TILE_ENDINGS, TILE_SIDES, number
from mctree.sources.images.local import FileStream, open_local
from mctree.sources.names import shown

__all__ = ["is_pyramid"]

_LEFT_BEHIND = (b"Thumbs.db", b"desktop.ini")
_BESIDE_ZOOMS = (b"metadata.json",)

_Rows = NDArray[np.int64]


class _OtherError(Exception):
    """Something does not fit."""


def is_pyramid(path: bytes) -> bool:
    """Whether a folder is one image of tiles.

    Args:
        path: of a folder that holds folders called by numbers.
    """
    try:
        return _Look(path).fits()
    except _OtherError:
        return False
    except OSError:
        return True


class _Look:
    """A look at all names in a folder; done once.

    Args:
        path: of the folder.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._ending: bytes | None = None

    def fits(self) -> bool:
        """Whether it is one image of tiles.

        Raises:
            _OtherError: it is not.
            OSError: something cannot be listed.
        """
        zooms = sorted(_folders(self._path, DEEPEST_ZOOM, passed=_BESIDE_ZOOMS))
        with_tiles: list[int] = []
        for zoom in zooms:
            if self._zoom(zoom, with_tiles[-1] if with_tiles else None):
                with_tiles.append(zoom)
        return len(with_tiles) > 1 or with_tiles == [0]

    def _zoom(self, zoom: int, coarser: int | None) -> bool:
        """Look at a zoom, beside the next coarser one that has tiles; whether it has any."""
        some, above, rows_above = False, -1, np.empty(0, np.int64)
        for column in sorted(_folders(b"%s/%d" % (self._path, zoom), (1 << zoom) - 1)):
            rows = self._rows(zoom, column)
            if not len(rows):
                continue
            if coarser is None:
                if not some:
                    self._look_at(zoom, column, int(rows[0]))
            else:
                steps = zoom - coarser
                if column >> steps != above:
                    above = column >> steps
                    rows_above = self._rows(coarser, above, there=False)
                if not np.isin(rows >> steps, rows_above).all():
                    raise _OtherError
            some = True
        return some

    def _rows(self, zoom: int, column: int, *, there: bool = True) -> _Rows:
        """The rows of the tiles of a column; none if it is not there, and need not be."""
        try:
            return np.fromiter(self._each_row(zoom, column), np.int64)
        except FileNotFoundError:
            if there:
                raise
            return np.empty(0, np.int64)

    def _each_row(self, zoom: int, column: int) -> Iterator[int]:
        for entry in _entries(b"%s/%d/%d" % (self._path, zoom, column)):
            stem, ending = os.path.splitext(entry.name)
            row = number(stem)
            if row is None or row >> zoom or ending not in TILE_ENDINGS or not entry.is_file(follow_symlinks=False):
                raise _OtherError
            if self._ending is None:
                self._ending = ending
            if ending != self._ending:
                raise _OtherError
            yield row

    def _look_at(self, zoom: int, column: int, row: int) -> None:
        """Make sure that a tile is a square picture, if there is what reads pictures."""
        assert self._ending is not None, "a tile was met"
        path = b"%s/%d/%d/%d%s" % (self._path, zoom, column, row, self._ending)
        try:
            pictures = import_module("mctree.sources.images.pictures")
        except ImportError:  # nothing can be read of it, which is said when it is opened
            return
        try:
            opened = open_local(path, follow=False)
        except SourceError:
            return
        with opened:
            try:
                picture = pictures.Picture(io.BufferedReader(FileStream(opened)), shown(path), TILE_SIDES[-1] ** 2)
            except SourceError as error:
                raise _OtherError from error
        if picture.width != picture.height or picture.width not in TILE_SIDES:
            raise _OtherError


def _folders(path: bytes, most: int, *, passed: tuple[bytes, ...] = ()) -> Iterator[int]:
    """The numbers that folders in a folder are called by, in any order; there is nothing else in it."""
    for entry in _entries(path, passed):
        called = number(entry.name)
        if called is None or called > most or not entry.is_dir(follow_symlinks=False):
            raise _OtherError
        yield called


def _entries(path: bytes, passed: tuple[bytes, ...] = ()) -> Iterator[os.DirEntry[bytes]]:
    """What is in a folder, but for files that say nothing."""
    with os.scandir(path) as entries:
        for entry in entries:
            silent = entry.name.startswith(b".") or entry.name in _LEFT_BEHIND or entry.name in passed
            if not (silent and entry.is_file(follow_symlinks=False)):
                yield entry
