"""A working context over a store with images is the same as one over a ground on paper that holds the same."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.focus import Allocator, Entries, SnapshotGround, WorkingContext
from mctree.focus.covers import least_cost
from mctree.focus.entries import UNKNOWN, Nodes
from mctree.geometry import IMAGE, TEXT, morton
from mctree.sources.images import ArraySource, Box
from mctree.testing import ProceduralSource, scratch
from mctree.testing.paper import PaperImage, PaperWorld


@st.composite
def worlds(draw: st.DrawFn) -> list[int | PaperImage]:
    """Tokens of documents, and images, in the order in which they come."""
    images = st.builds(
        PaperImage,
        st.integers(1, 20),
        st.integers(1, 20),
        st.frozensets(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=2),
    ).filter(lambda image: bool(image.patches()))
    return draw(st.lists(st.integers(1, 200) | images, min_size=1, max_size=6))


def picture(image: PaperImage) -> ArraySource:
    """An image that has these patches, some of which have one pixel only."""
    mask = np.zeros((16 * image.height, 16 * image.width), np.bool_)
    for x, y in image.patches():
        mask[16 * y + (x + y) % 16, 16 * x : 16 * x + 1 + x % 16] = True
    return ArraySource(np.full((*mask.shape, 1), 7, np.uint8), mask)


@settings(max_examples=15)
@given(world=worlds(), removed=st.sets(st.integers(0, 5)), over=st.integers(0, 300), seed=st.integers(0, 99))
def test_both_grounds_say_the_same(world: list[int | PaperImage], removed: set[int], over: int, seed: int) -> None:
    paper = PaperWorld()
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", vocabulary=9, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            for number, one in enumerate(world, 1):
                if isinstance(one, int):
                    document = writer.begin(f"{number}")
                    document.extend(np.full(one, 3))
                    document.close()
                    paper.place(number, [32] * (one // 32) + ([one % 32] if one % 32 else []))
                else:
                    assert writer.add_image(f"{number}", picture(one)) == number
                    paper.graft(number, one)
        with tree.writer() as writer:
            for number in sorted(removed & set(range(len(world)))):
                writer.remove(number + 1)
                paper.remove(number + 1)
        with tree.snapshot() as snapshot:
            real, wanted = SnapshotGround(snapshot), paper.ground()
            assert np.array_equal(real.grafts.integers, wanted.grafts.integers)
            every = [Nodes.none()]
            for level in range(1, TEXT.top(snapshot.positions) + 1):
                index = np.arange(snapshot.blocks // 32 ** (level - 1))
                index = index[wanted.world.exists(TEXT, level, index)]
                every.append(Nodes.of_timeline(level, index, index * 32**level))
            for block, space, root, first in zip(*wanted.grafts.integers.tolist(), strict=True):
                for level in range(1, root):
                    step = 4 ** (root - level)
                    index = first * step + np.arange(step)
                    index = index[wanted.arena(space).exists(IMAGE, level, index)]
                    every.append(Nodes.made(len(index), space=space, level=level, index=index, slot=block * 32))
                    assert wanted.exist(every[-1]).all() and real.exist(every[-1]).all()
            nodes = Nodes.joined(every)
            unknown = np.full(len(nodes), UNKNOWN, np.int64)
            assert Entries.of(real, nodes, unknown).same(Entries.of(wanted, nodes, unknown)).all()
            if len(real.world.existing(TEXT, 1, 0, snapshot.blocks)):
                follow(real, wanted, over, seed)


def follow(real: SnapshotGround, wanted: object, over: int, seed: int) -> None:
    """Let a context on each ground take the same steps."""
    budget = least_cost(real) + over
    pair = [WorkingContext.smallest(ground, budget, Allocator(max_edits=6, cooldown=0)) for ground in (real, wanted)]
    rng = np.random.default_rng(seed)
    for _ in range(12):
        assert pair[0].entries.same(pair[1].entries).all()
        scores = rng.uniform(-1, 1, len(pair[0]))
        for context in pair:
            context.step(scores)
            assert context.check() is None


def test_codes_of_an_arena_are_those_of_the_image() -> None:
    """What the grounds above agree on: an image that comes second begins where the first one's extent ends, aligned."""
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", vocabulary=9, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add_image("a", picture(PaperImage(1, 1)))
            writer.add_image("b", picture(PaperImage(9, 20)))
        with tree.snapshot() as snapshot:
            assert [image.base for image in snapshot.images()] == [0, morton.extent(9, 20)]


def test_nodes_of_the_largest_image_sit_where_their_patches_do() -> None:
    """Means to the last place, and reaches exactly, in an image of 2^30 pixels square whose far corner is covered."""
    side = 1 << 30
    covered = [Box(side - 900, side - 700, side, side - 77), Box(5, 7, 300, 200), Box(side - 50, 3, side, 40)]
    x, y = (np.concatenate(axis) for axis in zip(*map(_patches_of, covered), strict=True))
    code = morton.encode(x, y)
    with scratch() as folder, mctree.create(f"{folder}/t.mctree", vocabulary=9, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add_image("vast", ProceduralSource(side, side, 1, covered=covered), keep_pixels=0)
        with tree.snapshot() as snapshot:
            (image,) = snapshot.images()
            arena = snapshot.arena
            for level in range(1, image.root + 1):
                width = IMAGE.width(level)
                index = np.unique(code // width) + image.first(level)
                found = arena.extents(np.full(len(index), level), index)
                for at, node in enumerate((index - image.first(level)).tolist()):
                    mine = code // width == node
                    assert found.patches[at] == mine.sum()
                    for mean, reach, axis in ((found.x, found.width, x), (found.y, found.height, y)):
                        right = Fraction(sum(axis[mine].tolist()), int(mine.sum()))
                        assert abs(Fraction(float(mean[at])) - right) <= Fraction(math.ulp(float(right)))
                        assert reach[at] == axis[mine].max() - axis[mine].min() + 1


def _patches_of(box: Box) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.arange(box.x0 // 16, -(-box.x1 // 16)), np.arange(box.y0 // 16, -(-box.y1 // 16))
    x, y = np.meshgrid(columns, rows)
    return x.ravel(), y.ravel()
