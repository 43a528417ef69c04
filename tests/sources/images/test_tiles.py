"""Tiles by zoom, column and row: PMTiles, MBTiles and folders give the same image, sparse and up to zoom 22."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mctree.errors import SourceError, UsageError
from mctree.sources.images import LARGEST_SIDE, Box, open_image
from mctree.sources.images.protocol import level_box
from tests.sources.images.reading import FEW, Whole, check_source
from tests.sources.images.tile_sets import (
    SIDE,
    WRITERS,
    colours,
    encoded,
    write_folder,
    write_pmtiles,
)

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
