"""Folders of tiles that are not what they should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mctree.errors import SourceError
from mctree.sources.images import ImageSource, open_image
from mctree.sources.images.protocol import level_box
from tests.sources.images.tile_sets import SIDE, colours, encoded, write_folder


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
