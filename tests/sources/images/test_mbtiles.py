"""MBTiles: SQLite files of all sorts."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from mctree.errors import SourceError
from mctree.sources.images import open_image
from mctree.sources.images.protocol import level_box
from tests.sources.images.tile_sets import colours, encoded


class TestMbtiles:
    """SQLite files of all sorts."""

    GOOD = encoded(colours(0, 0, 0, 3))

    def base(self, path: Path, *statements: str) -> Path:
        with sqlite3.connect(path) as base:
            for statement in statements:
                base.execute(statement, (self.GOOD,) if "?" in statement else ())
        base.close()
        return path

    TABLE = "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
    INDEX = "CREATE INDEX i ON tiles (zoom_level, tile_column, tile_row)"
    TILE = "INSERT INTO tiles VALUES (0, 0, 0, ?)"

    @pytest.mark.parametrize(
        ("statements", "why"),
        [
            (("CREATE TABLE other (x)",), "no such table"),
            ((TABLE,), "no index of its tiles"),
            ((TABLE, INDEX), "holds no tiles"),
            ((TABLE, INDEX, TILE, "INSERT INTO tiles VALUES (31, 0, 0, ?)"), "beyond zoom 30"),
            ((TABLE, INDEX, TILE, "INSERT INTO tiles VALUES (99999, 0, 0, ?)"), "beyond zoom 30"),
            ((TABLE, INDEX, "INSERT INTO tiles VALUES (30, 0, 0, ?)"), "an image ends at"),
            ((TABLE, INDEX, TILE, TILE), "two alike"),
            ((TABLE, INDEX, "INSERT INTO tiles VALUES (0, 0, 0, 'text')"), "no string of bytes"),
            ((TABLE, INDEX, "INSERT INTO tiles VALUES (0, 0, 0, NULL)"), "no string of bytes"),
            ((TABLE, INDEX, "INSERT INTO tiles VALUES (0, 0, 0, zeroblob(40000000))"), "MBTiles file"),
            (
                (
                    "CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) "
                    "SELECT 0 AS zoom_level, i AS tile_column, 0 AS tile_row, x'00' AS tile_data FROM n",
                ),
                "no index of its tiles",
            ),
            (
                (
                    "CREATE TABLE t (z INTEGER PRIMARY KEY)",
                    "INSERT INTO t VALUES (0)",
                    "CREATE VIEW tiles AS SELECT z AS zoom_level, 0 AS tile_column, 0 AS tile_row, "
                    "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n) "
                    "AS tile_data FROM t",
                ),
                "MBTiles file|no index",
            ),
        ],
        ids=range(12),
    )
    def test_bases_that_cannot_be_read(self, tmp_path: Path, statements: tuple[str, ...], why: str) -> None:
        with pytest.raises(SourceError, match=why), open_image(self.base(tmp_path / "a", *statements)) as source:
            source.read(level_box(source))

    def test_garbage_behind_a_good_beginning(self, tmp_path: Path) -> None:
        path = self.base(tmp_path / "a", self.TABLE, self.INDEX, self.TILE)
        data = path.read_bytes()
        for damage in (data[:16], data[:100], data[:100] + os.urandom(len(data) - 100), data[:4096] + b"\xff" * 20000):
            path.write_bytes(damage)
            with pytest.raises(SourceError, match="MBTiles file"):
                open_image(path)

    def test_a_base_that_is_being_written_is_refused(self, tmp_path: Path) -> None:
        path = self.base(tmp_path / "a", self.TABLE, self.INDEX, self.TILE)
        (tmp_path / "a-wal").write_bytes(b"x")
        with pytest.raises(SourceError, match="is being written"):
            open_image(path)

    def test_nothing_is_written_beside_it(self, tmp_path: Path) -> None:
        path = self.base(tmp_path / "a", self.TABLE, self.INDEX, self.TILE)
        before = path.read_bytes(), path.stat().st_mtime_ns  # being read changes when it was last looked at
        with open_image(path) as source:
            source.read(level_box(source))
            assert [each.name for each in tmp_path.iterdir()] == ["a"]
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before

    def test_a_forked_child_reads_by_its_own_connection(self, tmp_path: Path) -> None:
        source = open_image(self.base(tmp_path / "a", self.TABLE, self.INDEX, self.TILE))
        child = os.fork()
        if not child:
            os._exit(0 if source.read(level_box(source)).mask is None else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert source.read(level_box(source)).mask is None
        source.close()
