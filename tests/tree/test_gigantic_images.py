"""A thousand million pixels a side: usable at once, fetched as it is looked at, and in the end as if read at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import SourceError, UsageError
from mctree.sources.images import Box, open_image
from mctree.testing import ProceduralSource, assert_whole
from mctree.testing.dump import dump
from mctree.tree.images import roster
from tests.sources.images.tile_sets import encoded, write_pmtiles

ZOOM = 22
PLACES = [(0, 0), (1, 0), (1_400_000, 2_200_000), (1_400_001, 2_200_001), ((1 << ZOOM) - 1, 77)]


def tile_of(column: int, row: int) -> NDArray[np.uint8]:
    """Every tile of zoom 22 has a colour of its own, and some noise."""
    rng = np.random.default_rng((column, row))
    return (rng.integers(0, 40, (256, 256, 3)) + rng.integers(40, 216, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tiles of zoom 22, and what they look like from each coarser zoom, as tools that make such archives do it."""
    level = {place: tile_of(*place) for place in PLACES}
    tiles = {}
    for zoom in range(ZOOM, -1, -1):
        tiles |= {(zoom, *place): encoded(values) for place, values in level.items()}
        above: dict[tuple[int, int], NDArray[np.uint8]] = {}
        for (column, row), values in level.items():
            whole = above.setdefault((column // 2, row // 2), np.zeros((256, 256, 3), np.uint8))
            smaller = values.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
            x, y = column % 2 * 128, row % 2 * 128
            whole[y : y + 128, x : x + 128] = np.rint(smaller)
        level = above
    return write_pmtiles(tmp_path_factory.mktemp("world") / "world.pmtiles", tiles)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        tree.build_gists(CosineEncoder(3, 2), "pictures")
        yield tree


def test_an_archive_of_tiles_is_usable_at_once_and_finer_where_somebody_looks(
    tree: mctree.Tree, archive: Path, tmp_path: Path
) -> None:
    place = Box(1_400_000 * 256, 2_200_000 * 256, 1_400_001 * 256, 2_200_001 * 256)
    with tree.writer() as writer:
        with open_image(archive, channels=3) as source:
            assert source.levels == tuple(1 << power for power in range(ZOOM + 1))
            writer.add_image("world", source, finest=21)
        writer.commit()
        with tree.snapshot() as snapshot:
            image = snapshot.image("world")
            assert (image.width, image.root) == (1 << 30, 24)
            assert image.node(24, 0, 0).made_from == "overview"
            assert 4 <= image.colour(21).mask.sum() <= 4 * 8
            # A reader sees a tile of the finest zoom, and what is around it, by asking the archive.
            with image.follow() as followed:
                seen = followed.colour(1, Box(place.x0 // 128, place.y0 // 128, place.x1 // 128 + 1, place.y1 // 128))
                assert seen.mask.tolist() == [[True, True, False], [True, True, False]]
                halves = tile_of(1_400_000, 2_200_000).reshape(2, 128, 2, 128, 3)
                assert np.array_equal(seen.mean[:, :2], halves.sum(axis=(1, 3), dtype=np.int64) / 128**2)
                assert np.array_equal(followed.pixels(place).values, tile_of(1_400_000, 2_200_000))
        assert writer.deepen_image("world", region=place) > 18
        writer.commit()
        with tree.snapshot() as snapshot:
            image = snapshot.image("world")
            tile = image.node(1, place.x0 // 128, place.y0 // 128)
            assert tile.made_from == "pixels" and tile.parent is not None
            beside = np.array([image.index_at(1, place.x0 // 128 - 1, place.y0 // 128)])
            assert image.states(1, beside).tolist() == [0], "what an overview shows beside it may be something"
            assert not image.complete
        assert_whole(tree)
        writer.deepen_image("world")
        writer.commit()
    with (
        mctree.create(tmp_path / "anew.mctree", chunk_bytes=1 << 16) as anew,
        open_image(archive, channels=3) as source,
    ):
        anew.build_gists(CosineEncoder(3, 2), "pictures")
        with anew.writer() as writer:
            writer.add_image("world", source)
        with tree.snapshot() as ours, anew.snapshot() as theirs:
            assert list(dump(ours)) == list(dump(theirs))
            rows = [ours.state(array).rows for array in ours.gallery.statistics_arrays(3)]
            assert sum(rows) < 64 * 4 * 5 * 4 + 24 * 64 * 9, "what was covered, and the ways to it"


def test_an_archive_with_a_coarse_zoom_and_the_finest_alone(tree: mctree.Tree, tmp_path: Path) -> None:
    """What the coarse zoom does not show is found by the finest one; nothing between is needed for few tiles."""
    tiles = {(ZOOM, *place): encoded(tile_of(*place)) for place in PLACES}
    tiles[3, 2, 4] = encoded(tile_of(2, 4))  # over the tiles in the middle, and over none of the others
    path = write_pmtiles(tmp_path / "few.pmtiles", tiles)
    with tree.writer() as writer, open_image(path, channels=3) as source:
        assert source.levels == (1, 1 << 19)
        writer.add_image("world", source, finest=20)
        writer.commit()
        assert_whole(tree)
        image = writer.snapshot.image("world")
        assert image.colour(20).mask.sum() == 4 + 2, "four of the coarse tile's own, and two where there are others"
        writer.deepen_image("world", source, finest=0)
        writer.commit()
    with tree.snapshot() as snapshot:
        assert snapshot.image("world").complete
        top = snapshot.image("world").node(24, 0, 0)
        assert int(top.statistics.pixels[0]) == 5 * 256 * 256
    assert_whole(tree)


def test_threads_are_shown_the_same(tree: mctree.Tree) -> None:
    side = 1 << 30
    source = ProceduralSource(side, side, levels=tuple(1 << power for power in range(23)))
    with tree.writer() as writer:
        writer.add_image("world", source, finest=22)
    with tree.snapshot() as snapshot, snapshot.image("world").follow(source, remember=50) as image:
        rng = np.random.default_rng(2)
        asked = [(int(rng.integers(1, 20)), int(rng.integers(1 << 5)), int(rng.integers(1 << 5))) for _ in range(40)]

        def look(one: tuple[int, int, int]) -> tuple[bytes, bytes]:
            level, x, y = one
            index = np.array([image.index_at(level, x, y)])
            return image.rows(level, index)[1].tobytes(), image.gists(level, index, "pictures")[0].tobytes()

        with ThreadPoolExecutor(4) as pool:
            several = list(pool.map(look, asked * 2))
        assert several == [look(one) for one in asked * 2]
        level, x, y = 1, 1_000_000, 3_000_000
        tile = image.statistics(level, np.array([image.index_at(level, x, y)]))
        box = Box(x * 128, y * 128, (x + 1) * 128, (y + 1) * 128)
        assert tile.mean[0].tolist() == source.mean(box).tolist()
        patches = np.array([image.index_at(0, x * 8 + i, y * 8) for i in range(8)])
        assert (image.statistics(0, patches).pixels == 256).all()
        with pytest.raises(UsageError, match="fetched at once"):
            image.colour(1, Box(0, 0, 200, 200))
        with pytest.raises(SourceError, match="has changed"):
            snapshot.image("world").follow(ProceduralSource(side, side, seed=1, levels=source.levels))


def test_room_behind_the_last_image_that_lives_comes_back_with_compaction(
    tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, extent = 1 << 30, 1 << 52
    monkeypatch.setattr(roster, "ARENA_LIMIT", 3 * extent)
    source = ProceduralSource(
        side, side, levels=tuple(1 << k for k in range(23)), covered=[Box(0, 0, 1 << 22, 1 << 22)]
    )
    with tree.writer() as writer:
        writer.add_image("small", ProceduralSource(100, 100))
        writer.add_image("world", source, finest=22)
        writer.commit()
        assert writer.snapshot.image("world").base == extent
        writer.add_image("world", source, finest=22, replace=True)
        with pytest.raises(UsageError, match=r"no room is left in the arena .* compact this one"):
            writer.add_image("more", source, finest=22)
        writer.commit()
        writer.remove("world")
    tree.compact()
    with tree.writer() as writer:
        writer.add_image("world", source, finest=22)
        writer.commit()
        assert writer.snapshot.image("world").base == extent
    assert_whole(tree)
