"""Images among other files: what a source takes for one, hands over, and sees of changes."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from mctree.errors import SourceError, UsageError
from mctree.sources import Item, RawDocument, RawImage, Skipped, open_source
from mctree.sources.images import Box
from tests.sources.images.tile_sets import encoded, write_mbtiles, write_pmtiles

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
TILE = encoded(PIXELS[:16, :16])


def all_of(*paths: Path, **options: object) -> dict[bytes, RawDocument | RawImage | Skipped]:
    """Everything that a source finds, by name."""
    found: dict[bytes, RawDocument | RawImage | Skipped] = {}
    for item in open_source(list(paths), **{"images": True, **options}):
        for one in (item,) if isinstance(item, Skipped) else item.documents():
            assert one.name not in found
            found[one.name] = one
    return found


def item_of(path: Path, **options: object) -> Item:
    (item,) = open_source([path], images=True, **options)
    assert isinstance(item, Item)
    return item


def save_zarr(path: Path, values: np.ndarray = PIXELS) -> Path:
    zarr.create_array(path, shape=values.shape, dtype=values.dtype, chunks=(16, 16, 3))[:] = values
    return path


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "tif"])
def test_content_tells_images_from_other_files(tmp_path: Path, ending: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / f"a.{ending}")
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.txt")
    found = all_of(tmp_path / "a.txt")[b"a.txt"]
    assert isinstance(found, RawImage)
    with found.open() as source:
        assert (source.width, source.height) == (30, 40)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"BM is how this text begins, and it is long enough",
        b"GIF89a is a format, and this is a text about it",
        b"PMTiles is another",
        b"RIFF....WEBP, and so on",
        b"II*",
        "日本".encode("utf-16"),
    ],
)
def test_a_text_that_begins_as_an_image_does_is_a_text(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.png").write_bytes(text)
    found = all_of(tmp_path / "a.png")[b"a.png"]
    assert isinstance(found, RawDocument)
    assert b"".join(found.read()) == text


def test_archives_of_tiles_are_images_and_other_databases_are_binary(tmp_path: Path) -> None:
    write_pmtiles(tmp_path / "p", {(2, 1, 1): TILE})
    write_mbtiles(tmp_path / "a.mbtiles", {(2, 1, 1): TILE})
    write_mbtiles(tmp_path / "marked", {(2, 1, 1): TILE})
    with sqlite3.connect(tmp_path / "marked") as base:
        base.execute(f"PRAGMA application_id = {int.from_bytes(b'MPBX', 'big')}")
    base.close()
    write_mbtiles(tmp_path / "a.db", {(2, 1, 1): TILE})
    found = all_of(tmp_path)
    name = os.fsencode(tmp_path.name)
    for called in (b"p", b"a.mbtiles", b"marked"):
        image = found[name + b"/" + called]
        assert isinstance(image, RawImage)
        with image.open() as source:
            assert source.width == source.height == 64
    other = found[name + b"/a.db"]
    assert isinstance(other, Skipped) and (other.reason, other.certain) == ("binary", True)


def test_a_zarr_folder_is_one_image_and_not_entered(tmp_path: Path) -> None:
    root = tmp_path / "t"
    save_zarr(root / "b" / "c.zarr")
    (root / "a.txt").write_bytes(b"x")
    found = all_of(root)
    assert list(found) == [b"t/a.txt", b"t/b/c.zarr"]
    image = found[b"t/b/c.zarr"]
    assert isinstance(image, RawImage)
    with image.open() as source:
        assert (source.read(Box(0, 0, 30, 40)).values == PIXELS).all()
    assert list(all_of(root / "b" / "c.zarr")) == [b"c.zarr"]
    assert all(not isinstance(one, RawImage) for one in all_of(root, images=False).values())


def test_a_zarr_folder_is_left_out_and_taken_as_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "t"
    save_zarr(root / "a.zarr")
    save_zarr(root / "b.zarr")
    (root / "c.txt").write_bytes(b"x")
    assert list(all_of(root, exclude=["a.zarr"])) == [b"t/b.zarr", b"t/c.txt"]
    assert list(all_of(root, exclude=["*.json"])) == [b"t/a.zarr", b"t/b.zarr", b"t/c.txt"]
    assert list(all_of(root, include=["a.*", "*.txt"])) == [b"t/a.zarr", b"t/c.txt"]
    assert list(all_of(root, include=["*.json"])) == []
    (root / ".gitignore").write_bytes(b"*.zarr/\n")
    assert list(all_of(root)) == [b"t/.gitignore", b"t/c.txt"]


def test_a_store_is_no_image(tmp_path: Path) -> None:
    root = tmp_path / "t"
    (root / "s" / "index.lmdb").mkdir(parents=True)
    (root / "s" / "zarr.json").write_bytes(b"{}")
    assert not all_of(root)


def test_links_and_large_images_are_passed_over_like_other_files(tmp_path: Path) -> None:
    root = tmp_path / "t"
    save_zarr(tmp_path / "far.zarr")
    (root / "a").mkdir(parents=True)
    (root / "a" / "link.zarr").symlink_to(tmp_path / "far.zarr")
    Image.fromarray(PIXELS).save(root / "b.png")
    found = all_of(root)
    assert isinstance(found[b"t/a/link.zarr"], Skipped)
    assert isinstance(all_of(root, follow_symlinks=True)[b"t/a/link.zarr"], RawImage)
    for options in ({"max_bytes": 100}, {"max_bytes": 100, "follow_symlinks": True}):
        large = [one for one in all_of(root, **options).values() if isinstance(one, Skipped)]
        assert any(one.reason.startswith("larger than 100 bytes") for one in large)


def test_other_formats_take_no_image(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    found = all_of(tmp_path / "a.png", format="text")[b"a.png"]
    assert isinstance(found, Skipped) and found.reason == "binary"
    with pytest.raises(UsageError, match="max_pixels"):
        open_source([tmp_path / "a.png"], max_pixels=0)


def test_the_stamp_of_a_folder_follows_whatever_happens_in_it(tmp_path: Path) -> None:
    root = save_zarr(tmp_path / "a.zarr")
    inner = root / "c" / "0" / "0"

    def write() -> None:
        data = (inner / "0").read_bytes()
        (inner / "0").write_bytes(data[:-1] + b"?")

    def move() -> None:
        (inner / "0").rename(inner / "moved")

    changes = [(write, True), (move, True), ((inner / "moved").unlink, True), ((inner / "new").mkdir, False)]
    for change, other in changes:
        before, image = item_of(root).stamp, next(item_of(root).documents())
        assert isinstance(image, RawImage)
        assert before == item_of(root).stamp
        first = image.digest()
        assert first == image.digest()
        change()
        assert item_of(root).stamp != before
        with pytest.raises(SourceError, match="changed while it was being read"):
            image.digest()
        again = next(item_of(root).documents())
        assert isinstance(again, RawImage)
        assert (again.digest() != first) == other


def test_an_image_that_is_not_what_was_found_is_not_opened(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    found = all_of(tmp_path / "a.png")[b"a.png"]
    assert isinstance(found, RawImage)
    digest = found.digest()
    Image.fromarray(PIXELS[::2]).save(tmp_path / "a.png")
    for attempt in (found.open, found.digest):
        with pytest.raises(SourceError, match="changed"):
            attempt()
    again = all_of(tmp_path / "a.png")[b"a.png"]
    assert isinstance(again, RawImage) and again.digest() != digest
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to("/etc/passwd")
    with pytest.raises(SourceError):
        again.open()


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.tif")
    found = all_of(tmp_path / "a.tif")[b"a.tif"]
    for name in [name for name in sys.modules if name.startswith("mctree.sources.images.tiff")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert isinstance(found, RawImage)
    with pytest.raises(UsageError, match=r"tifffile, which is not installed: pip install 'mctree\[images\]'"):
        found.open()
