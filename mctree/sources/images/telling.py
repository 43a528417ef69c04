"""Is a folder one image of tiles, `zoom/column/row.png`, or just one of numbered folders?  All that is in it says it.

Photographs may lie in numbered folders, too, so a folder is taken for tiles only if nothing speaks against it:

* it holds zooms, these hold columns, and these hold tiles: folders, folders and files, called by numbers without
  leading zeros, of which none is larger than its zoom allows;
* all tiles have one ending, and the first one is a square picture of a size that tiles have;
* there is a tile of zoom 0, or there are several zooms, and each tile of one lies under a tile of the next coarser.

Files that are left behind (`is_left_behind`), and beside the zooms what tools write of a whole pyramid, say nothing.
Links speak against it, as they are not followed.  Names are looked at to the first that does not fit, and one picture's
header; one column is held at a time.  What cannot be looked at says nothing either: whoever takes the image will find
it wanting.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from mctree.errors import SourceError
from mctree.sources.images.folder_names import DEEPEST_ZOOM, TILE_ENDINGS, TILE_SIDES, number, numbered
from mctree.sources.images.local import FileStream, open_local
from mctree.sources.images.schemes import METADATA, RESOURCE
from mctree.sources.names import shown

__all__ = ["speaks_against"]

_BESIDE_ZOOMS = (
    *(METADATA, RESOURCE, b"tilejson.json"),
    *(b"leaflet.html", b"openlayers.html", b"googlemaps.html", b"mapml.mapml", b"doc.kml"),  # as gdal2tiles writes them
)

_Rows = NDArray[np.int64]


class _OtherError(Exception):
    """Something does not fit.

    Args:
        path: of it.
        why: it does not.
    """

    def __init__(self, path: bytes, why: str) -> None:
        super().__init__(f"{shown(path)} {why}")


def speaks_against(path: bytes) -> str | None:
    """What speaks against a folder being one image of tiles: a line that begins with the path of what does not fit.

    Args:
        path: of a folder that holds folders called by numbers.

    Returns:
        None if nothing does, also where something in it could not be looked at.
    """
    try:
        _Look(path).fits()
    except _OtherError as error:
        return str(error)
    except OSError:
        return None
    return None


class _Look:
    """A look at all names in a folder; done once.

    Args:
        path: of the folder.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._ending: bytes | None = None

    def fits(self) -> None:
        """Make sure that it is one image of tiles.

        Raises:
            _OtherError: it is not.
            OSError: something cannot be listed.
        """
        zooms = sorted(_folders(self._path, "zoom", DEEPEST_ZOOM, passed=_BESIDE_ZOOMS))
        with_tiles: list[int] = []
        for zoom in zooms:
            if self._zoom(zoom, with_tiles[-1] if with_tiles else None):
                with_tiles.append(zoom)
        if not with_tiles:
            raise _OtherError(self._path, "holds no tiles")
        if len(with_tiles) == 1 and with_tiles != [0]:
            raise _OtherError(self._path, "has tiles of one zoom alone, and not of zoom 0")

    def _zoom(self, zoom: int, coarser: int | None) -> bool:
        """Look at a zoom, beside the next coarser one that has tiles; whether it has any."""
        some, above, rows_above = False, -1, np.empty(0, np.int64)
        for column in sorted(_folders(self._at(zoom), "column", (1 << zoom) - 1)):
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
                below = np.isin(rows >> steps, rows_above)
                if not below.all():
                    tile = self._at(zoom, column, int(rows[~below][0]))
                    raise _OtherError(tile, f"is a tile that lies under none of zoom {coarser}")
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
        for entry, _ in numbered(self._at(zoom, column)):
            stem, ending = os.path.splitext(entry.name)
            row = number(stem)
            if entry.is_symlink():
                raise _OtherError(entry.path, "is a symbolic link")
            if row is None or ending not in TILE_ENDINGS or not entry.is_file(follow_symlinks=False):
                raise _OtherError(entry.path, f"is no tile, called ROW{os.fsdecode(self._ending or b'.png')}")
            if row >> zoom:
                raise _OtherError(entry.path, f"is called by a row that zoom {zoom} has not")
            if self._ending is None:
                self._ending = ending
            if ending != self._ending:
                raise _OtherError(entry.path, f"ends otherwise than other tiles, in {os.fsdecode(self._ending)}")
            yield row

    def _look_at(self, zoom: int, column: int, row: int) -> None:
        """Make sure that a tile is a square picture, if there is what reads pictures."""
        assert self._ending is not None, "a tile was met"
        path = self._at(zoom, column, row)
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
                raise _OtherError(path, "is no picture that can be read") from error
        if picture.width != picture.height or picture.width not in TILE_SIDES:
            raise _OtherError(
                path,
                f"is {picture.width} × {picture.height} pixels, where tiles are square, and {TILE_SIDES[0]}, "
                f"{TILE_SIDES[1]} … or {TILE_SIDES[-1]} pixels a side",
            )

    def _at(self, zoom: int, column: int | None = None, row: int | None = None) -> bytes:
        """The path of a zoom, a column or a tile."""
        parts = b"/".join(b"%d" % part for part in (zoom, column, row) if part is not None)
        return b"%s/%s%s" % (self._path, parts, b"" if row is None else self._ending or b"")


def _folders(path: bytes, what: str, most: int, *, passed: tuple[bytes, ...] = ()) -> Iterator[int]:
    """The numbers that folders in a folder are called by, in any order; there is nothing else in it."""
    for entry, called in numbered(path):
        if entry.name in passed and entry.is_file(follow_symlinks=False):
            continue
        if entry.is_symlink():
            raise _OtherError(entry.path, "is a symbolic link")
        if called is None or called > most or not entry.is_dir(follow_symlinks=False):
            raise _OtherError(entry.path, f"is no folder called by a {what}, 0 to {most}")
        yield called
