"""Images among other files, and their captions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mctree.sources.files import RegularFile
from mctree.sources.images.companions import caption_names, described_by, is_image_folder, sniffed
from mctree.sources.protocol import Skipped
from tests.sources.images.test_tiles import write_mbtiles


def kind(path: Path) -> object:
    name = os.fsencode(path)
    return sniffed(RegularFile.seen(name, name, os.stat(path)))


def test_content_tells_images_from_other_files(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    for ending, expected in [
        ("png", "png"),
        ("jpg", "jpeg"),
        ("webp", "webp"),
        ("gif", "gif"),
        ("bmp", "bmp"),
        ("tif", "tiff"),
    ]:
        image.save(tmp_path / f"a.{ending}")
        (tmp_path / f"a.{ending}").rename(tmp_path / "renamed.txt")
        assert kind(tmp_path / "renamed.txt") == expected
    for data in (
        b"",
        b"BM is how this text begins, and it is long enough",
        b"GIF",
        b"II*",
        b"RIFF....WAVEfmt ",
        b"PMT",
    ):
        (tmp_path / "b.png").write_bytes(data)
        assert kind(tmp_path / "b.png") is None


def test_sqlite_files_have_to_be_called_archives(tmp_path: Path) -> None:
    write_mbtiles(tmp_path / "a.mbtiles", {})
    assert kind(tmp_path / "a.mbtiles") == "sqlite"
    (tmp_path / "a.mbtiles").rename(tmp_path / "a.db")
    assert kind(tmp_path / "a.db") is None


def test_what_changed_cannot_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    name = os.fsencode(path)
    file = RegularFile.seen(name, name, os.stat(path))
    path.write_bytes(b"longer")
    found = sniffed(file)
    assert isinstance(found, Skipped)
    assert not found.certain


def test_zarr_folders_are_images_and_stores_are_not(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", shape=(4, 4), dtype="u1")[:] = np.zeros((4, 4), np.uint8)
    (tmp_path / "b" / "2024" / "11").mkdir(parents=True)
    assert is_image_folder(os.fsencode(tmp_path / "a"))
    assert not is_image_folder(os.fsencode(tmp_path / "b"))
    assert not is_image_folder(os.fsencode(tmp_path / "c"))


@pytest.mark.parametrize(
    ("text", "images"),
    [
        (b"a/NAME.txt", [b"a/NAME.png", b"a/NAME.jpg", b"a/NAME"]),
        (b"a/NAME.TXT", [b"a/NAME.png", b"a/NAME.jpg", b"a/NAME"]),
        (b"a/NAME.png.txt", [b"a/NAME.png"]),
        (b"a/name.txt", []),
        (b"NAME.txt", []),
        (b"a/NAME.md", []),
        (b"a/.txt", []),
        (b"a.b/c.txt", [b"a.b/c"]),
        (b"a.txt", []),
    ],
)
def test_captions_are_called_as_their_images(text: bytes, images: list[bytes]) -> None:
    beside = [b"a/NAME.png", b"a/NAME.jpg", b"a/NAME", b"b/NAME.png", b"a/.png", b"a.b/c"]
    assert list(described_by(text, beside)) == images


NAMES = st.text("ab./", min_size=1, max_size=6).map(str.encode)


@given(image=NAMES, text=NAMES)
def test_what_is_looked_for_and_what_is_found_agree(image: bytes, text: bytes) -> None:
    named = text + b".txt"
    assert (named in caption_names(image)) == bool(list(described_by(named, [image])))
    assert all(list(described_by(name, [image])) == [image] for name in caption_names(image))
