"""Tiles by zoom, column and row: PMTiles, MBTiles and folders give the same image, sparse and up to zoom 22."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pmtiles.tile import Compression, Entry, TileType, deserialize_header, serialize_directory, zxy_to_tileid
from pmtiles.writer import Writer

from mctree.errors import SourceError, UsageError
from mctree.sources.images import LARGEST_SIDE, Box, ImageSource, open_image
from mctree.sources.images.pmtiles_directory import parse_directory
from mctree.sources.images.protocol import level_box
from tests.sources.images.reading import FEW, Whole, check_source

SIDE = 16
Tiles = dict[tuple[int, int, int], bytes]


def encoded(values: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(out, kind)
    return out.getvalue()


def write_pmtiles(path: Path, tiles: Tiles) -> Path:
    with path.open("wb") as file:
        writer = Writer(file)
        for tile in sorted(tiles, key=lambda tile: zxy_to_tileid(*tile)):
            writer.write_tile(zxy_to_tileid(*tile), tiles[tile])
        writer.finalize({"tile_type": TileType.PNG, "tile_compression": Compression.NONE}, {})
    return path


def write_mbtiles(path: Path, tiles: Tiles, *, split: bool = False) -> Path:
    with sqlite3.connect(path) as base:
        if split:
            base.execute(
                "CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id INTEGER)"
            )
            base.execute("CREATE TABLE images (tile_id INTEGER PRIMARY KEY, tile_data BLOB)")
            base.execute("CREATE UNIQUE INDEX i ON map (zoom_level, tile_column, tile_row)")
            base.execute(
                "CREATE VIEW tiles AS SELECT map.zoom_level AS zoom_level, map.tile_column AS tile_column, "
                "map.tile_row AS tile_row, images.tile_data AS tile_data FROM map JOIN images USING (tile_id)"
            )
        else:
            base.execute(
                "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
            )
            base.execute("CREATE UNIQUE INDEX i ON tiles (zoom_level, tile_column, tile_row)")
        for number, ((zoom, column, row), data) in enumerate(tiles.items()):
            south = (1 << zoom) - 1 - row
            if split:
                base.execute("INSERT INTO map VALUES (?, ?, ?, ?)", (zoom, column, south, number))
                base.execute("INSERT INTO images VALUES (?, ?)", (number, data))
            else:
                base.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (zoom, column, south, data))
    base.close()
    return path


def write_folder(path: Path, tiles: Tiles) -> Path:
    for (zoom, column, row), data in tiles.items():
        folder = path / str(zoom) / str(column)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row}.png").write_bytes(data)
    return path


def write_views(path: Path, tiles: Tiles) -> Path:
    return write_mbtiles(path, tiles, split=True)


WRITERS: dict[str, Callable[[Path, Tiles], Path]] = {
    "pmtiles": write_pmtiles,
    "mbtiles": write_mbtiles,
    "views": write_views,
    "folder": write_folder,
}


def colours(zoom: int, column: int, row: int, channels: int) -> NDArray[np.uint8]:
    return np.random.default_rng((zoom, column, row)).integers(0, 256, (SIDE, SIDE, channels), np.uint8)


PLACES = st.integers(0, 4).flatmap(
    lambda zoom: st.tuples(st.just(zoom), st.integers(0, (1 << zoom) - 1), st.integers(0, (1 << zoom) - 1))
)


@pytest.mark.parametrize("kind", WRITERS)
@FEW
@given(places=st.sets(PLACES, min_size=1, max_size=40), channels=st.sampled_from([3, 4]), data=st.data())
def test_every_archive_gives_its_tiles(
    kind: str,
    places: set[tuple[int, int, int]],
    channels: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tiles = {place: colours(*place, channels) for place in places}
    path = WRITERS[kind](
        tmp_path_factory.mktemp("tiles") / "a", {place: encoded(tile) for place, tile in tiles.items()}
    )
    finest = max(zoom for zoom, _, _ in tiles)
    wholes: dict[int, Whole] = {}
    for zoom in {zoom for zoom, _, _ in tiles}:
        side = SIDE << zoom
        values, mask = np.zeros((side, side, channels), np.uint8), np.zeros((side, side), np.bool_)
        for (at, column, row), tile in tiles.items():
            if at == zoom:
                here = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
                values[here], mask[here] = tile, True
        wholes[1 << (finest - zoom)] = Whole(values, mask)
    with open_image(path, channels=channels) as source:
        check_source(data, source, wholes, reads=2)
        for level, factor in enumerate(source.levels):
            painted = np.zeros(wholes[factor].mask.shape, np.bool_)
            for box in source.covered(level_box(source, level), level):
                painted[box.slices] = True
            np.testing.assert_array_equal(painted, wholes[factor].mask)


@pytest.mark.parametrize("kind", WRITERS)
def test_zoom_22_is_a_thousand_million_pixels_and_costs_what_is_covered(tmp_path: Path, kind: str) -> None:
    last = (1 << 22) - 1
    tile = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    data = encoded(tile)
    places = [(22, 0, 0), (22, last, last), (22, 2_000_000, 3_000_000), (22, 2_000_001, 3_000_000), (3, 7, 7)]
    path = WRITERS[kind](tmp_path / "a", dict.fromkeys(places, data))
    with open_image(path, channels=3) as source:
        assert source.width == source.height == LARGEST_SIDE
        assert source.levels == (1, 1 << 19)
        whole = level_box(source)
        assert sum(box.area for box in source.covered(whole)) == 4 * 65536
        assert list(source.covered(Box(256, 0, whole.x1, 1 << 29))) == []
        corner = Box(whole.x1 - 300, whole.y1 - 256, whole.x1, whole.y1)
        assert list(source.covered(corner)) == [Box(whole.x1 - 256, whole.y1 - 256, whole.x1, whole.y1)]
        pixels = source.read(corner)
        np.testing.assert_array_equal(pixels.values[:, 44:], tile)
        assert not pixels.real()[:, :44].any()
        across = source.read(Box(2_000_001 * 256 - 5, 3_000_000 * 256, 2_000_001 * 256 + 5, 3_000_000 * 256 + 1))
        np.testing.assert_array_equal(across.values[0], np.concatenate((tile[0, -5:], tile[0, :5])))
        if kind == "folder":
            return
        source.fingerprint  # noqa: B018


@pytest.mark.parametrize("kind", WRITERS)
def test_tiles_of_another_size_depth_or_kind_are_typed_errors(tmp_path: Path, kind: str) -> None:
    good = encoded(colours(1, 0, 0, 3))
    deep = io.BytesIO()
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(deep, "PNG")
    for number, bad in enumerate(
        [encoded(np.zeros((SIDE, 2 * SIDE, 3), np.uint8)), encoded(np.zeros((8, 8, 3), np.uint8)), deep.getvalue(),
         b"garbage", good[: len(good) // 2], good[:20], b"\xff" * 1000]
    ):  # fmt: skip
        path = WRITERS[kind](tmp_path / str(number), {(1, 0, 0): good, (1, 1, 1): bad})
        with open_image(path) as source:
            source.read(Box(0, 0, SIDE, SIDE))
            with pytest.raises(SourceError, match="tile 1/1/1"):
                source.read(Box(SIDE, SIDE, SIDE + 1, SIDE + 1))


@pytest.mark.parametrize("shape", [(8, 8), (24, 24), (16, 32), (20, 20)])
def test_first_tiles_that_are_no_tiles_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write_folder(tmp_path / "a", {(0, 0, 0): encoded(np.zeros((*shape, 3), np.uint8))})
    with pytest.raises(SourceError, match="tiles are square"):
        open_image(path)


def test_tiles_of_unlike_channels_are_widened_and_narrowed_without_loss(tmp_path: Path) -> None:
    rgb = colours(1, 0, 0, 3)
    grey = colours(1, 1, 0, 1)
    full = np.concatenate((colours(1, 0, 1, 3), np.full((SIDE, SIDE, 1), 255, np.uint8)), axis=2)
    clear = full.copy()
    clear[3, 3, 3] = 0
    tiles = {(1, 0, 0): rgb, (1, 1, 0): grey, (1, 0, 1): full, (1, 1, 1): clear}
    path = write_folder(tmp_path / "a", {place: encoded(tile) for place, tile in tiles.items()})
    opaque = np.full((SIDE, SIDE, 1), 255, np.uint8)
    with open_image(path) as source:
        assert source.channels == 4
        values = source.read(level_box(source)).values
    np.testing.assert_array_equal(values[:SIDE, :SIDE], np.concatenate((rgb, opaque), axis=2))
    np.testing.assert_array_equal(values[:SIDE, SIDE:], np.concatenate((grey, grey, grey, opaque), axis=2))
    np.testing.assert_array_equal(values[SIDE:, SIDE:], clear)
    with open_image(path, channels=3) as source:
        np.testing.assert_array_equal(source.read(Box(0, SIDE, SIDE, 2 * SIDE)).values, full[:, :, :3])
        with pytest.raises(SourceError, match="tile 1/1/1 has 4 channels, which 3 cannot hold"):
            source.read(level_box(source))
    with open_image(path, channels=1) as source:
        np.testing.assert_array_equal(source.read(Box(SIDE, 0, 2 * SIDE, SIDE)).values, grey)
        with pytest.raises(SourceError, match="tile 1/0/0 has 3 channels, which 1 cannot hold"):
            source.read(Box(0, 0, 1, 1))
    with pytest.raises(UsageError, match="1 to 4 channels"):
        open_image(path, channels=5)


def test_jpeg_tiles_have_three_channels(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "0" / "0"
    folder.mkdir(parents=True)
    (folder / "0.jpg").write_bytes(encoded(colours(0, 0, 0, 1), "JPEG"))
    with open_image(tmp_path / "a") as source:
        assert source.channels == 3


@pytest.mark.parametrize("kind", ["pmtiles", "mbtiles"])
def test_files_are_known_by_what_they_hold(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "picture.png", {(0, 0, 0): encoded(colours(0, 0, 0, 3))})
    with open_image(path) as source:
        assert (source.height, source.width) == (SIDE, SIDE)


def test_uris_of_archives_keep_their_options(tmp_path: Path) -> None:
    path = write_pmtiles(tmp_path / "a b#é.pmtiles", {(0, 0, 0): encoded(colours(0, 0, 0, 3))})
    with open_image(path, channels=3) as source:
        assert source.uri.endswith("a%20b%23%C3%A9.pmtiles#channels=3")
        with open_image(source.uri) as again:
            assert again.channels == 3


class TestPmtiles:
    """Archives that are no archives."""

    GOOD = encoded(colours(1, 0, 0, 3))

    def header(self, path: Path, **changes: object) -> Path:
        """Change an archive's header: a place and a format for each."""
        write_pmtiles(path, {(1, 0, 0): self.GOOD, (1, 1, 1): self.GOOD})
        data = bytearray(path.read_bytes())
        for place, form, value in changes.values():
            struct.pack_into(form, data, place, value)
        path.write_bytes(data)
        return path

    @pytest.mark.parametrize(
        ("place", "form", "value", "why"),
        [
            (7, "B", 2, "PMTiles archive of version 3"),
            (99, "B", 1, "tiles of kind MVT"),
            (99, "B", 77, "PMTiles archive"),
            (97, "B", 4, "compressed by Brotli or Zstandard"),
            (97, "B", 1, "PMTiles archive"),
            (101, "B", 31, "end at zoom 30"),
            (100, "B", 9, "tiles of zoom 9 to 1"),
            (16, "<Q", 1 << 40, "a directory of 1099511627776 bytes"),
            (8, "<Q", (1 << 64) - 1, "cut short"),
            (16, "<Q", 5, "PMTiles archive"),
            (16, "<Q", 0, "PMTiles archive"),
        ],
    )
    def test_headers(self, tmp_path: Path, place: int, form: str, value: int, why: str) -> None:
        path = self.header(tmp_path / "a", change=(place, form, value))
        with pytest.raises(SourceError, match=why):
            open_image(path)

    def archive(self, path: Path, directory: bytes, leaves: bytes = b"", zoom: int = 1, packing: int = 2) -> Path:
        """An archive with a root directory, leaf directories and one tile."""
        write_pmtiles(path, {(1, 0, 0): self.GOOD})
        head = bytearray(path.read_bytes()[:127])
        start = 127 + len(directory)
        for place, value in ((8, 127), (16, len(directory)), (40, start), (48, len(leaves)), (56, start + len(leaves))):
            struct.pack_into("<Q", head, place, value)
        struct.pack_into("BB", head, 97, packing, 1)
        struct.pack_into("BB", head, 100, 0, zoom)
        path.write_bytes(bytes(head) + directory + leaves + self.GOOD)
        return path

    def test_a_directory_that_unpacks_to_too_much(self, tmp_path: Path) -> None:
        path = self.archive(tmp_path / "a", gzip.compress(bytes(1 << 25)))
        with pytest.raises(SourceError, match="more than 16777216 bytes are compressed in it"):
            open_image(path)

    def test_leaves_that_lead_to_themselves(self, tmp_path: Path) -> None:
        leaf = serialize_directory([Entry(1, 0, 60, 0)])
        root = serialize_directory([Entry(1, 0, len(leaf), 0)])
        path = self.archive(tmp_path / "a", root, serialize_directory([Entry(1, 0, len(leaf), 0)]))
        with pytest.raises(SourceError, match="lead to others more than 4 times"):
            open_image(path)

    def test_leaves_are_followed(self, tmp_path: Path) -> None:
        leaves = [serialize_directory([Entry(1, 0, len(self.GOOD), 1), Entry(3, 0, len(self.GOOD), 2)])]
        root = serialize_directory([Entry(1, 0, len(leaves[0]), 0)])
        with open_image(self.archive(tmp_path / "a", root, leaves[0])) as source:
            assert source.read(level_box(source)).real().sum() == 3 * SIDE * SIDE

    def test_one_run_of_all_tiles_of_zoom_22_is_one_box(self, tmp_path: Path) -> None:
        first = zxy_to_tileid(22, 0, 0)
        out = io.BytesIO()
        Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(out, "PNG")
        self.GOOD = out.getvalue()
        root = serialize_directory([Entry(first, 0, len(self.GOOD), 1 << 44)])
        with open_image(self.archive(tmp_path / "a", root, zoom=22)) as source:
            assert list(source.covered(level_box(source))) == [level_box(source)]
            inner = Box(1000, 2000, LARGEST_SIDE - 3000, LARGEST_SIDE - 4000)
            first_box = next(source.covered(inner))
            assert inner.holds(first_box)
            far = Box(LARGEST_SIDE - 256, 0, LARGEST_SIDE, 256)
            assert source.read(far).mask is None

    @pytest.mark.parametrize(
        "directory",
        [
            b"",
            b"\x80",
            b"\x01",
            b"\x02\x00\x01\x01\x01\x01\x01\x01",
            b"\x01\x00\x01\x00\x01",
            b"\x01\x00\x01\x05\x00",
            b"\x02\x00\x00\x01\x01\x05\x05\x01\x00",
            b"\x01\x00" + b"\xff" * 8 + b"\x7f\x05\x01",
            b"\x01" + b"\xff" * 9 + b"\x01\x01\x05\x01",
            b"\x02\x00\x01" + b"\xff" * 8 + b"\x3f\x01\x05\x05\x01\x01",
            b"\x02\x00\x01\x01\x01" + (b"\xff" * 8 + b"\x7f") * 2 + b"\x01\x00",
        ],
        ids=range(11),
    )
    def test_directories_that_are_none(self, tmp_path: Path, directory: bytes) -> None:
        with pytest.raises(ValueError, match="director"):
            parse_directory(directory, 0, 1 << 61)
        with pytest.raises(SourceError, match="PMTiles archive"):
            open_image(self.archive(tmp_path / "a", directory, packing=1))

    @FEW
    @given(data=st.binary(max_size=40))
    def test_any_bytes_are_a_directory_in_order_or_an_error(self, data: bytes) -> None:
        try:
            found = parse_directory(data, 0, 1 << 61)
        except ValueError:
            return
        stops = found.ids + np.maximum(found.runs, 1)
        assert (stops[:-1] <= found.ids[1:]).all()
        assert (found.offsets >= 0).all()
        assert (found.lengths > 0).all()

    @FEW
    @given(
        steps=st.lists(
            st.tuples(st.integers(1, 1 << 40), st.integers(0, 3), st.integers(1, 1 << 30), st.integers(0, 1 << 40)),
            max_size=20,
        )
    )
    def test_directories_are_what_the_package_wrote(self, steps: list[tuple[int, int, int, int]]) -> None:
        entries: list[Entry] = []
        place = 0
        for step, run, length, offset in steps:
            place += step + 3
            together = entries and offset % 2
            entries.append(Entry(place, entries[-1].offset + entries[-1].length if together else offset, length, run))
        found = parse_directory(gzip.decompress(serialize_directory(entries)), 0, 1 << 61)
        listed = zip(found.ids, found.offsets, found.lengths, found.runs, strict=True)
        assert [tuple(map(int, each)) for each in listed] == [
            (e.tile_id, e.offset, e.length, e.run_length) for e in entries
        ]

    def test_a_tile_beyond_the_end_is_cut_short(self, tmp_path: Path) -> None:
        path = write_pmtiles(tmp_path / "a", {(1, 0, 0): self.GOOD, (1, 1, 1): encoded(colours(1, 1, 1, 3))})
        assert deserialize_header(path.read_bytes()[:127])["clustered"]
        path.write_bytes(path.read_bytes()[:-10])
        with open_image(path) as source, pytest.raises(SourceError, match="cut short"):
            source.read(level_box(source))


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


class TestFolder:
    """Folders that are not what they should be."""

    GOOD = encoded(colours(1, 0, 0, 3))

    def folder(self, path: Path) -> Path:
        return write_folder(path, {(1, 0, 0): self.GOOD, (1, 1, 1): self.GOOD})

    def reads(self, path: Path) -> ImageSource:
        with open_image(path) as source:
            source.read(level_box(source))
        return source

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path / "a")
        (path / "1" / "0" / "1.png").symlink_to(path / "1" / "0" / "0.png")
        with pytest.raises(SourceError, match="is a symbolic link"):
            self.reads(path)
        (path / "1" / "0" / "1.png").unlink()
        (path / "1" / "1").rename(tmp_path / "elsewhere")
        (path / "1" / "1").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(SourceError, match="is a symbolic link"):
            self.reads(path)

    def test_fifos_and_folders_are_no_tiles(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path / "a")
        os.mkfifo(path / "1" / "1" / "0.png")
        with pytest.raises(SourceError, match="is a FIFO"):
            self.reads(path)
        (path / "1" / "1" / "0.png").unlink()
        (path / "1" / "1" / "0.png").mkdir()
        with pytest.raises(SourceError, match="is a folder"):
            self.reads(path)

    def test_one_tile_twice_is_an_error(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path / "a")
        (path / "1" / "1" / "1.jpg").write_bytes(self.GOOD)
        with pytest.raises(SourceError, match="are the same tile: remove one"):
            self.reads(path)

    def test_other_names_are_not_looked_at(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path / "a")
        for name in ("README.txt", "1/0/00.png", "1/0/x.png", "1/0/2.png", "1/7.png", "01", "1/-1"):
            (path / name).write_bytes(b"?")
        (path / "1" / "9").mkdir()
        with open_image(path) as source:
            assert sum(box.area for box in source.covered(level_box(source))) == 2 * SIDE * SIDE

    @pytest.mark.parametrize("zoom", ["31", "99", "4000000000"])
    def test_absurd_zooms_are_refused(self, tmp_path: Path, zoom: str) -> None:
        path = self.folder(tmp_path / "a")
        (path / zoom).mkdir()
        with pytest.raises(SourceError, match="tiles end at zoom 30"):
            open_image(path)

    def test_more_than_an_image_can_be_is_refused(self, tmp_path: Path) -> None:
        path = write_folder(tmp_path / "a", {(27, 5, 5): self.GOOD})
        with pytest.raises(SourceError, match="zoom 26"):
            open_image(path)

    def test_every_tile_is_part_of_the_fingerprint(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path / "a")
        with open_image(path) as source:
            before = source.fingerprint
        os.utime(path / "1" / "1" / "1.png", ns=(1, 1))
        with open_image(path) as source:
            assert source.fingerprint != before

    def test_a_folder_without_tiles_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "3").mkdir(parents=True)
        with pytest.raises(SourceError, match="holds no tiles"):
            open_image(tmp_path / "a")
        with pytest.raises(SourceError, match="neither Zarr arrays nor tiles"):
            open_image(tmp_path / "a" / "3")
