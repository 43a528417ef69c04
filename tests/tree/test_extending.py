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
from mctree.tree.images import extending
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
        assert np.array_equal(image.pixels(box).real(), real[box.slices])
    pixels = image.pixels(partial=True)
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
            assert STATES[state] == "empty"


def require_truth_of_emptiness(image: Image, source: Holed) -> None:
    """What is said to have no pixels has none: of what was not looked at, nothing is known."""
    for level in range(1, image.root + 1):
        nodes = np.arange(IMAGE.width(image.root) // IMAGE.width(level))
        nodes = nodes[image.raster.pixels(level, nodes) > 0]
        empty = nodes[image.states(level, image.first(level) + nodes) == STATES.index("empty")]
        for x0, y0, x1, y1 in image.raster.boxes(level, empty).tolist():
            assert not source.masks[0][y0:y1, x0:x1].any()


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
        with parts.snapshot() as snapshot:
            require_truth_of_emptiness(snapshot.image("picture"), source)
        for _ in range(data.draw(st.integers(0, 3))):
            region, down = data.draw(st.composite(regions)(source)), data.draw(st.integers(0, finest))
            with parts.writer() as writer:
                if down:
                    writer.deepen_image("picture", source, region=region, finest=down)
                else:
                    writer.extend_image("picture", source, region=region)
            with parts.snapshot() as snapshot:
                image, box = snapshot.image("picture"), widened(region, source)
                require_truth_of_emptiness(image, source)
                if not down:
                    assert np.array_equal(image.pixels(box).real(), source.masks[0][box.slices])
            assert_whole(parts)
        with parts.writer() as writer:
            writer.extend_image("picture", source)
        assert told(parts) == told(whole)
        assert_whole(parts)


def test_a_node_of_which_a_coarse_region_shows_a_strip_alone_is_not_said_to_be_empty(tmp_path: Path) -> None:
    """Its strip has no pixels, and a node beside it was made from an overview."""
    full = np.zeros((4096, 4096), np.bool_)
    full[:512, :1024] = full[512:1024, 1024:2048] = True
    levels = (1, 2, 4, 8)
    values = np.random.default_rng(0).integers(1, 256, (4096, 4096, 1), dtype=np.uint8)
    source = Holed(values, [full[::factor, ::factor] for factor in levels], levels)
    with made(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            writer.add_image("picture", source, region=Box(0, 0, 1536, 512), finest=3)
        with tree.snapshot() as snapshot, snapshot.image("picture").follow(source) as image:
            for level, column, row in ((4, 1, 0), (3, 2, 1), (1, 8, 4)):
                node = np.array([image.index_at(level, column, row)])
                assert STATES[image.states(level, node)[0]] == "unknown" and image.rows(level, node)[0][0]
            assert STATES[image.states(1, np.array([image.index_at(1, 9, 0)]))[0]] == "empty", "all of it was seen"


def test_a_region_without_pixels_is_named(tmp_path: Path) -> None:
    mask = np.zeros((400, 600), np.bool_)
    mask[:100] = True
    source = Holed(np.ones((400, 600, 3), np.uint8), [mask], (1,))
    wrong = pytest.raises(SourceError, match=r"no pixels in 0,256,128,384: there is nothing to show")
    with made(tmp_path / "t.mctree") as tree, tree.writer() as writer, wrong:
        writer.add_image("picture", source, region=Box(0, 300, 10, 310))


def test_pixels_that_were_not_read_are_not_taken_for_none(tmp_path: Path) -> None:
    source = ProceduralSource(600, 600)
    with made(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            writer.add_image("picture", source, region=Box(0, 0, 100, 100))
        box = Box(100, 0, 300, 100)
        with tree.snapshot() as snapshot:
            image = snapshot.image("picture")
            assert not image.complete and not image.whole and not image.from_overviews
            assert image.pixels(Box(0, 0, 128, 128)).mask is None
            with pytest.raises(NotFoundError, match=r"not all pixels .* were read: extend it"):
                image.pixels(box)
            assert image.pixels(box, partial=True).real().sum() == 28 * 100
            with image.follow(source) as followed:
                assert np.array_equal(followed.pixels(box).values, source.read(box).values)
        with tree.writer() as writer:
            for region in (Box(500, 500, 510, 510), Box(100, 100, 140, 110)):
                with pytest.raises(UsageError, match=r"not read yet in all of .*: extend it there first"):
                    writer.change_image("picture", np.zeros((region.height, region.width, 3), np.uint8), region)
            writer.change_image("picture", np.full((128, 128, 3), 7, np.uint8), Box(128, 128, 256, 256))
        with tree.snapshot() as snapshot:
            assert (snapshot.image("picture").pixels(Box(128, 128, 256, 256)).values == 7).all()
        assert_whole(tree)


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


def test_what_was_known_to_be_empty_stays_so_beside_a_larger_region(tmp_path: Path) -> None:
    mask = np.zeros((1000, 3000), np.bool_)
    mask[:128, :128] = mask[:, 1024:] = True
    source = Holed(np.ones((1000, 3000, 3), np.uint8), [mask], (1,))
    with made(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            writer.add_image("picture", source, region=Box(0, 0, 256, 256))
            writer.commit()
            assert writer.extend_image("picture", region=Box(1024, 0, 3000, 1000), image=source)
            writer.commit()
            assert not writer.extend_image("picture", region=Box(0, 0, 256, 256), image=source)
            assert writer.extend_image("picture", region=Box(300, 300, 400, 400), image=source), "nothing is known yet"
        with tree.snapshot() as snapshot:
            image = snapshot.image("picture")
            assert image.record.region == (1024, 0, 3000, 1000)
            tiles = np.array([image.index_at(1, *place) for place in ((0, 0), (1, 1), (2, 2), (2, 0), (8, 0))])
            states = [STATES[state] for state in image.states(1, tiles)]
            assert states == ["present", "empty", "empty", "unknown", "present"]
            assert not image.pixels(Box(128, 128, 256, 256)).real().any()


def test_where_the_edge_of_a_region_is_too_long_less_is_known_and_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extending, "_MOST_ALONG", 0)
    mask = np.zeros((2000, 3000), np.bool_)
    mask[:128, :128] = mask[1500:, 2500:] = True
    source = Holed(np.ones((2000, 3000, 3), np.uint8), [mask], (1,))
    with made(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            writer.add_image("picture", source, region=Box(0, 0, 10, 10))
            writer.commit()
            writer.extend_image("picture", source, region=Box(2300, 300, 3000, 2000))
        with tree.snapshot() as snapshot:
            image = snapshot.image("picture")
            require_truth_of_emptiness(image, source)
            assert (image.pixels(Box(2500, 1500, 3000, 2000)).values == 1).all()
        assert_whole(tree)
