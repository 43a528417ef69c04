"""Images that begin coarse: right at every moment, finer where somebody looks, and in the end as if read at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Image_

import mctree
from mctree.errors import NotFoundError, SourceError, UsageError
from mctree.geometry import IMAGE, Raster
from mctree.sources.images import ArraySource, Box, ImageSource, Pixels, open_image
from mctree.testing import ToyEncoder, assert_whole, scratch
from mctree.testing.dump import dump
from mctree.testing.procedural import ProceduralSource
from mctree.testing.processes import in_child, kill_after
from mctree.testing.toys import ToySight
from mctree.tree.images.check import check_images
from mctree.tree.images.image import STATES, Image
from mctree.tree.images.overviews import Version, Views, own_level

SMALL = 1 << 16
JOINT, EYES, WORDS = ToySight(4), ToySight(3, seed=1, text=False), ToyEncoder(seed=2)


def made(path: Path | str, *, sets: bool = True) -> mctree.Tree:
    tree = mctree.create(path, chunk_bytes=SMALL, encoders=[JOINT, EYES, WORDS])
    if sets:
        tree.build_gists(JOINT, "joint")
        tree.build_gists(EYES, "eyes")
    return tree


def told(tree: mctree.Tree) -> list[str]:
    with tree.snapshot() as snapshot:
        return list(dump(snapshot))


class Holed(ArraySource):
    """An image in several sizes, each of which may lack parts that others have; made by the means of squares."""

    def __init__(self, values: NDArray[Any], masks: list[NDArray[np.bool_]], levels: tuple[int, ...]) -> None:
        super().__init__(values, masks[0])
        self.levels = levels
        self.sizes = [self.smaller(values, factor) for factor in levels]
        self.masks = masks

    @staticmethod
    def smaller(values: NDArray[Any], factor: int) -> NDArray[Any]:
        edges = [range(0, size, factor) for size in values.shape[:2]]
        sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), edges[0], axis=0), edges[1], axis=1)
        count = np.add.reduceat(np.add.reduceat(np.ones(values.shape[:2]), edges[0], axis=0), edges[1], axis=1)
        return np.rint(sums / count[..., None]).astype(values.dtype)

    def read(self, box: Box, level: int = 0) -> Pixels:
        mask = self.masks[level][box.slices]
        return Pixels(np.where(mask[..., None], self.sizes[level][box.slices], 0).astype(self.dtype), mask.copy())

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        if self.masks[level][box.slices].any():
            yield box


@st.composite
def holed(draw: st.DrawFn) -> Holed:
    height, width = draw(st.integers(1, 400)), draw(st.integers(1, 700))
    values = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (height, width, 3), np.uint8)
    levels = draw(st.sampled_from([(1,), (1, 2), (1, 2, 4), (1, 4), (1, 2, 4, 8, 16, 32), (1, 32)]))
    masks = []
    for factor in levels:
        mask = np.ones((-(-height // factor), -(-width // factor)), np.bool_)
        for _ in range(draw(st.integers(0, 2))):
            y, x = draw(st.integers(0, height - 1)) // factor, draw(st.integers(0, width - 1)) // factor
            mask[y : y + 1 + 300 // factor, x : x + 1 + 500 // factor] = False
        masks.append(mask)
    masks[0][draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return Holed(values, masks, levels)


def regions(draw: st.DrawFn, source: ImageSource) -> Box:
    x0, y0 = draw(st.integers(0, source.width - 1)), draw(st.integers(0, source.height - 1))
    return Box(x0, y0, draw(st.integers(x0 + 1, source.width)), draw(st.integers(y0 + 1, source.height)))


def follow(image: Image) -> int:
    """Look at every node of an image from its root down; how many of them are closed."""
    closed = 0
    index = np.array([image.first(image.root)])
    for level in range(image.root, 0, -1):
        assert image.find(level, index).present.all()
        fanout = IMAGE.fanout(level - 1)
        below = (index[:, None] * fanout + np.arange(fanout)).reshape(-1)
        found, mine = image.find(level - 1, below), image.find(level, index)
        some = found.present.reshape(-1, fanout).any(axis=1)
        assert (image.closed(level, index) == ~some).all() and mine.overview[~some].all()
        closed += int((~some).sum())
        inside = image.raster.pixels(level - 1, below - image.first(level - 1)) > 0
        states = np.array(STATES)[image.states(level - 1, below)]
        known = np.repeat(some, fanout)
        assert not (states[inside & known] == "unknown").any(), "children are known all at once"
        assert (states[inside & ~known] == "unknown").all(), "or not at all"
        rows, sums = image.rows(level, index)[1], image.rows(level - 1, below)[1][:, 0].reshape(-1, fanout).sum(axis=1)
        assert np.allclose(rows[some, 0], sums[some], rtol=1e-12), "what is above is made of what is below"
        index = below[found.present]
    return closed


@settings(max_examples=15)
@given(data=st.data(), source=holed(), finest=st.integers(1, 6), sets=st.booleans())
def test_what_was_deepened_everywhere_is_as_if_added_at_once(
    data: st.DataObject, source: Holed, finest: int, sets: bool
) -> None:
    finest = min(finest, Raster(source.height, source.width).root)
    workers, every = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([None, 1]))
    with scratch() as folder, made(f"{folder}/a", sets=sets) as coarse, made(f"{folder}/b", sets=sets) as whole:
        for tree in (coarse, whole):
            with tree.writer() as writer:
                writer.add("text", b"words " * 300)
                writer.add_image("picture", source, finest=finest if tree is coarse else 0, commit_every=every)
        for _ in range(data.draw(st.integers(0, 3))):
            region, down = data.draw(st.composite(regions)(source)), data.draw(st.integers(0, finest))
            with coarse.snapshot() as before:
                lines = list(dump(before))
                with coarse.writer() as writer:
                    writer.deepen_image("picture", source, region=region, finest=down, workers=workers)
                assert list(dump(before)) == lines
            with coarse.snapshot() as snapshot:
                image = snapshot.image("picture")
                follow(image)
                if sets and image.gists(image.root, np.array([image.first(image.root)]), "joint")[1][0]:
                    root = image.gists(image.root, np.array([image.first(image.root)]), "joint")[0]
                    assert np.array_equal(snapshot.gists("joint").gather(1, np.array([image.block])), root)
            assert_whole(coarse)
        with coarse.writer() as writer:
            writer.deepen_image("picture", source, commit_every=every, workers=workers)
            assert writer.deepen_image("picture", source) == 0, "there is nothing left to do"
        with coarse.snapshot() as snapshot:
            assert snapshot.image("picture").complete and follow(snapshot.image("picture")) == 0
        assert told(coarse) == told(whole)
        assert_whole(coarse)


@settings(max_examples=15)
@given(data=st.data(), source=holed(), finest=st.integers(1, 6))
def test_a_reader_is_shown_what_a_writer_would_store(data: st.DataObject, source: Holed, finest: int) -> None:
    """Of the nodes below those that are closed: children of one that is opened, or what is there at last."""
    finest = min(finest, Raster(source.height, source.width).root)
    with scratch() as folder, made(f"{folder}/t") as tree:
        with tree.writer() as writer:
            writer.add_image("picture", source, finest=finest)
        with tree.snapshot() as before:
            plain, image = before.image("picture"), before.image("picture").follow(source, remember=3)
            level = data.draw(st.integers(0, max(finest - 1, 0)))
            with tree.writer() as writer:
                writer.deepen_image("picture", source, finest=0 if level < 2 else level)
            with tree.snapshot() as after:
                opened = after.image("picture")
                rows, columns = image.raster.grid(level)
                x, y = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
                box = Box(x, y, min(x + 9, columns), min(y + 9, rows))
                for _ in range(2):  # what is remembered is the same
                    assert np.array_equal(image.colour(level, box).sums, opened.colour(level, box).sums)
                    assert np.array_equal(image.colour(level, box).mask, opened.colour(level, box).mask)
                index = np.array([image.index_at(level, x, y)])
                assert image.find(level, index).present[0] == plain.find(level, index).present[0], "nothing is stored"
                for name in ("joint", "eyes"):
                    for ours, theirs in zip(
                        image.gists(level, index, name), opened.gists(level, index, name), strict=True
                    ):
                        assert np.array_equal(ours, theirs)


@settings(max_examples=25)
@given(source=holed(), data=st.data())
def test_a_coarse_node_is_that_of_its_overview_blown_up(source: Holed, data: st.DataObject) -> None:
    """Each pixel of the smaller version is taken for a square of like pixels, cut off where the image ends."""
    raster = Raster(source.height, source.width)
    fitting = [k for k, factor in enumerate(source.levels) if own_level(factor) <= raster.root]
    k = data.draw(st.sampled_from(fitting))
    factor, level = source.levels[k], own_level(source.levels[k])
    large, mask = source.sizes[k], source.masks[k]
    for axis in (0, 1):
        large, mask = np.repeat(large, factor, axis=axis), np.repeat(mask, factor, axis=axis)
    size = slice(0, source.height), slice(0, source.width)
    with scratch() as folder, made(f"{folder}/t", sets=False) as tree:
        if not mask[size].any():
            return
        with tree.writer() as writer:
            writer.add_image("large", ArraySource(large[size].copy(), mask[size].copy()))
        with tree.snapshot() as snapshot:
            image = snapshot.image("large")
            found = Views(source, (), keep=False).part(k, Version(source, k).box).block.tiles
            there, rows = image.rows(level, found.index + image.first(level))
            assert there.all() and np.array_equal(found.statistics, rows)
            first = image.first(level)
            every = first + np.arange(IMAGE.width(image.root) // IMAGE.width(level))
            assert image.rows(level, every)[0].sum() == len(found.index)


def test_a_deepening_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """No block that was committed is read again; at each commit the image can be looked at; in the end all is there."""
    path, covered = tmp_path / "killed.mctree", [Box(0, 0, 1008, 704), Box(2048, 1024, 3008, 3280)]

    class Source(ProceduralSource):
        reads: list[Box] = []  # noqa: RUF012  # one for all of a process

        def read(self, box: Box, level: int = 0) -> Pixels:
            if not level:
                self.reads.append(box)
            return super().read(box, level)

    def source() -> Source:
        return Source(3280, 3104, covered=covered, levels=(1, 2, 4, 8, 16))

    def deepen() -> None:
        with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree, tree.writer() as writer:
            writer.deepen_image("picture", source(), commit_every=1)

    with made(path) as tree, made(tmp_path / "whole.mctree") as whole:
        for one in (tree, whole):
            with one.writer() as writer:
                writer.add_image("picture", source(), finest=0 if one is whole else 5, keep_pixels=0)
        expected = told(whole)
        with tree.snapshot() as snapshot:
            coarse = {follow(snapshot.image("picture"))}
    every = len(Source.reads)
    kills = 0
    for calls in (330, 200, 100):
        kills += in_child(functools.partial(_killed, deepen, calls)) != 0
        with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree:
            assert_whole(tree)
            with tree.snapshot() as snapshot:
                coarse.add(follow(snapshot.image("picture")))
    assert kills >= 2 and len(coarse) > 1, "it was killed in the middle, having come further"
    Source.reads.clear()
    deepen()
    with mctree.open(path, encoders=[JOINT, EYES, WORDS]) as tree:
        assert told(tree) == expected
    assert 0 < len(Source.reads) < every, "what was committed was not read again"


def _killed(work: Any, calls: int) -> None:
    kill_after(calls)
    work()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with made(tmp_path / "t.mctree") as tree:
        yield tree


def test_what_cannot_be_deepened_is_refused_and_nothing_happens(tree: mctree.Tree) -> None:
    source = ProceduralSource(2000, 2000, levels=(1, 2, 4, 8))
    with tree.writer() as writer:
        for finest in (-1, 7):
            with pytest.raises(UsageError, match=r"levels 0\.\.5"):
                writer.add_image("picture", source, finest=finest)
        writer.add_image("picture", source, finest=4)
        with pytest.raises(UsageError, match="not committed"):
            writer.deepen_image("picture", source)
    before = told(tree)
    with tree.writer() as writer:
        for arguments, error, why in (
            ((source, Box(0, 0, 2001, 9), 0), UsageError, "reaches beyond"),
            ((source, None, 6), UsageError, r"levels 0\.\.5"),
            ((source, None, -1), UsageError, r"levels 0\.\.5"),
            ((ProceduralSource(2000, 2001), None, 0), UsageError, "replace it instead"),
            ((ProceduralSource(2000, 2000, seed=1), None, 0), SourceError, "has changed"),
            ((None, None, 0), NotFoundError, "cannot be opened"),
        ):
            with pytest.raises(error, match=why):
                writer.deepen_image("picture", arguments[0], region=arguments[1], finest=arguments[2])
        with pytest.raises(NotFoundError):
            writer.deepen_image("nothing", source)
    assert told(tree) == before


def test_a_source_without_versions_between_is_not_read_whole_for_one_node(tree: mctree.Tree) -> None:
    side = 1 << 20
    source = ProceduralSource(side, side, levels=(1, 1 << 13))
    with tree.writer() as writer:
        writer.add_image("picture", source, finest=14, keep_pixels=0)
    before = told(tree)
    with tree.writer() as writer, pytest.raises(SourceError, match="no version between 1 : 1 and 1 : 8192"):
        writer.deepen_image("picture", source, region=Box(0, 0, 10, 10))
    assert told(tree) == before
    assert_whole(tree)


def test_an_image_of_which_nothing_is_left_stays_as_it_was(tree: mctree.Tree) -> None:
    """Its overview shows something, and its pixels nothing: a fault of the source, which is said."""
    values = np.full((600, 600, 3), 9, np.uint8)
    source = Holed(values, [np.zeros((600, 600), np.bool_), np.ones((75, 75), np.bool_)], (1, 8))
    with tree.writer() as writer:
        writer.add_image("picture", source, finest=4)
    before = told(tree)
    with tree.writer() as writer, pytest.raises(SourceError, match="no pixels"):
        writer.deepen_image("picture", source)
    assert told(tree) == before


def test_a_change_below_what_is_coarse_opens_the_way_to_it(tree: mctree.Tree, tmp_path: Path) -> None:
    old = ProceduralSource(1500, 1700, levels=(1, 2, 4, 8))
    new = ProceduralSource(1500, 1700, seed=3, levels=(1, 2, 4, 8))
    region = Box(300, 200, 500, 300)
    with tree.writer() as writer:
        writer.add_image("picture", old, finest=4)
    with tree.writer() as writer:
        with pytest.raises(UsageError, match="extend it there first"):
            writer.change_image("picture", new.read(region).values, region)
        with tree.snapshot() as snapshot, pytest.raises(NotFoundError, match="extend it there first"):
            snapshot.image("picture").pixels(region)
        writer.deepen_image("picture", old, region=region)
        with pytest.raises(UsageError, match="commit before changing it"):
            writer.change_image("picture", new, region)
        writer.commit()
        writer.change_image("picture", new, Box(250, 150, 1700, 400))
    with tree.snapshot() as snapshot:
        image = snapshot.image("picture")
        follow(image)
        assert np.array_equal(image.pixels(region).values, new.read(region).values)
        box = image.node(1, 10, 2).box
        assert image.node(1, 10, 2).mean.tolist() == new.mean(box).tolist()
        assert not image.complete
    assert_whole(tree)


def test_sets_whose_encoder_is_not_known_are_made_again_where_an_image_became_finer(tmp_path: Path) -> None:
    source = ProceduralSource(300, 500, levels=(1, 2, 4))
    values = source.read(Box(0, 0, 500, 300)).values
    Image_.fromarray(values).save(tmp_path / "photo.tif", format="TIFF")
    with made(tmp_path / "t.mctree") as tree, open_image(tmp_path / "photo.tif") as photo, tree.writer() as writer:
        writer.add_image("photo", photo, finest=1, keep_pixels=0)
        writer.add_image("picture", source, finest=3, sets=["joint"])
    with mctree.open(tmp_path / "t.mctree") as tree:  # whose encoders are not known here
        with tree.writer() as writer:
            writer.deepen_image("photo", region=Box(0, 0, 200, 300))
            writer.deepen_image("picture", source)
        with tree.snapshot() as snapshot:
            photo = snapshot.image("photo")
            array = snapshot.gists("eyes").record.images[photo.root]
            assert snapshot.gallery.pages.find(array, np.array([photo.first(photo.root)])).stale.all()
            assert not photo.gists(0, np.array([photo.base]), "eyes")[1].any()
    with mctree.open(tmp_path / "t.mctree", encoders=[JOINT, EYES, WORDS]) as tree:
        for encoder, name in ((EYES, "eyes"), (JOINT, "joint")):
            tree.build_gists(encoder, name)
        with made(tmp_path / "anew.mctree") as anew, open_image(tmp_path / "photo.tif") as photo:
            with anew.writer() as writer:
                writer.add_image("photo", photo, finest=1, keep_pixels=0)
                writer.add_image("picture", source)
                writer.commit()
                writer.deepen_image("photo", region=Box(0, 0, 200, 300))
            assert [line for line in told(tree) if "nodes" in line] == [line for line in told(anew) if "nodes" in line]
        assert_whole(tree)


@pytest.mark.parametrize("finest", [1, 3, 4])
def test_a_set_covers_what_is_coarse_from_its_overviews(tmp_path: Path, finest: int) -> None:
    Image_.fromarray(ProceduralSource(700, 900).read(Box(0, 0, 900, 700)).values).save(tmp_path / "photo.png")
    tile = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
    full = np.asarray(Image_.open(tmp_path / "photo.png"))
    with tifffile.TiffWriter(tmp_path / "photo.tif") as file:
        file.write(full, **tile)
        file.write(full[::2, ::2], subfiletype=1, **tile)
        file.write(full[::8, ::8], subfiletype=1, **tile)
    lines = []
    for early in (True, False):
        with made(tmp_path / f"{early}", sets=early) as tree:
            with tree.writer() as writer, open_image(tmp_path / "photo.tif") as photo:
                writer.add("text", b"words " * 300)
                writer.add_image("photo", photo, finest=finest)
                writer.commit()
                writer.deepen_image("photo", region=Box(0, 0, 200, 100))
            if not early:
                tree.build_gists(JOINT, "joint")
                tree.build_gists(EYES, "eyes")
            lines.append(told(tree))
            assert_whole(tree)
    assert lines[0] == lines[1]


def test_what_is_coarse_moves_and_is_shown_to_others(tree: mctree.Tree, tmp_path: Path) -> None:
    source = ProceduralSource(4000, 5000, levels=(1, 2, 4, 8, 16), covered=[Box(0, 0, 2048, 4000)])
    with tree.writer() as writer:
        writer.add_image("gone", source, finest=4)
        writer.add_image("picture", source, finest=4, keep_pixels=0)
        writer.commit()
        writer.deepen_image("picture", source, region=Box(0, 0, 300, 300))
        writer.remove("gone")
    lines = told(tree)
    tree.backup(tmp_path / "copy.mctree")
    with mctree.open(tmp_path / "copy.mctree", encoders=[JOINT, EYES, WORDS]) as copy:
        assert told(copy) == lines
    with tree.snapshot() as snapshot:
        states = [states_of(snapshot.image("picture"), level) for level in range(7)]
    tree.compact()
    assert [line for line in told(tree) if "nodes" in line] == [line for line in lines if "nodes" in line]
    with tree.snapshot() as snapshot:
        image = snapshot.image("picture")
        assert [states_of(image, level) for level in range(7)] == states
        follow(image)
        factors = image.export(tmp_path / "picture.ome.zarr")
        group = zarr.open_group(tmp_path / "picture.ome.zarr", mode="r")
        fine, coarse = (np.asarray(group[str(factors.index(factor))]) for factor in (16, 1024))
        assert fine[:, :63, :63].any() and not fine[:, 70:, 70:].any(), "its patches are there where it was deepened"
        assert coarse[:, :4, :2].all() and not coarse[:, :, 2:].any()
    with tree.writer() as writer:
        assert writer.deepen_image("picture", source, region=Box(1500, 3000, 1501, 3001)) > 2
    assert_whole(tree)


def states_of(image: Image, level: int) -> list[int]:
    first = image.first(level)
    return image.states(level, first + np.arange(min(IMAGE.width(image.root) // IMAGE.width(level), 999))).tolist()


@pytest.mark.damages
def test_what_contradicts_itself_is_found(tmp_path: Path) -> None:
    source = ProceduralSource(900, 900, levels=(1, 2, 4, 8))
    with made(tmp_path / "wrong.mctree", sets=False) as tree:
        contradict(tree, source)
        with tree.snapshot() as snapshot:
            told_of = [problem.what for problem in check_images(snapshot)]
    assert any("was not made from an overview" in what for what in told_of)
    assert any("has no node above it" in what for what in told_of)
    assert any("does not say of overviews" in what for what in told_of)


def contradict(tree: mctree.Tree, source: ImageSource) -> None:
    with tree.writer() as writer:
        writer.add_image("picture", source, finest=3)
        writer.commit()
        writer.deepen_image("picture", source, region=Box(0, 0, 10, 10))
        book, image = writer.next.painter.book, writer.snapshot.image("picture")
        arrays = book.statistics(3).numbers
        closed = np.array([image.index_at(3, 1, 1)])
        book.put(arrays[3], closed, image.rows(3, closed)[1])  # as if it were made of its pixels
        root = np.array([image.first(image.root)])
        book.put(arrays[image.root], root, book.rows(arrays[image.root], book.find(arrays[image.root], root).row))
        lone = np.array([image.index_at(2, 3, 3)])
        book.put(arrays[1], lone * 4, image.rows(1, np.array([image.first(1)]))[1])  # a tile that is in nothing
