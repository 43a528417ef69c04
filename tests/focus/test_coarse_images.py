"""A working context goes into an image that is only coarse: as far as there is something, and on demand further."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import UsageError
from mctree.focus import Allocator, SnapshotGround, WorkingContext
from mctree.focus.entries import UNKNOWN, Entries, Nodes
from mctree.geometry import IMAGE, Address
from mctree.sources.images import ArraySource, Box, Pixels
from mctree.streaming import HostDevice, Residency, StoredRows, Stream
from mctree.testing import ProceduralSource, scratch
from mctree.testing.paper import PaperImage, PaperWorld
from mctree.tree import ImageNode


class Patchy(ArraySource):
    """An image of some patches, with versions that are smaller and show a pixel wherever there is one."""

    def __init__(self, image: PaperImage) -> None:
        mask = np.zeros((16 * image.height, 16 * image.width), np.bool_)
        for x, y in image.patches():
            mask[16 * y + (x + y) % 16, 16 * x : 16 * x + 1 + x % 16] = True
        super().__init__(np.full((*mask.shape, 1), 7, np.uint8), mask)
        self.levels = (1, 2, 4, 8, 16)
        self.masks = []
        for factor in self.levels:
            edges = [range(0, size, factor) for size in mask.shape]
            self.masks.append(np.logical_or.reduceat(np.logical_or.reduceat(mask, edges[0], axis=0), edges[1], axis=1))

    def read(self, box: Box, level: int = 0) -> Pixels:
        mask = self.masks[level][box.slices]
        return Pixels(np.where(mask[..., None], 7, 0).astype(np.uint8), mask.copy())

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        return iter([box] if self.masks[level][box.slices].any() else [])


@settings(max_examples=25)
@given(
    data=st.data(),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    missing=st.frozensets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=6),
    finest=st.integers(1, 5),
)
def test_both_grounds_say_the_same(
    data: st.DataObject, size: tuple[int, int], missing: frozenset[tuple[int, int]], finest: int
) -> None:
    """A store that holds a coarse image, and paper on which the same nodes are closed."""
    image = PaperImage(*size, missing)
    if not image.patches():
        return
    source, world = Patchy(image), PaperWorld()
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", vocabulary=9, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add_image("before", source)
            finest = min(finest, IMAGE.widths.index(image.extent))
            writer.add_image("picture", source, finest=finest)
            writer.commit()
            for _ in range(data.draw(st.integers(0, 2))):
                x0, y0 = data.draw(st.integers(0, source.width - 1)), data.draw(st.integers(0, source.height - 1))
                region = Box(x0, y0, data.draw(st.integers(x0 + 1, source.width)), source.height)
                writer.deepen_image("picture", source, region=region, finest=data.draw(st.integers(0, finest)))
        with tree.snapshot() as snapshot:
            levels, nodes = snapshot.image("picture").coarse()
            first = [snapshot.image("picture").first(level) for level in levels.tolist()]
            closed = frozenset(zip(levels.tolist(), (nodes - np.array(first, np.int64)).tolist(), strict=True))
            world.graft(1, image)
            world.graft(2, replace(image, closed=closed))
            real, wanted = SnapshotGround(snapshot), world.ground()
            every = [Nodes.of_timeline(1, np.arange(2), 32 * np.arange(2))]
            for block, space, root, at in zip(*wanted.grafts.integers.tolist(), strict=True):
                for level in range(root):
                    index = np.arange(at * 4 ** (root - max(level, 1)), (at + 1) * 4 ** (root - max(level, 1)))
                    index = index if level else index * IMAGE.block
                    some = Nodes.made(len(index), space=space, level=level, index=index, slot=block * 32)
                    assert np.array_equal(real.exist(some), wanted.exist(some))
                    every.append(some.take(wanted.exist(some)))
            some = Nodes.joined(every)
            unknown = np.full(len(some), UNKNOWN, np.int64)
            assert Entries.of(real, some, unknown).same(Entries.of(wanted, some, unknown)).all()
            above = some.take(some.level > 0)
            ours, theirs = real.children(above), wanted.children(above)
            assert ours.nodes.same(theirs.nodes).all() and np.array_equal(ours.bounds, theirs.bounds)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[mctree.Tree, ProceduralSource]]:
    """A thousand million pixels a side, of which a few hundred nodes are there, between two texts."""
    side = 1 << 30
    levels = tuple(1 << power for power in range(23))
    covered = [Box(0, 0, 1 << 29, 1 << 28), Box(3 << 28, 3 << 28, side, side)]
    source = ProceduralSource(side, side, covered=covered, levels=levels)
    with mctree.create(tmp_path / "t.mctree") as tree:
        tree.build_gists(CosineEncoder(3, 2), "pictures")
        with tree.writer() as writer:
            writer.add("before", "words " * 30)
            writer.add_image("world", source, finest=22)
            writer.add("behind", "words " * 30)
        yield tree, source


def wishes(context: WorkingContext, node: Address) -> NDArray[np.float64]:
    """Everything above a tile is wanted in more detail, and all else in less."""
    (start, _), entries = IMAGE.span(node.level, node.index), context.entries
    inside = (entries.space == 1) & (entries.start <= start) & (start < entries.stop)
    slot = (entries.space == 0) & (entries.modality == 1)
    return np.where(inside | slot, 1.0, -0.5)


def test_a_context_goes_down_to_pixels_that_were_not_there(world: tuple[mctree.Tree, ProceduralSource]) -> None:
    tree, source = world
    with tree.writer() as writer:
        context = WorkingContext.smallest(writer.snapshot, 200, Allocator(cooldown=0, max_edits=20))
        image = writer.snapshot.image("world")
        tile = Address(1, 1, image.index_at(1, 3, 7))
        fetched = 0
        for _ in range(60):
            change = context.step(wishes(context, tile))
            assert context.check() is None
            lacking = context.lacking()
            assert lacking or not change.blocked.waiting
            for address in lacking:
                node = writer.snapshot.node(address)
                assert isinstance(node, ImageNode) and node.closed
                fetched += writer.deepen_image(node.image.id, source, region=node.box, finest=node.level - 1)
            if lacking:
                writer.commit()
                context.refocus(writer.snapshot)
                assert context.check() is None
            if ((context.entries.level == 0) & (context.entries.space == 1)).any():
                break
        shown = (context.entries.level == 0) & (context.entries.space == 1)
        assert context.entries.index[shown].tolist() == [tile.index * IMAGE.block]
        assert context.entries.cost[shown].tolist() == [64]
        assert 20 <= fetched < 30, "one for each level"
        found = writer.snapshot.node(tile)
        assert isinstance(found, ImageNode) and found.made_from == "pixels"
        assert found.mean.tolist() == source.mean(found.box).tolist()


def test_what_is_not_there_is_not_expanded(world: tuple[mctree.Tree, ProceduralSource]) -> None:
    tree, _ = world
    with tree.snapshot() as snapshot:
        context = WorkingContext.smallest(snapshot, 5000, Allocator(cooldown=0, max_edits=50))
        for _ in range(9):
            context.step(np.ones(len(context)))
            assert context.check() is None
        leaves = context.entries.leaves
        assert leaves.sum() == snapshot.image("world").coarse()[0].size == 3
        assert len(context.lacking()) == 3
        with pytest.raises(UsageError, match="deepen the image there"):
            context.expand(context.entries.address(int(np.flatnonzero(leaves)[0])))
        below = context.entries.take(leaves).nodes
        children = Nodes.made(
            len(below), space=below.space, level=below.level - 1, index=below.index * 4, slot=below.slot
        )
        assert not context.ground.exist(children).any()
        assert len(context.ground.children(below).nodes) == 0


def test_a_coarse_image_is_streamed_as_far_as_it_is_there(world: tuple[mctree.Tree, ProceduralSource]) -> None:
    tree, _ = world
    with tree.snapshot() as snapshot:
        rows = StoredRows(snapshot, "pictures")
        with Stream(rows, HostDevice(rows.planes, 400)) as stream:
            residency = Residency(stream, SnapshotGround(snapshot))
            context = WorkingContext.smallest(snapshot, 400, Allocator(cooldown=0, max_edits=50))
            residency.update(context.entries)
            while (
                context.entries.leaves.sum() < 3
            ):  # as soon as rows have come; when that is, is another thread's affair
                stream.turn()
                scores = np.where(context.entries.modality == 1, 1.0, 0.0)
                change = context.step(scores, residency.resident)
                residency.update(context.entries, change.diff.left_at, change.diff.entered_at)
                time.sleep(0.001)
            assert context.entries.leaves.sum() == 3 and context.check() is None


def test_the_root_itself_may_be_all_there_is(tmp_path: Path) -> None:
    source = ProceduralSource(100, 100)
    with mctree.create(tmp_path / "t.mctree") as tree, tree.writer() as writer:
        writer.add_image("small", source, finest=1)
        writer.commit()
        context = WorkingContext.smallest(writer.snapshot, 100)
        change = context.step(np.ones(1))
        assert change.blocked.waiting == 1 and context.lacking() == [Address(1, 1, 0)]
        writer.deepen_image("small", source)
        writer.commit()
        context.refocus(writer.snapshot)
        assert context.step(np.ones(1)).expanded == 1 and context.cost == 49
