"""How is an MBTiles file (version 1.3) an archive of tiles?  As a table in an SQLite file, counted from the bottom.

Its rows are numbered from the south, as the Tile Map Service does; here they are turned, so that row 0 is at the top.

The file is opened for reading only, as one that nobody writes to, and may come from a stranger: its `tiles` may be a
view that does anything at all.  So a query that SQLite would answer by looking at every row is refused beforehand, and
each is stopped after a fixed number of steps of SQLite's machine.  Of its metadata nothing is believed: which zooms
there are is looked up in the table.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

from mctree.errors import SourceError
from mctree.sources.files import OpenFile
from mctree.sources.images.folder_names import DEEPEST_ZOOM
from mctree.sources.images.local import damage_named, digest_of
from mctree.sources.images.pyramid import MOST_TILE_BYTES, Cells
from mctree.sources.names import shown

__all__ = ["MbtilesArchive"]

_TILE = "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 2"
_ANY = "SELECT tile_column FROM tiles WHERE zoom_level = ? LIMIT 1"
_DEEPER = "SELECT zoom_level FROM tiles WHERE zoom_level > ? LIMIT 1"
_COLUMN = (
    "SELECT tile_column FROM tiles WHERE zoom_level = ? AND tile_column >= ? AND tile_column < ? "
    "ORDER BY tile_column LIMIT 1"
)
_ROWS = (
    "SELECT tile_row FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row >= ? AND tile_row < ? "
    "ORDER BY tile_row LIMIT ?"
)
_ROWS_AT_ONCE = 1 << 12
_STEPS_AT_ONCE = 1 << 10
_MOST_STEPS = 1 << 22
_LONGEST_STATEMENT = 1 << 20


class MbtilesArchive:
    """An MBTiles file.

    Args:
        opened: the file; it is closed with the archive.

    Attributes:
        name: the path, printable.
        zooms: see `Archive`.

    Raises:
        SourceError: it is damaged, has no table of tiles or no index of it, or is being written.
    """

    in_one_file = True

    def __init__(self, opened: OpenFile) -> None:
        self.name = shown(opened.file.path)
        self._opened = opened
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        self._steps = 0
        path = opened.file.path
        for ending in (b"-wal", b"-journal"):
            if os.path.lexists(path + ending) and os.path.getsize(path + ending):
                raise SourceError(f"{self.name} is being written, or was not finished: open it once with sqlite3")
        queries = ((_TILE, (0, 0, 0)), (_ANY, (0,)), (_DEEPER, (0,)), (_COLUMN, (0, 0, 1)), (_ROWS, (0, 0, 0, 1, 1)))
        for query, values in queries:
            self._check_indexed(query, values)
        if self._rows(_DEEPER, (DEEPEST_ZOOM,)):
            raise SourceError(f"{self.name} has tiles beyond zoom {DEEPEST_ZOOM}, where they end")
        self.zooms = tuple(zoom for zoom in range(DEEPEST_ZOOM, -1, -1) if self._rows(_ANY, (zoom,)))
        if not self.zooms:
            raise SourceError(f"{self.name} holds no tiles")

    @property
    def fingerprint(self) -> str:
        """Of the file's size, and when it was modified last."""
        return digest_of(self._opened.file.stamp.size, self._opened.file.stamp.mtime_ns)

    def tile(self, zoom: int, column: int, row: int) -> bytes | None:
        """A tile; see `Archive.tile`."""
        found = self._rows(_TILE, (zoom, column, (1 << zoom) - 1 - row))
        if not found:
            return None
        (data,) = found[0]
        if len(found) > 1 or not isinstance(data, bytes):
            why = "is there twice" if len(found) > 1 else "is no string of bytes"
            raise SourceError(f"{self.name}: tile {zoom}/{column}/{row} {why}: make the file anew")
        return data

    def covered(self, zoom: int, cells: Cells) -> Iterator[Cells]:
        """Which tiles there are; see `Archive.covered`.

        Columns that have tiles elsewhere only cost a look-up each.
        """
        c0, r0, c1, r1 = cells
        south = 1 << zoom
        column = c0
        while found := self._rows(_COLUMN, (zoom, column, c1)):
            column = self._whole(found[0][0], column)
            for first, stop in self._column(zoom, column, south - r1, south - r0):
                yield column, south - stop, column + 1, south - first
            column += 1

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None
        self._opened.close()

    def _column(self, zoom: int, column: int, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """The tiles of a column with rows from `first` to below `stop`, counted from the south, as runs."""
        begun: tuple[int, int] | None = None
        while found := self._rows(_ROWS, (zoom, column, first, stop, _ROWS_AT_ONCE)):
            for (value,) in found:
                row = self._whole(value, first)
                if begun is not None and begun[1] == row:
                    begun = begun[0], row + 1
                else:
                    if begun is not None:
                        yield begun
                    begun = row, row + 1
                first = row + 1
        if begun is not None:
            yield begun

    def _whole(self, value: object, least: int) -> int:
        if not isinstance(value, int) or value < least:
            raise SourceError(f"{self.name} numbers tiles by what are no integers, or two alike: make the file anew")
        return value

    def _rows(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        with damage_named(self.name, "MBTiles file"):
            connection = self._connected()
            self._steps = 0
            found: list[tuple[Any, ...]] = connection.execute(query, values).fetchall()
        self._opened.confirm()
        return found

    def _check_indexed(self, query: str, values: tuple[int, ...]) -> None:
        for *_, detail in self._rows(f"EXPLAIN QUERY PLAN {query}", values):
            if not str(detail).startswith("SEARCH"):
                raise SourceError(
                    f"{self.name} has no index of its tiles, so each would take a look at all: make one by "
                    f"CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)"
                )

    def _connected(self) -> sqlite3.Connection:
        """The connection of this process; that of the one it was forked from is let go of, not closed."""
        if self._connection is None or self._process != os.getpid():
            uri = f"file:{quote_from_bytes(self._opened.file.path)}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TILE_BYTES)
            connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_STATEMENT)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_progress_handler(self._stop, _STEPS_AT_ONCE)
            self._connection, self._process = connection, os.getpid()
            for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON", "cache_size = -4096"):
                connection.execute(f"PRAGMA {pragma}")
        return self._connection

    def _stop(self) -> int:
        self._steps += _STEPS_AT_ONCE
        return int(self._steps > _MOST_STEPS)
