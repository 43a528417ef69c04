"""Folders of tiles that are not what they should be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mctree.errors import SourceError
from mctree.sources.images import Box, ImageSource, open_image
from mctree.sources.images.protocol import level_box
from tests.sources.images.tile_sets import SIDE, Tiles, colours, encoded, write_folder


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


class TestRowsFromBelow:
    """Rows are numbered from below where the folder says so, as the Tile Map Service does."""

    TILES: ClassVar[Tiles] = {
        (z, x, y): encoded(colours(z, x, y, 3)) for z in (0, 1, 2) for x in (0, 1) for y in (0, 1) if x + y < 1 << z
    }

    def turned(self, path: Path) -> Path:
        return write_folder(path, {(z, x, (1 << z) - 1 - y): data for (z, x, y), data in self.TILES.items()})

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("metadata.json", b'{"scheme": "tms"}'),
            ("metadata.json", b'{"name": "x", "scheme": "TMS"}'),
            ("tilemapresource.xml", b"<TileMap/>"),
        ],
    )
    def test_it_is_the_same_image(self, tmp_path: Path, name: str, data: bytes) -> None:
        path, other = self.turned(tmp_path / "a"), write_folder(tmp_path / "b", self.TILES)
        (path / name).write_bytes(data)
        with open_image(path) as source, open_image(other) as expected:
            for level in range(3):
                box = level_box(expected, level)
                found, wanted = source.read(box, level), expected.read(box, level)
                assert np.array_equal(found.values, wanted.values)
                assert np.array_equal(found.real(), wanted.real())
                assert {*source.covered(box, level)} == {*expected.covered(box, level)}
            before = source.fingerprint
        (path / name).unlink()
        with open_image(path) as source:
            assert source.fingerprint != before, "it is another image"

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b"{}", b'{"scheme": 7}', b'{"scheme": "xyz"}', b"\xff" * 100, b"[" * 100_000]
    )
    def test_what_does_not_say_so_leaves_them_as_they_are(self, tmp_path: Path, data: bytes) -> None:
        path = write_folder(tmp_path / "a", self.TILES)
        (path / "metadata.json").write_bytes(data)
        with open_image(path) as source:
            assert np.array_equal(source.read(Box(0, 0, SIDE, SIDE)).values[..., :3], colours(2, 0, 0, 3))

    def test_what_is_said_outright_counts_for_more(self, tmp_path: Path) -> None:
        path = write_folder(tmp_path / "a", self.TILES)
        (path / "metadata.json").write_bytes(b'{"scheme": "xyz"}')
        (path / "tilemapresource.xml").write_bytes(b"<TileMap/>")
        with open_image(path) as source:
            assert np.array_equal(source.read(Box(0, 0, SIDE, SIDE)).values[..., :3], colours(2, 0, 0, 3))

    def test_a_scheme_that_is_unknown_is_refused(self, tmp_path: Path) -> None:
        path = write_folder(tmp_path / "a", self.TILES)
        (path / "metadata.json").write_bytes(b'{"scheme": "zyx"}')
        with pytest.raises(SourceError, match="scheme 'zyx', and not xyz or tms"):
            open_image(path)
