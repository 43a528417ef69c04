"""Pictures of nodes of mixed levels against looking every pixel up in every node's box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.cli.painting import fitting, paint, save, suitable_level
from mctree.encoders import CosineEncoder
from mctree.encoders.patches import cut
from mctree.errors import UsageError
from mctree.geometry import IMAGE, Raster, morton
from mctree.sources.images import Box

PAPER = [236, 235, 230]
SIDES = st.one_of(st.integers(1, 40), st.integers(1, 600))


@st.composite
def nodes(draw: st.DrawFn, raster: Raster) -> list[tuple[int, int]]:
    """Some nodes of mixed levels that do not overlap, in Z-order."""
    found: list[tuple[int, int]] = []
    stack = [(raster.root, 0)]
    while stack:
        level, index = stack.pop()
        choice = draw(st.sampled_from(["keep", "keep", "leave out", "split", "split", "split"]))
        if choice == "keep" or (choice == "split" and (level == 0 or len(found) > 25)):
            found.append((level, index))
        elif choice == "split":
            first, stop = IMAGE.children(level, index)
            stack += [(level - 1, child) for child in reversed(range(first, stop))]
    return found


@settings(max_examples=60)
@given(SIDES, SIDES, st.data())
def test_every_pixel_shows_the_node_that_lies_there(height: int, width: int, data: st.DataObject) -> None:
    raster = Raster(height, width)
    chosen = data.draw(nodes(raster))
    level, index = (np.array([node[k] for node in chosen], dtype=np.int64) for k in (0, 1))
    channels, cells = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 2, 4]))
    colours = np.random.default_rng(0).integers(0, 256, (len(chosen), cells, cells, channels)) / 255
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    rows, columns = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    given_ = colours[:, 0, 0] if cells == 1 and data.draw(st.booleans()) else colours
    picture = paint(raster, level, index, given_, Box(x0, y0, x1, y1), (rows, columns), samples=1)
    assert picture.shape == (rows, columns, 3)
    assert picture.dtype == np.uint8
    for i in range(rows):
        for k in range(columns):
            x, y = x0 + int((k + 0.5) * (x1 - x0) / columns), y0 + int((i + 0.5) * (y1 - y0) / rows)
            assert picture[i, k].tolist() == looked_up(chosen, colours, x, y)


def looked_up(chosen: list[tuple[int, int]], colours: NDArray[np.float64], x: int, y: int) -> list[int]:
    for k, (level, index) in enumerate(chosen):
        side = 16 if level == 0 else 64 << level
        left, top = (axis * side for axis in morton.decode(index))
        if left <= x < left + side and top <= y < top + side:
            cells = colours.shape[1]
            colour = (
                np.rint(colours[k, (y - top) * cells // side, (x - left) * cells // side] * 255).astype(int).tolist()
            )
            return colour[:3] if len(colour) >= 3 else colour[:1] * 3
    return PAPER


def test_patches_with_all_their_cells_are_the_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 75, 3)).astype(np.uint8)
    encoder, raster, patches = CosineEncoder(3, 16), Raster(100, 75), cut(pixels)
    seen = encoder.decode(encoder.encode_patches(patches.pixels, patches.mask))
    whole = patches.mask.all(axis=(1, 2))
    level = np.zeros(len(patches), np.int64)[whole]
    picture = paint(raster, level, patches.index[whole], seen[whole], Box(16, 0, 64, 96), (96, 48), samples=1)
    assert np.array_equal(picture, pixels[:96, 16:64])


def test_samples_are_averaged_and_outlines_are_darker() -> None:
    raster = Raster(128, 256)
    level, index = np.array([1, 1]), np.array([0, 1])
    colours = np.array([[0.0], [1.0]])
    picture = paint(raster, level, index, colours, Box(120, 0, 136, 128), (1, 1), samples=2)
    assert picture.tolist() == [[[128, 128, 128]]]
    lined = paint(raster, level, index, colours, Box(0, 0, 256, 128), (4, 8), samples=1, outlines=True)
    assert lined[:, :, 0].tolist() == [[0, 0, 0, 0, 140, 255, 255, 255]] * 4


def test_a_view_of_the_largest_image() -> None:
    raster = Raster(10**9, 10**9)
    index = morton.encode(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    colours = np.arange(4)[:, None] / 255
    picture = paint(raster, np.full(4, 23), index, colours, Box(0, 0, 10**9, 10**9), (20, 20))
    side = raster.side(23) / 10**9 * 20
    assert picture[0, int(side) - 1].tolist() == [0] * 3
    assert picture[0, int(side) + 1].tolist() == [1] * 3
    assert picture[19, 19].tolist() == [3] * 3


def test_sizes_and_levels() -> None:
    raster = Raster(3000, 1000)
    assert fitting(Box(0, 0, 1000, 3000), 600) == (600, 200)
    assert fitting(Box(0, 0, 5, 10**9), 600) == (600, 1)
    assert suitable_level(raster, Box(0, 0, 1000, 3000), (600, 200)) == 0
    assert suitable_level(raster, Box(0, 0, 1000, 3000), (20, 10)) == 0
    assert suitable_level(raster, Box(0, 0, 1000, 3000), (20, 5), cells=4) == 3
    assert suitable_level(raster, Box(0, 0, 1000, 3000), (1, 1)) == 3


def test_a_file(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    save(picture, str(tmp_path / "seen.png"))
    with image.open(tmp_path / "seen.png") as opened:
        assert np.array_equal(np.asarray(opened), picture)
    with pytest.raises(UsageError, match="no image format has names like"):
        save(picture, str(tmp_path / "seen.txt"))


def test_what_is_not_painted() -> None:
    raster, one = Raster(300, 200), np.ones((1, 1))
    level, index = np.array([1]), np.array([0])
    with pytest.raises(UsageError, match="is not within an image of 200 × 300"):
        paint(raster, level, index, one, Box(0, 0, 201, 300), (4, 4))
    with pytest.raises(UsageError, match="too large"):
        paint(raster, level, index, one, Box(0, 0, 200, 300), (8000, 8000))
    with pytest.raises(UsageError, match="overlap, or are not in Z-order"):
        paint(raster, np.array([1, 0]), np.array([0, 5]), np.ones((2, 1)), Box(0, 0, 9, 9), (4, 4))
    with pytest.raises(UsageError, match="colours of 1 nodes"):
        paint(raster, level, index, np.ones((2, 3)), Box(0, 0, 9, 9), (4, 4))
