"""A lens for a part of an image: what it wants comes in full, all else stays as coarse as can be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import UsageError
from mctree.focus import Allocator, RegionLens, WorkingContext, converge
from mctree.geometry import IMAGE, TEXT
from mctree.sources.images import Box
from mctree.tree import Image, Snapshot

SIZES = {"a": (700, 300), "b": (140, 1000)}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    path = tmp_path_factory.mktemp("regions") / "t.mctree"
    with mctree.create(path, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add("before", "x" * 32 * 1100)
            for name, size in SIZES.items():
                writer.add_image(name, np.zeros(size, np.uint8))
                writer.add(f"behind {name}", "y" * 100)
        with tree.snapshot() as snapshot:
            yield snapshot


def wanted(image: Image, region: Box) -> set[int]:
    """The tiles that meet a region, by a look at each."""
    rows, columns = image.raster.grid(1)
    return {
        image.index_at(1, x, y)
        for y in range(rows)
        for x in range(columns)
        if Box(x * 128, y * 128, (x + 1) * 128, (y + 1) * 128).common(region) is not None
    }


def shown(context: WorkingContext) -> set[int]:
    entries = context.entries
    tiles = entries.index[(entries.space == 1) & (entries.level == 0)] // IMAGE.block
    assert not ((entries.space == 0) & (entries.level == 0)).any(), "no block of a text was wanted"
    return set(tiles.tolist())


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_region_comes_in_full_and_all_else_is_as_coarse_as_can_be(snapshot: Snapshot, data: st.DataObject) -> None:
    context = WorkingContext.smallest(snapshot, 6000, Allocator(cooldown=data.draw(st.integers(0, 2))))
    for name in data.draw(st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=3)):
        image = snapshot.image(name)
        x0, y0 = data.draw(st.integers(0, image.width - 1)), data.draw(st.integers(0, image.height - 1))
        box = Box(x0, y0, data.draw(st.integers(x0 + 1, image.width)), data.draw(st.integers(y0 + 1, image.height)))
        for _ in converge(context, RegionLens(image, box)):
            assert context.check() is None
        tiles = wanted(image, box)
        assert shown(context) == tiles
        # Whatever is expanded is so for a tile of the region: the least that shows it.
        entries = context.entries
        around = entries.take((entries.space == 1) & (entries.level > 0))
        assert (around.slot == image.block * TEXT.block).all(), "other images are closed"
        parents = {(int(level) + 1, int(node) // 4) for level, node in zip(around.level, around.index, strict=True)}
        above = {(level, tile // 4 ** (level - 1)) for tile in tiles for level in range(2, image.root + 1)}
        assert parents <= above


def test_all_of_an_image_is_wanted_where_no_region_is_named(snapshot: Snapshot) -> None:
    image = snapshot.image("b")
    context = WorkingContext.smallest(snapshot, 6000, Allocator(cooldown=0))
    for _ in converge(context, RegionLens(image)):
        pass
    assert shown(context) == wanted(image, Box(0, 0, 1000, 140))


def test_what_there_is_no_room_for_stays_coarse(snapshot: Snapshot) -> None:
    context = WorkingContext.smallest(snapshot, 200, Allocator(cooldown=0))
    for _ in converge(context, RegionLens(snapshot.image("a"))):
        assert context.check() is None
    assert context.cost <= 200 and 1 <= len(shown(context)) < 18


@pytest.mark.parametrize("region", [Box(0, 0, 301, 5), (0, 0, 5, 5), "all"])
def test_a_region_that_is_none_is_refused(snapshot: Snapshot, region: Box) -> None:
    with pytest.raises(UsageError, match="a region of this image is a Box within 0,0,300,700"):
        RegionLens(snapshot.image("a"), region)
