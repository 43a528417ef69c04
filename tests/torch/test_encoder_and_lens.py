"""Networks at work: gist sets of a real store made by a GistNet, and a working context driven by a LensNet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mctree
from mctree.encoders import BytesTokenizer, CosineEncoder, Encoder, VisualEncoder
from mctree.errors import CorruptError, UsageError
from mctree.focus import Allocator, Lens, WorkingContext, converge
from mctree.focus.ground import BLOCK
from mctree.geometry import IMAGE
from mctree.testing import PaperImage, PaperWorld
from mctree.testing.toys import ToySight
from mctree.tree.links import Link
from mctree_torch.networks import (
    GistConfig,
    GistEncoder,
    GistNet,
    LensConfig,
    LensNet,
    NetLens,
    Sight,
    SnapshotSight,
    VisualConfig,
    VisualGistEncoder,
    VisualGistNet,
)
from tests.torch.drawing import drawn

CONFIG = GistConfig(dim=16, vocabulary=256, width=16, heads=2, layers=1, slots=2)


@pytest.fixture(scope="module")
def encoder() -> GistEncoder:
    return GistEncoder(drawn(GistNet(CONFIG)), BytesTokenizer(), "cpu")


@settings(max_examples=15)
@given(st.integers(1, 3), st.lists(st.integers(1, 300), min_size=1, max_size=4), st.integers(0, 2**32))
def test_a_gist_is_a_function_of_its_node_alone(level: int, sizes: list[int], seed: int) -> None:
    encoder = GistEncoder(drawn(GistNet(CONFIG)), device="cpu")
    random = np.random.default_rng(seed)
    n = sum(sizes)
    tokens = random.integers(0, 2**32, (n, 32), np.uint32)
    mask = random.random((n, 32)) < 0.8
    children: np.ndarray = (
        np.where(mask, tokens % 256, tokens) if level == 1 else random.normal(size=(n, 32, 16)).astype(np.float32)
    )
    children.setflags(write=False)
    whole = encoder.encode(level, children, mask)
    assert whole.dtype == np.float32 and whole.shape == (n, 16) and np.isfinite(whole).all()
    bounds = np.cumsum([0, *sizes])
    parts = [encoder.encode(level, children[a:b], mask[a:b]) for a, b in pairwise(bounds.tolist())]
    assert np.array_equal(np.concatenate(parts), whole)


def test_an_encoder_is_one_and_comes_back(encoder: GistEncoder) -> None:
    assert isinstance(encoder, Encoder)
    again = GistEncoder.load(encoder.dump(), BytesTokenizer(), "cpu")
    assert again.fingerprint == encoder.fingerprint and again.dim == 16
    question = again.encode_query("what is it?")
    assert question.shape == (16,) and np.array_equal(question, encoder.encode_query("what is it?"))
    assert again.encode_query("").shape == (16,)
    other = GistEncoder(drawn(GistNet(CONFIG), seed=1), device="cpu")
    assert other.fingerprint != encoder.fingerprint
    with pytest.raises(UsageError, match="no tokenizer"):
        other.encode_query("what?")
    with pytest.raises(UsageError, match="not below 256"):
        other.encode(1, np.full((1, 32), 256, np.uint32), np.ones((1, 32), np.bool_))
    with pytest.raises(UsageError, match="vocabulary"):
        GistEncoder(GistNet(GistConfig(dim=4, vocabulary=0)))
    with pytest.raises(CorruptError):
        GistEncoder.load(encoder.dump()[:100])
    assert other.encode(1, np.zeros((0, 32), np.uint32), np.zeros((0, 32), np.bool_)).shape == (0, 16)


PATCHES = CosineEncoder(channels=3, side=2)


def sighted(seed: int = 0, patches: VisualEncoder = PATCHES) -> VisualGistEncoder:
    net = VisualGistNet(VisualConfig(dim=12, width=16, heads=2, layers=1))
    return VisualGistEncoder(drawn(net, seed), patches, "cpu")


def test_images_have_an_encoder_too() -> None:
    encoder = sighted()
    assert isinstance(encoder, VisualEncoder) and encoder.modalities == {"image"}
    assert (encoder.channels, encoder.dim) == (3, 12)
    random = np.random.default_rng(0)
    patches, there = random.normal(size=(300, 64, 12)).astype(np.float32), random.random((300, 64)) < 0.5
    there[5] = False
    weight = there * 256.0
    tiles = encoder.encode_tiles(1, patches, there, weight)
    assert np.isfinite(tiles).all() and tiles.any(1).sum() == 299 and not tiles[5].any()
    anything = np.where(there[..., None], patches, np.float32(np.nan))
    assert np.array_equal(encoder.encode_tiles(1, anything[7:9], there[7:9], weight[7:9]), tiles[7:9])
    pixels, real = random.integers(0, 255, (5, 16, 16, 3), np.uint8), np.ones((5, 16, 16), np.bool_)
    assert np.array_equal(encoder.encode_patches(pixels, real), PATCHES.encode_patches(pixels, real))
    again = VisualGistEncoder.load(encoder.dump(), PATCHES, "cpu")
    assert again.fingerprint == encoder.fingerprint
    assert np.array_equal(again.encode_tiles(1, patches, there, weight), tiles)
    others = [sighted(seed=1), VisualGistEncoder.load(encoder.dump(), ToySight(12), "cpu")]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 3
    with pytest.raises(UsageError, match="vectors of 12"):
        VisualGistEncoder(VisualGistNet(VisualConfig(dim=5)), PATCHES)
    with pytest.raises(CorruptError):
        VisualGistEncoder.load(encoder.dump()[:100], PATCHES)


def test_a_store_has_gists_of_images_by_a_network(tmp_path: Path) -> None:
    encoder = sighted()
    random = np.random.default_rng(0)
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            writer.add_image("before", random.integers(0, 256, (150, 300, 3), np.uint8))
        tree.build_gists(encoder, "eyes")
    with mctree.open(path, encoders=[VisualGistEncoder.load(encoder.dump(), PATCHES, "cpu")]) as tree:
        with tree.writer() as writer:
            writer.add_image("behind", random.integers(0, 256, (400, 40, 3), np.uint8))
        with tree.snapshot() as snapshot:
            assert snapshot.gists("eyes").record.kind == "torch-visual-gist"
            for image in snapshot.images():
                for level in range(1, image.root + 1):
                    rows, columns = image.raster.grid(level)
                    nodes = np.array([image.index_at(level, x, y) for y in range(rows) for x in range(columns)])
                    below = np.array([np.arange(*IMAGE.children(level, node)) for node in nodes])
                    children, there = image.gists(level - 1, below.reshape(-1), "eyes")
                    mask = there.reshape(below.shape)
                    made = encoder.encode_tiles(level, children.reshape(*below.shape, -1), mask, np.ones(mask.shape))
                    found, have = image.gists(level, nodes, "eyes")
                    assert have.all() and np.array_equal(found, made.astype(np.float16))
        assert not list(tree.verify())
    with mctree.open(path) as tree, tree.writer() as writer, pytest.raises(UsageError, match="no encoder"):
        writer.add_image("unseen", np.zeros((20, 20, 3), np.uint8), sets=["eyes"])


TEXT = "The quick brown fox jumps over the lazy dog, and nobody knows why it would. " * 40


@pytest.fixture
def tree(tmp_path: Path, encoder: GistEncoder) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[encoder]) as tree:
        with tree.writer() as writer:
            for i in range(12):
                writer.add(f"part/{i}", f"{i}: {TEXT}")
        tree.build_gists(encoder)
        yield tree


def test_a_store_has_gists_by_a_network(tree: mctree.Tree, encoder: GistEncoder) -> None:
    with tree.snapshot() as snapshot:
        gists = snapshot.gists()
        assert gists.levels >= 2 and gists.record.kind == "torch-gist"
        blocks = snapshot.view().reshape(-1, BLOCK).astype(np.uint32)
        mask = np.arange(BLOCK) < snapshot.counts(0, snapshot.blocks)[:, None]
        expected = encoder.encode(1, blocks, mask).astype(np.float16)
        assert np.array_equal(gists.gather(1, np.arange(snapshot.blocks)), expected)
        children = gists.gather(1, np.arange(BLOCK)).astype(np.float32)[None]
        assert np.array_equal(
            gists.gather(2, np.array([0]))[0],
            encoder.encode(2, children, np.ones((1, 32), np.bool_))[0].astype(np.float16),
        )
    with tree.writer() as writer:
        writer.remove("part/3")
        writer.add("more", TEXT)
    assert tree.refresh_gists() > 0
    assert not list(tree.verify())


@pytest.fixture(scope="module")
def linkable(tmp_path_factory: pytest.TempPathFactory, encoder: GistEncoder) -> Iterator[mctree.tree.Snapshot]:
    path = tmp_path_factory.mktemp("linkable") / "t.mctree"
    with mctree.create(path, chunk_bytes=65536, encoders=[encoder]) as made:
        with made.writer() as writer:
            writer.add("one", TEXT)
        made.build_gists(encoder)
        with made.snapshot() as snapshot:
            yield snapshot


def sight(tree: mctree.Tree, encoder: GistEncoder) -> SnapshotSight:
    snapshot = tree.snapshot()
    table = np.random.default_rng(0).normal(size=(256, 16)).astype(np.float32)
    return SnapshotSight(snapshot, snapshot.gists(), table, np.frombuffer(b"why would it?", np.uint8))


def test_a_network_drives_a_working_context(tree: mctree.Tree, encoder: GistEncoder) -> None:
    with tree.writer() as writer:
        writer.begin("talk").write("not yet a block")
    shown = sight(tree, encoder)
    net: LensNet = drawn(LensNet(LensConfig(dim=16, width=16, heads=2)))
    with torch.no_grad():
        net.score.bias.fill_(float(net.score.weight.abs().sum()))  # that something is wanted
    lens = NetLens(net, shown, "cpu")
    assert isinstance(lens, Lens) and isinstance(shown, Sight)
    with tree.snapshot() as snapshot:
        context = WorkingContext.smallest(snapshot, 600, Allocator(threshold=0.05))
        before = len(context)
        scored = lens.score(context._look(context._draft()))
        assert scored.shape == (before,) and np.array_equal(scored, lens.score(context._look(context._draft())))
        changes = list(converge(context, lens, 30))
        assert changes and context.check() is None and context.cost <= 600
        vectors, known = shown.vectors(context.entries)
        assert known.all()
        tail = context.entries.start >= snapshot.positions
        assert tail.sum() == 1 and np.allclose(
            vectors[tail][0], shown._embedding[np.frombuffer(b"not yet a block", np.uint8)].mean(0)
        )
        fine = np.flatnonzero((context.entries.level == 0) & ~tail)
        assert np.array_equal(
            vectors[fine], snapshot.gists().gather(1, context.entries.index[fine] // BLOCK).astype(np.float32)
        )


def test_links_are_summed_up_from_their_other_end(tree: mctree.Tree, encoder: GistEncoder) -> None:
    with tree.writer() as writer:
        writer.link((0, 40), (BLOCK * 10, BLOCK * 12), kind="about")
    shown = sight(tree, encoder)
    with tree.snapshot() as snapshot:
        context = WorkingContext.recent(snapshot, 10**6)
        linked = shown.linked(context.entries)
        gists = snapshot.gists()
        there = [0, 1, 10, 11]
        assert np.flatnonzero(linked.any(1)).tolist() == there
        assert np.allclose(linked[0], gists.gather(1, np.array([10, 11])).astype(np.float32).mean(0))
        assert np.allclose(linked[11], gists.gather(1, np.array([0, 1])).astype(np.float32).mean(0))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.lists(st.tuples(*[st.integers(0, 2000)] * 4), max_size=12), steps=st.integers(0, 3))
def test_summaries_of_links_are_means_over_those_that_meet_an_entry(
    linkable: mctree.tree.Snapshot, links: list[tuple[int, int, int, int]], steps: int
) -> None:
    spans = [((0, a, a + 1 + b % 300), (0, c, c + 1 + d % 300)) for a, b, c, d in links]

    class Linked:
        """A snapshot that has these links."""

        def __getattr__(self, name: str) -> object:
            return getattr(linkable, name)

        def all_links(self) -> list[Link]:
            return [Link(i, one, other, "about", 1.0) for i, (one, other) in enumerate(spans)]

    gists = linkable.gists()
    shown = SnapshotSight(Linked(), gists, np.zeros((256, 16), np.float32), np.empty(0, np.int64))  # type: ignore[arg-type]
    context = WorkingContext.smallest(linkable, 400, Allocator(max_edits=8, cooldown=0))
    for _ in range(steps):
        context.step(np.ones(len(context)))
    entries = context.entries
    linked = shown.linked(entries)
    for i in range(len(entries)):
        met = [
            gists.gather(1, np.arange(other[1] // BLOCK, min(-(-other[2] // BLOCK), other[1] // BLOCK + 8)))
            for one, other in [*spans, *(pair[::-1] for pair in spans)]
            if one[1] < entries.stop[i] and one[2] > entries.start[i]
        ]
        means = [found.astype(np.float64).mean(0) for found in met]
        expected = np.mean(means, axis=0) if means else np.zeros(16)
        assert np.allclose(linked[i], expected, atol=1e-5)
        assert means or not linked[i].any()


def test_a_caption_is_seen_from_the_block_that_its_image_takes(tmp_path: Path, encoder: GistEncoder) -> None:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[encoder]) as tree:
        tree.build_gists(encoder)
        with tree.writer() as writer:
            writer.add("caption", "A cat, seen from above, asleep. " * 4)
            writer.add_image("cat", np.zeros((40, 200, 3), np.uint8))
            writer.add_image("dog", np.zeros((40, 200, 3), np.uint8))
        with tree.snapshot() as snapshot:
            image = snapshot.image("cat")
            first = image.first(0)
        with tree.writer() as writer:
            writer.link((first, first + 40), (0, 128), kind="caption", spaces=(1, 0))
        shown = sight(tree, encoder)
        with tree.snapshot() as snapshot:
            context = WorkingContext.smallest(snapshot, 200)
            entries, linked = context.entries, shown.linked(context.entries)
            said = snapshot.gists().gather(1, np.arange(4)).astype(np.float32).mean(0)
            at = entries.index.tolist().index(image.block)
            assert np.allclose(linked[at], said) and np.flatnonzero(linked.any(1)).tolist() == [at]
            context.expand((1, image.block))
            entries, linked = context.entries, shown.linked(context.entries)
            met = (entries.space == 1) & (entries.start < first + 40) & (entries.stop > first)
            assert met.any() and np.flatnonzero(linked.any(1)).tolist() == np.flatnonzero(met).tolist()
            assert np.allclose(linked[met], said)


def test_a_sight_of_ones_own_may_know_images() -> None:
    world = PaperWorld()
    world.place(1, [32] * 5)
    world.graft(2, PaperImage(30, 30))
    context = WorkingContext.smallest(world.ground(), 500)

    class Drawn:
        def vectors(self, entries):  # type: ignore[no-untyped-def]
            return np.ones((len(entries), 16), np.float32), entries.space == 0

        def linked(self, entries):  # type: ignore[no-untyped-def]
            return np.zeros((len(entries), 16), np.float32)

        def tail(self):  # type: ignore[no-untyped-def]
            return np.zeros((0, 16), np.float32)

    for _ in range(6):
        context.step(NetLens(drawn(LensNet(LensConfig(dim=16, width=16, heads=2))), Drawn(), "cpu"))
        assert context.check() is None


def test_embeddings_of_another_size_are_refused(tree: mctree.Tree) -> None:
    with tree.snapshot() as snapshot, pytest.raises(UsageError, match="do not go with"):
        SnapshotSight(snapshot, snapshot.gists(), np.zeros((256, 8), np.float32), np.zeros(0, np.int64))


def test_a_gpu_gives_the_same_to_rounding() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    random = np.random.default_rng(0)
    tokens, mask = random.integers(0, 256, (500, 32), np.uint32), random.random((500, 32)) < 0.8
    here = GistEncoder(drawn(GistNet(CONFIG)), device="cpu").encode(1, tokens, mask)
    there = GistEncoder(drawn(GistNet(CONFIG)), device="cuda").encode(1, tokens, mask)
    assert np.allclose(here, there, atol=1e-3)
