"""Pyramids in one pass, by blocks or by bands, against all nodes of every level made at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.encoders import CosineEncoder
from mctree.encoders.patches import cut
from mctree.encoders.pyramid import BandBuilder, BlockBuilder, Rows, make_parents
from mctree.encoders.statistics import Statistics, merged, of_patches
from mctree.errors import UsageError
from mctree.geometry import IMAGE, Raster, intervals
from tests.encoders.pictures import Picture, pictures

Nodes = dict[tuple[int, int], tuple[int, list[float], list[float], bytes]]
SIDES = st.one_of(st.integers(1, 40), st.integers(1, 520), st.sampled_from([1, 16, 17, 128, 129, 256, 257, 385]))
STORED: list[Callable[[NDArray[np.float32]], NDArray[np.generic]]] = [
    np.asarray,
    lambda vectors: vectors.astype(np.float16),
]


def plainly(picture: Picture, encoder: CosineEncoder | None, stored: Callable) -> Nodes:
    """All nodes, level by level, each level as one array of all nodes that its parent could have."""
    raster, channels = Raster(*picture.pixels.shape[:2]), picture.pixels.shape[2]
    patches = cut(picture.pixels, picture.mask)
    found = of_patches(patches.pixels, patches.mask)
    level = Statistics(np.zeros(raster.extent, np.int64), *np.zeros((2, raster.extent, channels)))
    for whole, part in ((level.count, found.count), (level.sum, found.sum), (level.square, found.square)):
        whole[patches.index] = part
    vectors = None
    if encoder is not None:
        vectors = np.zeros((raster.extent, encoder.dim), np.float32)
        vectors[patches.index] = encoder.encode_patches(patches.pixels, patches.mask)
        vectors = stored(vectors)
    nodes = described(0, np.arange(len(level)), level, vectors)
    for above in range(1, raster.root + 1):
        fanout = IMAGE.fanout(above - 1)
        if encoder is not None:
            weight = level.count.reshape(-1, fanout).astype(float)
            children = vectors.astype(np.float32).reshape(-1, fanout, encoder.dim)
            vectors = stored(encoder.encode_tiles(above, children, weight > 0, weight))
        level = merged(level, fanout)
        nodes |= described(above, np.arange(len(level)), level, vectors)
    return {node: facts for node, facts in nodes.items() if facts[0]}


def described(level: int, index: NDArray, of: Statistics, vectors: NDArray | None) -> Nodes:
    return {
        (level, one): (of.count.tolist()[k], of.sum[k].tolist(), of.square[k].tolist(), b"")
        if vectors is None
        else (of.count.tolist()[k], of.sum[k].tolist(), of.square[k].tolist(), vectors[k].tobytes())
        for k, one in enumerate(index.tolist())
    }


def gathered(batches: Iterable[list[Rows]]) -> Nodes:
    """What a builder handed out: by level in each batch, ascending, and no node twice."""
    nodes: Nodes = {}
    for batch in batches:
        assert [rows.level for rows in batch] == sorted({rows.level for rows in batch})
        for rows in batch:
            assert len(rows)
            assert (np.diff(rows.index) > 0).all()
            found = described(rows.level, rows.index, rows.statistics, rows.vectors)
            assert not nodes.keys() & found.keys()
            nodes |= found
    return nodes


@st.composite
def cases(draw: st.DrawFn) -> tuple[Picture, CosineEncoder | None, Callable]:
    picture = draw(pictures(SIDES))
    side = draw(st.sampled_from([None, 1, 2, 4]))
    encoder = None if side is None else CosineEncoder(picture.pixels.shape[2], side)
    return picture, encoder, draw(st.sampled_from(STORED))


def blocks(data: st.DataObject, raster: Raster) -> list[tuple[int, int]]:
    """Some nodes of an image, of mixed levels, none within another, in Z-order."""
    found = []
    stack = [(raster.root, 0)]
    while stack:
        level, index = stack.pop()
        if not raster.pixels(level, np.array([index]))[0]:
            continue
        choice = data.draw(st.sampled_from(["add", "add", "skip", "split", "split", "split"]))
        if choice == "add" or (level == 1 and choice == "split" and len(found) > 20):
            found.append((level, index))
        elif choice == "split" and level:
            first, stop = IMAGE.children(level, index)
            stack += [(level - 1, child) for child in reversed(range(first, stop))]
    return found


def only(picture: Picture, raster: Raster, chosen: list[tuple[int, int]]) -> Picture:
    """The picture, as if nothing outside these nodes were known."""
    covered = np.zeros(picture.pixels.shape[:2], np.bool_)
    for level, index in chosen:
        x0, y0, x1, y1 = raster.boxes(level, np.array([index]))[0]
        covered[y0:y1, x0:x1] = True
    return Picture(picture.pixels, picture.real & covered)


@settings(max_examples=60)
@given(cases(), st.data())
def test_blocks_in_z_order(case: tuple[Picture, CosineEncoder | None, Callable], data: st.DataObject) -> None:
    picture, encoder, stored = case
    height, width, channels = picture.pixels.shape
    raster = Raster(height, width)
    chosen = blocks(data, raster)
    stop_at = data.draw(st.integers(0, len(chosen)))
    builder = BlockBuilder(raster, channels, picture.pixels.dtype, encoder, stored=stored)
    batches = []
    for number, (level, index) in enumerate(chosen):
        if number == stop_at:
            builder = again(builder, picture, channels, encoder, stored, batches)
        x0, y0, x1, y1 = raster.boxes(level, np.array([index]))[0]
        mask = None if picture.mask is None else picture.mask[y0:y1, x0:x1]
        batches.append(builder.add(level, index, picture.pixels[y0:y1, x0:x1], mask))
        assert all(len(rows) <= (3 if rows.level else 63) for rows in builder.waiting)
    batches.append(builder.finish())
    assert not builder.waiting
    assert gathered(batches) == plainly(only(picture, raster, chosen), encoder, stored)


def again(
    builder: BlockBuilder | BandBuilder,
    picture: Picture,
    channels: int,
    encoder: CosineEncoder | None,
    stored: Callable,
    batches: list[list[Rows]],
) -> BlockBuilder:
    """A builder like this one, from nothing but its position and the rows that it handed out."""
    waiting = []
    for level, spans in builder.needed(builder.raster, builder.position):
        for batch in batches:
            for rows in batch:
                if rows.level == level and len(found := rows[intervals.contains(spans, rows.index)]):
                    waiting.append(found)
    made = type(builder)(
        builder.raster, channels, picture.pixels.dtype, encoder, stored=stored, start=builder.position, waiting=waiting
    )
    names = [(rows.level, rows.index.tolist()) for rows in builder.waiting]
    assert [(rows.level, rows.index.tolist()) for rows in made.waiting] == names
    return made


@settings(max_examples=60)
@given(cases(), st.data())
def test_bands_from_top_to_bottom(case: tuple[Picture, CosineEncoder | None, Callable], data: st.DataObject) -> None:
    picture, encoder, stored = case
    height, width, channels = picture.pixels.shape
    builder = BandBuilder(Raster(height, width), channels, picture.pixels.dtype, encoder, stored=stored)
    heights = st.one_of(st.integers(1, 9), st.sampled_from([16, 100, 128, 129, 256, 300]))
    end = data.draw(st.one_of(st.just(height), st.integers(0, height)))
    given_, batches = 0, []
    while given_ < end:
        band = slice(given_, min(given_ + data.draw(heights), end))
        buffer = picture.pixels[band].copy()
        batches.append(builder.add(buffer, None if picture.mask is None else picture.mask[band]))
        buffer[:] = 0
        given_ = band.stop
        if given_ == builder.position:
            builder = again(builder, picture, channels, encoder, stored, batches)
    batches.append(builder.finish())
    assert not builder.waiting
    seen = picture.real.copy()
    seen[end:] = False
    assert gathered(batches) == plainly(Picture(picture.pixels, seen), encoder, stored)


@settings(max_examples=30)
@given(cases(), st.data())
def test_a_change_is_made_anew_from_its_parents_children(
    case: tuple[Picture, CosineEncoder | None, Callable], data: st.DataObject
) -> None:
    """Of one changed box, the patches in it and their ancestors alone: the rest are read as they were."""
    picture, encoder, stored = case
    height, width, _ = picture.pixels.shape
    raster = Raster(height, width)
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    changed = picture.pixels.copy()
    changed[box[1] : box[3], box[0] : box[2]] ^= 21
    rows = everything(picture, encoder, stored)
    after = everything(Picture(changed, picture.mask), encoder, stored)
    dirty = raster.nodes(0, box)
    mended = {0: after[0]}
    for level, parents in raster.ancestors(0, dirty):
        below = mended[level - 1]
        touched = below[intervals.contains(parents, below.index // IMAGE.fanout(level - 1))]
        kept = rows[level][~intervals.contains(parents, rows[level].index)]
        mended[level] = kept.joined(make_parents(touched, encoder, stored)) if len(touched) else kept
    for level in range(raster.root + 1):
        assert gathered([[mended[level]]] if len(mended[level]) else []) == gathered(
            [[after[level]]] if len(after[level]) else []
        )


def everything(picture: Picture, encoder: CosineEncoder | None, stored: Callable) -> list[Rows]:
    """All rows of each level."""
    height, width, channels = picture.pixels.shape
    raster = Raster(height, width)
    builder = BlockBuilder(raster, channels, picture.pixels.dtype, encoder, stored=stored)
    found = [builder._none(level) for level in range(raster.root + 1)]
    for rows in [*builder.add(raster.root, 0, picture.pixels, picture.mask), *builder.finish()]:
        found[rows.level] = found[rows.level].joined(rows)
    return found


def test_a_block_of_the_largest_image_costs_what_it_holds() -> None:
    raster = Raster(1_000_000_000, 1_000_000_000)
    builder = BlockBuilder(raster, 3, np.dtype(np.uint8), CosineEncoder(3, 4))
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    batches = []
    for index in (0, 1, 4**20, IMAGE.ancestor(0, raster.nodes(0, (999_999_500, 999_999_500, 10**9, 10**9))[0, 0], 3)):
        x0, y0, x1, y1 = raster.boxes(3, np.array([index]))[0]
        batches.append(builder.add(3, index, pixels[: y1 - y0, : x1 - x0]))
        assert sum(map(len, builder.waiting)) <= 3 * 24
    batches.append(builder.finish())
    nodes = gathered(batches)
    assert (24, 0) in nodes
    assert nodes[24, 0][0] == sum(facts[0] for (level, _), facts in nodes.items() if level == 0)
    assert len([None for level, _ in nodes if level > 3]) <= 4 * 21


def test_what_is_not_taken() -> None:
    raster = Raster(300, 200)
    uint8 = np.dtype(np.uint8)
    builder = BlockBuilder(raster, 3, uint8)
    with pytest.raises(UsageError, match=r"uint8 pixels \[128, 72, 3\] are due, not uint8 \[128, 128, 3\]"):
        builder.add(1, 1, np.zeros((128, 128, 3), np.uint8))
    with pytest.raises(UsageError, match="are due, not uint16"):
        builder.add(1, 0, np.zeros((128, 128, 3), np.uint16))
    builder.add(1, 1, np.zeros((128, 72, 3), np.uint8))
    with pytest.raises(UsageError, match="node 1:0 lies before position 128"):
        builder.add(1, 0, np.zeros((128, 128, 3), np.uint8))
    with pytest.raises(UsageError, match="node 1:4 lies outside the image"):
        builder.add(1, 4, np.zeros((128, 128, 3), np.uint8))
    with pytest.raises(UsageError, match="pixels are uint8 or uint16, not float32"):
        BlockBuilder(raster, 3, np.dtype(np.float32))
    with pytest.raises(UsageError, match="an encoder of 1 channels cannot encode an image of 3"):
        BlockBuilder(raster, 3, uint8, CosineEncoder(1, 4))
    with pytest.raises(UsageError, match="from 0 to 1024, not 1025"):
        BlockBuilder(raster, 3, uint8, start=1025)
    with pytest.raises(UsageError, match="level 3 cannot wait"):
        BlockBuilder(raster, 3, uint8, waiting=builder.finish()[-1:])
    bands = BandBuilder(raster, 3, uint8)
    with pytest.raises(UsageError, match="301 rows of 200 pixels are not the next ones"):
        bands.add(np.zeros((301, 200, 3), np.uint8))
    with pytest.raises(UsageError, match="1 rows of 199 pixels are not the next ones"):
        bands.add(np.zeros((1, 199, 3), np.uint8))
    with pytest.raises(UsageError, match="multiple of 128"):
        BandBuilder(raster, 3, uint8, start=100)
    with pytest.raises(UsageError, match="need the vectors of their children"):
        make_parents(everything(Picture(np.zeros((5, 5, 1), np.uint8), None), None, np.asarray)[0], CosineEncoder(1))
