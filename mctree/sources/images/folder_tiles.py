"""How is a folder of tiles, `zoom/column/row.png`, an archive?  By the names in it.

    tiles/
      7/
        66/
          44.png

Folders and files whose names are other than these numbers, written without leading zeros, are not looked at.  Links are
not followed.  Rows are counted from the top, or turned round if the folder says otherwise (`schemes`).  Which tiles a
zoom has is listed once, when it is first asked for, and held as 8 bytes a tile; a tile that is read is looked for by
its name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from mctree.errors import SourceError
from mctree.sources.images.folder_names import DEEPEST_ZOOM, TILE_ENDINGS, number, numbered_folders
from mctree.sources.images.listing import Listing, listed
from mctree.sources.images.local import open_local
from mctree.sources.images.pyramid import MOST_TILE_BYTES, Cells
from mctree.sources.images.schemes import counts_from_below
from mctree.sources.names import failure, shown

__all__ = ["TileFolder"]


class TileFolder:
    """A folder of tiles.

    Args:
        path: absolute.

    Attributes:
        name: the path, printable.
        zooms: see `Archive`.

    Raises:
        SourceError: it cannot be listed, has no zoom, or counts its rows in a way that is unknown.
    """

    in_one_file = False

    def __init__(self, path: bytes) -> None:
        self.name = shown(path)
        self._path = path
        found = numbered_folders(path)
        if not found:
            raise SourceError(f"{self.name} has no folders that are called by a zoom, 0 to {DEEPEST_ZOOM}")
        if max(found) > DEEPEST_ZOOM:
            raise SourceError(f"{self.name} has a folder for zoom {max(found)}: tiles end at zoom {DEEPEST_ZOOM}")
        self.zooms = tuple(sorted(found, reverse=True))
        self._turned = counts_from_below(path)
        self._listings: dict[int, Listing] = {}

    @property
    def fingerprint(self) -> str:
        """Of the name, size and last modification of every tile."""
        digest = hashlib.blake2b(b"rows from below" if self._turned else b"", digest_size=16)
        for zoom in self.zooms:
            for column in sorted(numbered_folders(self._folder(zoom))):
                folder = self._folder(zoom, column)
                for row, ending, status in sorted(_tiles(folder, self.name, stats=True), key=lambda tile: tile[:2]):
                    assert status is not None
                    facts = zoom, column, row, ending, status.st_size, status.st_mtime_ns
                    digest.update(repr(facts).encode())
        return digest.hexdigest()

    def tile(self, zoom: int, column: int, row: int) -> bytes | None:
        """A tile; see `Archive.tile`."""
        stem = b"%s/%d" % (self._folder(zoom, column), (1 << zoom) - 1 - row if self._turned else row)
        there = [stem + ending for ending in TILE_ENDINGS if os.path.lexists(stem + ending)]
        if not there:
            return None
        if len(there) > 1:
            raise SourceError(f"{shown(there[0])} and {shown(there[1])} are the same tile: remove one")
        for folder in (self._folder(zoom), self._folder(zoom, column)):
            if os.path.islink(folder):
                raise SourceError(f"{shown(folder)} is a symbolic link, which is not followed: put the folder there")
        with open_local(there[0], follow=False) as opened:
            if opened.file.stamp.size > MOST_TILE_BYTES:
                raise SourceError(f"{shown(there[0])} has more than the {MOST_TILE_BYTES} bytes that a tile may have")
            data = opened.read_at(0, opened.file.stamp.size)
            opened.confirm(len(data))
        return data

    def covered(self, zoom: int, cells: Cells) -> Iterator[Cells]:
        """Which tiles there are; see `Archive.covered`."""
        if zoom not in self._listings:
            self._listings[zoom] = self._listed(zoom)
        c0, r0, c1, r1 = cells
        for column, start, stop in self._listings[zoom].runs(c0, c1, r0, r1):
            yield column, start, column + 1, stop

    def close(self) -> None:
        """Forget the listings."""
        self._listings.clear()

    def _folder(self, zoom: int, column: int | None = None) -> bytes:
        return b"%s/%d" % (self._path, zoom) if column is None else b"%s/%d/%d" % (self._path, zoom, column)

    def _listed(self, zoom: int) -> Listing:
        side = 1 << zoom
        columns = [column for column in numbered_folders(self._folder(zoom)) if column < side]
        try:
            return listed((column, self._rows(zoom, column)) for column in columns)
        except ValueError as error:
            raise SourceError(f"{self.name}, zoom {zoom}: {error}; make a PMTiles file of them") from error

    def _rows(self, zoom: int, column: int) -> Iterator[int]:
        """The rows of the tiles of a column, counted from the top."""
        last = (1 << zoom) - 1
        for row, _, _ in _tiles(self._folder(zoom, column), self.name):
            if row <= last:
                yield last - row if self._turned else row


def _tiles(path: bytes, name: str, *, stats: bool = False) -> Iterator[tuple[int, bytes, os.stat_result | None]]:
    """Row and ending of every tile in the folder of a column, and its `stat` if that is asked for."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                stem, ending = os.path.splitext(entry.name)
                row = number(stem)
                if row is not None and ending in TILE_ENDINGS:
                    yield row, ending, entry.stat(follow_symlinks=False) if stats else None
    except OSError as error:
        raise SourceError(f"{name} cannot be listed: {failure(error)}") from error
