"""Images of which parts are taken, one after the other: right at every moment, and in the end as if added at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import NotFoundError, SourceError, UsageError
from mctree.geometry import IMAGE, Raster
from mctree.sources.images import Box, ImageSource, Pixels
from mctree.testing import assert_whole, scratch
from mctree.testing.dump import dump
from mctree.testing.procedural import ProceduralSource
from mctree.tree.images.extending import joined
from mctree.tree.images.image import STATES, Image
from tests.tree.albums import told
from tests.tree.test_deepening import Holed, holed, made, regions

BOXES = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    *(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)),
)


def cells(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x0, box.x1) for y in range(box.y0, box.y1)}


@given(BOXES, BOXES)
def test_what_is_recorded_as_looked_at_was(known: Box, more: Box) -> None:
    found, seen = cells(joined(known, more)), cells(known) | cells(more)
    assert found <= seen and len(found) >= max(known.area, more.area)
    columns, rows = {x for x, _ in seen}, {y for _, y in seen}
    rectangle = len(seen) == (max(columns) - min(columns) + 1) * (max(rows) - min(rows) + 1)
    assert (found == seen) == rectangle


def widened(box: Box, source: ImageSource) -> Box:
    x1, y1 = min(-(-box.x1 // 128) * 128, source.width), min(-(-box.y1 // 128) * 128, source.height)
    return Box(box.x0 // 128 * 128, box.y0 // 128 * 128, x1, y1)


def check(image: Image, source: Holed, taken: list[Box]) -> None:
    """What was taken is there, down to its pixels; of tiles outside nothing is known, as nobody looked."""
    real, looked = source.masks[0], np.zeros((source.height, source.width), np.bool_)
    for box in taken:
        looked[widened(box, source).slices] = True
    pixels = image.pixels()
    assert np.array_equal(pixels.real(), real & looked)
    assert np.array_equal(pixels.values, np.where((real & looked)[..., None], source.sizes[0], 0))
    tiles = image.first(1) + np.arange(IMAGE.width(image.root) // IMAGE.width(1))
    tiles = tiles[image.raster.pixels(1, tiles - image.first(1)) > 0]
    for tile, state in zip(tiles.tolist(), image.states(1, tiles).tolist(), strict=True):
        x0, y0, x1, y1 = image.raster.boxes(1, np.array([tile - image.first(1)]))[0].tolist()
        here = Box(x0, y0, x1, y1).slices
        if not looked[here].any():
            assert STATES[state] == "unknown"
        elif real[here].any():
            assert STATES[state] == "present"
        else:
            assert STATES[state] in ("empty", "unknown")  # what the source says not to cover is not looked at


@settings(max_examples=20)
@given(data=st.data(), source=holed(), sets=st.booleans())
def test_what_was_extended_everywhere_is_as_if_added_at_once(data: st.DataObject, source: Holed, sets: bool) -> None:
    workers, every = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([None, 1]))
    first = data.draw(st.composite(regions)(source))
    if not source.masks[0][widened(first, source).slices].any():
        first = Box(0, 0, source.width, source.height)
    with scratch() as folder, made(f"{folder}/a", sets=sets) as parts, made(f"{folder}/b", sets=sets) as whole:
        for tree in (parts, whole):
            with tree.writer() as writer:
                writer.add("text", b"words " * 300)
                writer.add_image("picture", source, region=first if tree is parts else None, commit_every=every)
        taken = [first]
        for _ in range(data.draw(st.integers(0, 3))):
            region = data.draw(st.composite(regions)(source))
            taken.append(region)
            with parts.snapshot() as before:
                lines = list(dump(before))
                with parts.writer() as writer:
                    writer.extend_image("picture", source, region=region, workers=workers, commit_every=every)
                    writer.commit()
                    assert not writer.extend_image("picture", source, region=region)
                assert list(dump(before)) == lines
            with parts.snapshot() as snapshot:
                check(snapshot.image("picture"), source, taken)
            assert_whole(parts)
        with parts.writer() as writer:
            writer.extend_image("picture", source, commit_every=every, workers=workers)
        with parts.snapshot() as snapshot:
            assert snapshot.image("picture").whole
        assert told(parts) == told(whole)
        assert_whole(parts)


@settings(max_examples=10)
@given(data=st.data(), source=holed(), finest=st.integers(1, 6))
def test_a_coarse_part_is_extended_and_made_fine(data: st.DataObject, source: Holed, finest: int) -> None:
    finest = min(finest, Raster(source.height, source.width).root)
    y, x = np.argwhere(source.masks[0])[0].tolist()
    first = Box(x, y, data.draw(st.integers(x + 1, source.width)), data.draw(st.integers(y + 1, source.height)))
    with scratch() as folder, made(f"{folder}/a") as parts, made(f"{folder}/b") as whole:
        for tree in (parts, whole):
            with tree.writer() as writer:
                writer.add("text", b"words " * 300)
                writer.add_image(
                    "picture",
                    source,
                    region=first if tree is parts else None,
                    finest=finest if tree is parts else 0,
                )
        for _ in range(data.draw(st.integers(0, 3))):
            region, down = data.draw(st.composite(regions)(source)), data.draw(st.integers(0, finest))
            with parts.writer() as writer:
                if down:
                    writer.deepen_image("picture", source, region=region, finest=down)
                else:
                    writer.extend_image("picture", source, region=region)
            if not down:
                with parts.snapshot() as snapshot:
                    image, box = snapshot.image("picture"), widened(region, source)
                    assert np.array_equal(image.pixels(box).real(), source.masks[0][box.slices])
            assert_whole(parts)
        with parts.writer() as writer:
            writer.extend_image("picture", source)
        assert told(parts) == told(whole)
        assert_whole(parts)


def test_an_extension_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    class Breaking(ProceduralSource):
        left = 3

        def __init__(self) -> None:
            super().__init__(3000, 4000)
            self.reads: list[Box] = []

        def read(self, box: Box, level: int = 0) -> Pixels:
            if self.left == len(self.reads):
                raise SourceError("gone for a while")
            self.reads.append(box)
            return super().read(box, level)

    region = Box(1000, 1000, 4000, 3000)
    with made(tmp_path / "a") as tree, made(tmp_path / "b") as other:
        for one in (tree, other):
            with one.writer() as writer:
                writer.add_image("picture", ProceduralSource(3000, 4000), region=Box(0, 0, 1100, 1100), keep_pixels=0)
        source = Breaking()
        with tree.writer() as writer, pytest.raises(SourceError, match="for a while"):
            writer.extend_image("picture", source, region=region, commit_every=1)
        assert_whole(tree)
        again = Breaking()
        again.left = 100
        with tree.writer() as writer:
            assert writer.extend_image("picture", again, region=region, commit_every=1)
        assert len(source.reads) == 3 and again.reads and not set(source.reads) & set(again.reads)
        with other.writer() as writer:
            writer.extend_image("picture", ProceduralSource(3000, 4000), region=region)
        assert told(tree) == told(other)
        assert_whole(tree)


def test_what_cannot_be_extended_is_said(tmp_path: Path) -> None:
    source = ProceduralSource(300, 400)
    with made(tmp_path / "a") as tree, tree.writer() as writer:
        writer.add_image("picture", source, region=Box(0, 0, 10, 10))
        with pytest.raises(UsageError, match="not committed"):
            writer.extend_image("picture", source)
        writer.commit()
        with pytest.raises(UsageError, match="reaches beyond the image, which is 400 × 300"):
            writer.extend_image("picture", source, region=Box(0, 0, 401, 10))
        with pytest.raises(UsageError, match="replace it instead"):
            writer.extend_image("picture", ProceduralSource(300, 300))
        with pytest.raises(SourceError, match="has changed"):
            writer.extend_image("picture", ProceduralSource(300, 400, seed=1))
        with pytest.raises(NotFoundError):
            writer.extend_image("nothing", source)
        assert writer.extend_image("picture", source)
