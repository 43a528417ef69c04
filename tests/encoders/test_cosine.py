"""Vectors of images against the pictures they stand for, and against the rule for what is missing, pixel by pixel."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.encoders import CosineEncoder, VisualEncoder, load_visual_encoder
from mctree.encoders.patches import cut
from mctree.errors import CorruptError, UsageError
from mctree.geometry import IMAGE, Raster, morton
from tests.encoders.pictures import SHORT_SIDES, Picture, Sums, pictures

CELLS = st.sampled_from([1, 2, 4, 8, 16])


def pyramid(picture: Picture, encoder: CosineEncoder) -> list[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """For every level, the vectors and the real pixels of all nodes; of those that do not exist, too."""
    raster = Raster(*picture.pixels.shape[:2])
    patches = cut(picture.pixels, picture.mask)
    vectors, weight = np.zeros((raster.extent, encoder.dim), np.float32), np.zeros(raster.extent)
    vectors[patches.index] = encoder.encode_patches(patches.pixels, patches.mask)
    weight[patches.index] = patches.mask.sum(axis=(1, 2))
    levels = [(vectors, weight)]
    for level in range(1, raster.root + 1):
        vectors, weight = levels[-1]
        fanout = IMAGE.fanout(level - 1)
        children, pixels = vectors.reshape(-1, fanout, encoder.dim), weight.reshape(-1, fanout)
        levels.append((encoder.encode_tiles(level, children, pixels > 0, pixels), pixels.sum(axis=1)))
    return levels


@settings(max_examples=50)
@given(pictures(), CELLS)
def test_the_first_numbers_are_the_mean_colour_at_every_level(picture: Picture, side: int) -> None:
    raster, sums = Raster(*picture.pixels.shape[:2]), Sums(picture)
    channels = picture.pixels.shape[2]
    encoder = CosineEncoder(channels, side)
    for level, (vectors, weight) in enumerate(pyramid(picture, encoder)):
        assert np.isfinite(vectors).all()
        count, total, _ = sums.over(raster.boxes(level, np.arange(len(vectors))))
        assert weight.tolist() == count.tolist()
        assert not vectors[count == 0].any()
        mean = total / np.maximum(count, 1)[:, None] / picture.largest
        assert np.allclose(vectors[:, :channels], mean, rtol=(level + 1) * 2.0**-24, atol=1e-30)


@settings(max_examples=50)
@given(pictures(), CELLS)
def test_a_whole_node_decodes_to_the_means_of_its_cells(picture: Picture, side: int) -> None:
    sums = Sums(picture)
    encoder = CosineEncoder(picture.pixels.shape[2], side)
    for level, (vectors, weight) in enumerate(pyramid(picture, encoder)):
        across = 16 if level == 0 else 64 << level
        step = across // side
        x, y = (axis * across for axis in morton.decode(np.arange(len(vectors))))
        whole = np.flatnonzero(weight == across**2)
        seen = encoder.decode(vectors[whole])
        for row in range(side):
            for column in range(side):
                left, top = x[whole] + column * step, y[whole] + row * step
                count, total, _ = sums.over(np.column_stack((left, top, left + step, top + step)))
                assert (count == step**2).all()
                assert np.allclose(seen[:, row, column], total / step**2 / picture.largest, atol=side * 2e-6)


@settings(max_examples=50)
@given(pictures(SHORT_SIDES), CELLS)
def test_what_is_missing_deviates_from_the_mean_by_nothing(picture: Picture, side: int) -> None:
    """The rule of the module's docstring, in plain loops, for patches and tiles."""
    height, width, channels = picture.pixels.shape
    encoder, raster = CosineEncoder(channels, side), Raster(height, width)
    (patches, weight), (tiles, _), *_ = pyramid(picture, encoder)
    pixels = np.zeros((*(16 * -(-n // 16) for n in (height, width)), channels))
    real = np.zeros(pixels.shape[:2], np.bool_)
    real[:height, :width] = picture.real
    pixels[:height, :width] = picture.pixels / picture.largest
    step = 16 // side
    deviations = np.zeros((raster.extent, side, side, channels))
    for node in np.flatnonzero(weight).tolist():
        x, y = morton.decode(node)
        square = slice(16 * y, 16 * y + 16), slice(16 * x, 16 * x + 16)
        mean = pixels[square][real[square]].mean(axis=0)
        away = np.where(real[square][..., None], pixels[square] - mean, 0)
        deviations[node] = away.reshape(side, step, side, step, channels).mean(axis=(1, 3))
        assert np.allclose(encoder.decode(patches[node : node + 1])[0], mean + deviations[node], atol=1e-5)
    means, cover = patches[:, :channels].astype(np.float64), weight / 256
    for tile in range(len(tiles)):
        below = slice(64 * tile, 64 * tile + 64)
        if not weight[below].any():
            continue
        mean = (means[below] * weight[below, None]).sum(axis=0) / weight[below].sum()
        away = cover[below, None, None, None] * (means[below] - mean)[:, None, None] + deviations[below]
        seen = np.zeros((8 * side, 8 * side, channels))
        for child in range(64):
            x, y = morton.decode(child)
            seen[side * y : side * y + side, side * x : side * x + side] = away[child]
        expected = mean + seen.reshape(side, 8, side, 8, channels).mean(axis=(1, 3))
        assert np.allclose(encoder.decode(tiles[tile : tile + 1])[0], expected, atol=side * 1e-5)


@settings(max_examples=50)
@given(pictures(SHORT_SIDES), CELLS, st.integers(0, 2**32))
def test_a_vector_depends_on_its_own_row_alone(picture: Picture, side: int, seed: int) -> None:
    channels = picture.pixels.shape[2]
    encoder = CosineEncoder(channels, side)
    patches = cut(picture.pixels, picture.mask)
    whole = encoder.encode_patches(patches.pixels, patches.mask)
    order = np.random.default_rng(seed).permutation(len(patches))[:5]
    for rows in (order, order[:1]):
        again = encoder.encode_patches(patches.pixels[rows], patches.mask[rows].copy())
        assert again.tobytes() == whole[rows].tobytes()
    for level, ((below, weight), (above, _)) in enumerate(pairwise(pyramid(picture, encoder)), start=1):
        fanout = IMAGE.fanout(level - 1)
        children, pixels = below.reshape(-1, fanout, encoder.dim), weight.reshape(-1, fanout)
        row = seed % len(above)
        rows = np.array([row, (row * 7 + 3) % len(above)])
        again = encoder.encode_tiles(level, children[rows], pixels[rows] > 0, pixels[rows])
        assert again.tobytes() == above[rows].tobytes()


@settings(max_examples=50)
@given(pictures(SHORT_SIDES), CELLS)
def test_what_is_masked_is_not_looked_at(picture: Picture, side: int) -> None:
    channels = picture.pixels.shape[2]
    encoder = CosineEncoder(channels, side)
    patches = cut(picture.pixels, picture.mask)
    garbage = np.where(patches.mask[..., None], patches.pixels, patches.pixels.dtype.type(201))
    clean = encoder.encode_patches(patches.pixels, patches.mask)
    assert encoder.encode_patches(garbage, patches.mask).tobytes() == clean.tobytes()
    (below, weight), (tiles, _), *_ = pyramid(picture, encoder)
    children, pixels = below.reshape(-1, 64, encoder.dim), weight.reshape(-1, 64)
    spoiled = np.where((pixels > 0)[..., None], children, np.float32(np.nan))
    heavy = np.where(pixels > 0, pixels, 5)
    assert encoder.encode_tiles(1, spoiled, pixels > 0, heavy).tobytes() == tiles.tobytes()


@settings(max_examples=50)
@given(pictures(SHORT_SIDES), CELLS)
def test_an_overview_by_area_gives_the_gists_of_what_it_stands_for(picture: Picture, side: int) -> None:
    """A tile of an overview, two times smaller, is the node of level 2: where all pixels are there."""
    channels = picture.pixels.shape[2]
    flat = np.kron(picture.pixels[:128, :128].astype(np.int64), np.ones((2, 2, 1), np.int64)).astype(
        picture.pixels.dtype
    )
    encoder = CosineEncoder(channels, side)
    fine, coarse = Picture(flat, None), Picture(picture.pixels[:128, :128], None)
    root = Raster(*flat.shape[:2]).root
    (tile, weight) = pyramid(coarse, encoder)[1]
    if root == 2 and weight[0] == 128**2:
        assert np.allclose(pyramid(fine, encoder)[2][0], tile, atol=side * 4e-6)


@given(CELLS, st.integers(1, 4), st.integers(0, 2**32))
def test_a_dot_product_is_the_mean_product_of_two_pictures(side: int, channels: int, seed: int) -> None:
    encoder = CosineEncoder(channels, side)
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 16, 16, channels)).astype(np.uint8)
    vectors = encoder.encode_patches(pixels, np.ones((2, 16, 16), np.bool_)).astype(np.float64)
    one, other = encoder.decode(vectors).astype(np.float64)
    assert vectors[0] @ vectors[1] == pytest.approx((one * other).sum(axis=2).mean(), rel=1e-5)
    if side == 16:
        assert np.allclose(one, pixels[0] / 255, atol=1e-5)


def test_one_colour_is_nothing_but_its_mean() -> None:
    picture = Picture(np.full((300, 200, 3), 77, np.uint8), np.random.default_rng(0).random((300, 200)) < 0.7)
    for vectors, weight in pyramid(picture, CosineEncoder(3, 4)):
        assert np.allclose(vectors[weight > 0][:, :3], 77 / 255, atol=1e-7)
        assert np.allclose(vectors[:, 3:], 0, atol=1e-8)


def test_types_of_pixels_agree() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 2)).astype(np.uint8)
    mask = np.ones((3, 16, 16), np.bool_)
    encoder = CosineEncoder(2, 8)
    wide = encoder.encode_patches(pixels.astype(np.uint16) * 257, mask)
    assert np.allclose(encoder.encode_patches(pixels, mask), wide, atol=1e-7)


def test_no_patches_and_no_tiles() -> None:
    encoder = CosineEncoder(1, 2)
    assert encoder.encode_patches(np.zeros((0, 16, 16, 1), np.uint8), np.zeros((0, 16, 16), np.bool_)).shape == (0, 4)
    empty = np.zeros((0, 4))
    assert encoder.encode_tiles(2, np.zeros((0, 4, 4), np.float32), empty > 0, empty).shape == (0, 4)
    assert encoder.decode(np.zeros((0, 4), np.float32)).shape == (0, 2, 2, 1)


@given(st.integers(1, 64), CELLS)
def test_an_encoder_comes_back_from_its_dump(channels: int, side: int) -> None:
    encoder = CosineEncoder(channels, side)
    again = load_visual_encoder(encoder.kind, encoder.dump())
    assert isinstance(again, CosineEncoder)
    assert isinstance(encoder, VisualEncoder)
    assert (again.channels, again.side, again.dim) == (channels, side, channels * side**2)
    assert again.fingerprint == encoder.fingerprint
    assert encoder.modalities == {"image"}


def test_fingerprints_differ() -> None:
    assert len({CosineEncoder(channels, side).fingerprint for channels in (1, 3) for side in (1, 2, 4, 8, 16)}) == 10


@given(st.binary(max_size=14))
def test_what_is_no_dump(data: bytes) -> None:
    with pytest.raises(CorruptError, match="no cosine encoder"):
        load_visual_encoder("cosine", data)
    with pytest.raises(CorruptError, match="no cosine encoder"):
        load_visual_encoder("cosine", b"mcosine1\x03\x00" + data[:1] + b"\xff")


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="no encoder of images of kind 'lexical'"):
        load_visual_encoder("lexical", b"")
    with pytest.raises(UsageError, match="1 … 64 channels, not 0"):
        CosineEncoder(0)
    with pytest.raises(UsageError, match="must be one of"):
        CosineEncoder(3, 3)
    encoder = CosineEncoder(3, 4)
    with pytest.raises(UsageError, match="takes 3 channels, and the patches have 1"):
        encoder.encode_patches(np.zeros((1, 16, 16, 1), np.uint8), np.ones((1, 16, 16), np.bool_))
    with pytest.raises(UsageError, match="level 2 was given children"):
        encoder.encode_tiles(2, np.zeros((1, 64, 48), np.float32), np.ones((1, 64), np.bool_), np.ones((1, 64)))
    with pytest.raises(UsageError, match="level 0 was given children"):
        encoder.encode_tiles(0, np.zeros((1, 64, 48), np.float32), np.ones((1, 64), np.bool_), np.ones((1, 64)))
    with pytest.raises(UsageError, match="vectors must be"):
        encoder.decode(np.zeros((1, 47), np.float32))
