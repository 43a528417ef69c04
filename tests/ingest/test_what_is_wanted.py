"""A part of an image that is wanted: what is said where it cannot be had, what is read for it, and what is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mctree
from mctree.errors import SourceError, UsageError
from mctree.ingest import ingest
from mctree.sources.images import Box, ImageSource, Pixels, open_image
from tests.ingest.parts import FULL, HEIGHT, WIDTH, counts, save, take
from tests.ingest.pictures import OPTIONS, png, told
from tests.sources.images.tile_sets import Tiles, write_folder

pytestmark = pytest.mark.usefixtures("clocks_are_fine")

LEFT, RIGHT = Box(0, 0, 100, 100), Box(500, 0, 600, 100)


@pytest.fixture
def image(folder: str) -> str:
    path = os.path.join(folder, "big.tif")
    save(path, FULL[:300, :600])
    return path


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [("a.bin", b"\0\1", "binary"), ("link", None, "a symbolic link"), ("a", b"\0" * 100_000, "binary")],
)
def test_an_input_that_is_skipped_says_why_there_is_no_part_of_it(folder, store, name, data, reason):
    root = Path(folder, "t")
    root.mkdir()
    if data is None:
        (root / name).symlink_to("/etc/passwd")
    else:
        (root / name).write_bytes(data)
    with pytest.raises(UsageError, match=f"is taken of one image, and 't/{name}' cannot be read as one: {reason}"):
        take(root, store, region=LEFT)


def test_a_coarse_view_of_what_is_there_in_full_has_nothing_to_do(image, store):
    take(image, store, region=LEFT)
    take(image, store, region=RIGHT)
    before = told(store)
    for region in (LEFT, RIGHT):
        assert counts(take(image, store, region=region, finest=2)) == (0, 0, 0, 1)
    assert told(store) == before
    for region in (Box(300, 0, 600, 100), None):
        with pytest.raises(UsageError, match=r"inside 384,0,600,128, and not all of .* in full: .* no finest"):
            take(image, store, region=region, finest=2)


def cut(tiles: Tiles, tile: tuple[int, int, int]) -> Tiles:
    return {at: data[: len(data) // 2] if at == tile else data for at, data in tiles.items()}


def test_a_broken_tile_is_in_the_way_only_where_it_is_wanted(folder, store):
    tiles = {(z, x, y): png(256, 256, seed=z + x + y) for z in (0, 1, 2) for x in range(1 << z) for y in range(1 << z)}
    root = write_folder(Path(folder, "map"), cut(tiles, (2, 0, 0)))
    for other, options in enumerate([{"region": Box(512, 512, 1024, 1024)}, {"finest": 2}, {"finest": 3}]):
        assert counts(take(root, f"{store}{other}", **options)) == (1, 0, 0, 0)
    for options in ({"region": LEFT}, {"region": Box(0, 0, 1024, 1024)}):
        with pytest.raises(SourceError, match="tile 2/0/0 is no readable PNG"):
            take(root, store, **options)
    assert ingest([root], store, **OPTIONS).skipped_count == 1


def test_a_first_tile_that_is_no_picture_does_not_close_the_others(folder, store):
    tiles = {(z, x, y): png(256, 256, seed=z + x + y) for z in (0, 1) for x in range(1 << z) for y in range(1 << z)}
    root = write_folder(Path(folder, "map"), {**tiles, (1, 0, 0): b"garbage"})
    assert counts(take(root, store, region=Box(256, 256, 512, 512))) == (1, 0, 0, 0)
    with pytest.raises(SourceError, match="tile 1/0/0 is no picture"):
        take(root, f"{store}2", region=Box(0, 0, 10, 10))
    report = take(root, f"{store}3")
    assert report.skipped_count == 1 and "tile 1/0/0 is no picture" in report.skipped[0].reason


def test_bytes_count_in_proportion_to_what_was_read(folder, store):
    path = os.path.join(folder, "big.tif")
    save(path)
    size = os.path.getsize(path)
    report = take(path, store, region=Box(0, 0, 128, 128))
    assert 0 < report.bytes_read <= size * 128 * 128 / (HEIGHT * WIDTH) + 1
    assert report.pixels <= 128 * 128 + 1
    report = take(path, store, region=Box(0, 0, 256, 128))
    assert 0 < report.bytes_read < size / 2
    assert 0 < take(path, f"{store}2", finest=4).bytes_read < size / 2
    assert take(path, f"{store}3").bytes_read == size


def test_no_more_bytes_are_told_than_the_file_has(folder, store):
    path = os.path.join(folder, "big.tif")
    save(path)
    take(path, store, finest=4)
    told_of: list[int] = []
    take(path, store, on_event=lambda event: told_of.append(event.bytes))
    assert max(told_of) <= os.path.getsize(path)


def sparse(folder: str) -> Path:
    """Tiles of zoom 0 and 7, and nothing between."""
    tiles = {(7, x, y): png(256, 256, seed=1) for x in range(0, 40, 4) for y in range(0, 40, 4)}
    return write_folder(Path(folder, "map"), {(0, 0, 0): png(256, 256), **tiles})


class Fuller:
    """An image that says that it has all sizes, of which those between the first and the last show nothing."""

    levels = tuple(1 << power for power in range(8))

    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, box: Box, level: int = 0) -> Pixels:
        return self._source.read(box, {0: 0, 7: 1}[level])

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        return self._source.covered(box, level // 7) if level in (0, 7) else iter(())


def coarse(root: Path, store: str) -> int:
    """Put a coarse view there that cannot be opened by what the folder has; its number."""
    take(root, store, region=Box(0, 0, 10, 10))
    with mctree.open(store) as tree, tree.writer() as writer, open_image(root) as source:
        writer.add_image("map", Fuller(source), finest=8, replace=True)
        writer.commit()
        return writer.snapshot.image("map").id


def test_a_coarse_view_that_cannot_become_finer_is_superseded_by_its_pixels(folder, store):
    root = sparse(folder)
    number = coarse(root, store)
    for options in ({"region": Box(0, 0, 10, 10)}, {"finest": 7}):
        with pytest.raises(SourceError, match=r"ingest it without a region or a finest level, .* made of its pixels"):
            take(root, store, **options)
    assert counts(take(root, store)) == (0, 0, 1, 0)
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        image = snapshot.image("map")
        assert image.id != number and image.whole and image.complete
    assert counts(take(root, store)) == (0, 0, 0, 1)
