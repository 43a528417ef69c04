"""A model that reads a working context: like the plain model, like itself without a cache, and at a constant cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.encoders import BytesTokenizer
from mctree.errors import BudgetTooSmall, LockedError, UsageError
from mctree.focus import Allocator, Look, RecencyLens, WorkingContext
from mctree.geometry import IMAGE, Address
from mctree.sources.images import ArraySource
from mctree.testing.toys import ToyEncoder, ToySight
from mctree_torch import ResidentContext
from mctree_torch.base import Moment, Reader, Rows, RowSource, SnapshotRows, Speaker
from mctree_torch.networks import GistConfig, GistEncoder, GistNet, LensConfig, LensNet, NetLens, SnapshotSight
from mctree_torch.positions import Places
from tests.torch import tiny
from tests.torch.comparing import Both
from tests.torch.drawing import drawn

VOCABULARY = 97
DIM = 32


def store(path: Path, model: Any, documents: int = 6, tokens: int = 700, *, gists: bool = True) -> mctree.Tree:
    """Random tokens, and gists of them in the model's space."""
    random = np.random.default_rng(0)
    tree = mctree.create(path, vocabulary=VOCABULARY, chunk_bytes=65536)
    with tree.writer() as writer:
        for i in range(documents):
            document = writer.begin(f"part/{i}")
            document.extend(random.integers(0, VOCABULARY, tokens))
            document.close()
    if gists:
        net = drawn(GistNet(GistConfig(dim=DIM, vocabulary=VOCABULARY, width=16, heads=2, layers=1, slots=2)))
        net.embedding.weight.copy_(model.get_input_embeddings().weight.detach())
        tree.build_gists(GistEncoder(net, device="cpu"))
    return tree


def some_rows(draw: st.DrawFn) -> Rows:
    """A few rows, of which many are alike from draw to draw."""
    n = draw(st.integers(1, 12))
    token = torch.tensor(draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)))
    vectors = int((token < 0).sum())
    vector = torch.tensor(draw(st.lists(st.integers(0, 1), min_size=vectors, max_size=vectors))).float()[:, None]
    known = torch.tensor(draw(st.lists(st.sampled_from([True, True, True, False]), min_size=n, max_size=n)))
    return Rows(token, vector.expand(-1, DIM) * 0.3, known, Places.of_text(torch.arange(n)))


rows = st.composite(some_rows)()


@settings(max_examples=30)
@given(rows, rows, st.data())
def test_rows_know_what_they_share(a: Rows, b: Rows, data: st.DataObject) -> None:
    def told(some: Rows) -> list[tuple[Any, ...]]:
        vectors = iter(some.vector.tolist())
        return [
            (token, tuple(next(vectors)) if token < 0 else (), known, place)
            for token, known, place in zip(
                some.token.tolist(), some.known.tolist(), some.places.position.tolist(), strict=True
            )
        ]

    shared = 0
    for x, y in zip(told(a), told(b), strict=False):
        if x != y:
            break
        shared += 1
    assert a.shared_with(b) == b.shared_with(a) == shared
    assert a.shared_with(a) == len(a)
    cut = data.draw(st.integers(0, len(a)))
    parts = [a.take(0, cut), a.take(cut, len(a))]
    assert told(parts[0]) + told(parts[1]) == told(a) == told(Rows.joined(parts))


@settings(max_examples=10)
@given(st.lists(rows, min_size=2, max_size=5), st.sampled_from(["eager", "sdpa"]))
def test_what_is_reused_changes_nothing(readings: list[Rows], attention: str) -> None:
    reader = Reader(tiny.model("qwen3", attention=attention))
    fresh = Reader(tiny.model("qwen3", attention=attention), cached=False)
    for some in readings:
        assert torch.allclose(reader.read(some), fresh.read(some), atol=1e-4)
        more = Rows.of_tokens(torch.tensor([5]), torch.tensor([50.0], dtype=torch.float64), DIM)
        assert torch.allclose(reader.go_on(more), fresh.read(Rows.joined([some, more])), atol=1e-4)
        assert reader.rows == len(some) + 1
    assert reader.computed + reader.reused == sum(len(some) + 1 for some in readings)


def test_what_is_not_known_is_not_attended_to() -> None:
    # Nothing is reused: a product of fewer rows may be rounded in another way.
    reader = Reader(tiny.model(), cached=False)
    token, known = torch.tensor([3, -1, 4]), torch.tensor([True, False, True])
    places = Places.of_text(torch.arange(3))
    found = [reader.read(Rows(token, torch.full((1, DIM), value), known, places)) for value in (0.0, 5.0)]
    assert torch.equal(*found)
    with pytest.raises(UsageError, match="nothing to read"):
        reader.read(Rows.of_tokens(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64), DIM))
    with pytest.raises(UsageError, match="go with"):
        Rows(token, torch.empty(0, DIM), known, places)


def test_a_long_reading_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Rows.of_tokens(torch.arange(50), torch.arange(50, dtype=torch.float64), DIM)
    whole = Reader(tiny.model()).read(long)
    monkeypatch.setattr("mctree_torch.base.reader._CHUNK", 7)
    assert torch.allclose(Reader(tiny.model()).read(long), whole, atol=1e-4)


def test_models_that_do_not_see_everything_are_refused() -> None:
    with pytest.raises(UsageError, match="sliding_attention"):
        Reader(tiny.model("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1))
    reader = Reader(tiny.model())
    with pytest.raises(UsageError, match="already"):
        Reader(reader.model)
    with pytest.raises(UsageError, match="go on from"):
        reader.go_on(Rows.of_tokens(torch.tensor([5]), torch.tensor([50.0], dtype=torch.float64), DIM))
    reader.close()
    Reader(reader.model).close()


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_at_lod0_within_the_window_it_is_the_plain_model(kind: str, tmp_path: Path) -> None:
    model = tiny.model(kind)
    told = np.random.default_rng(1).integers(0, VOCABULARY, 75)
    tokens = torch.from_numpy(told)[None]
    with torch.no_grad():
        for _ in range(40):
            tokens = torch.cat((tokens, model(tokens).logits[:, -1].argmax(-1, keepdim=True)), 1)
    with mctree.create(tmp_path / "t.mctree", vocabulary=VOCABULARY) as tree:
        reader = Reader(model)
        with Speaker(reader, tree, "talk", budget=500, every=7, sharp=500, lens=Nothing()) as speaker:
            speaker.hear(told)
            said = list(speaker.say(40))
        assert said == tokens[0, 75:].tolist()
        with tree.snapshot() as snapshot:
            assert np.array_equal(snapshot.document("talk").read_tokens(), tokens[0].numpy())
            assert snapshot.document("talk").open


class Nothing:
    """Wants nothing."""

    def score(self, look: Look) -> np.ndarray:
        return np.zeros(len(look.entries))


class Fickle:
    """Wants something else each time, also at the front."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def score(self, look: Look) -> np.ndarray:
        return self.random.uniform(-1, 1, len(look.entries))


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_generation_with_refocus_is_that_with_everything_computed_anew(kind: str, tmp_path: Path) -> None:
    reader = Both(kind)
    with store(tmp_path / "t.mctree", reader.model) as tree:
        rules = Allocator(max_edits=3, cooldown=0)
        with Speaker(reader, tree, "talk", budget=400, every=5, sharp=64, lens=Fickle(), allocator=rules) as speaker:
            speaker.hear(np.arange(50))
            said = list(speaker.say(48, temperature=1.0, generator=torch.Generator().manual_seed(0)))
            context = speaker.context
            assert context is not None and context.check() is None
            assert context.tally.expanded > 3 and context.tally.collapsed > 3
            assert set(context.entries.level.tolist()) >= {0, 1}
        assert len(said) == 48 and reader.compared == 48 and reader.reused > 100
        assert tree.snapshot().document("talk").tokens == 98
        assert not list(tree.verify())


def test_the_newest_is_at_lod0_whatever_the_lens(tmp_path: Path) -> None:
    class Coarse:
        def score(self, look: Look) -> np.ndarray:
            return np.full(len(look.entries), -1.0)

    model = tiny.model()
    with (
        store(tmp_path / "t.mctree", model, documents=3) as tree,
        Speaker(Reader(model), tree, "talk", budget=200, every=8, sharp=96, lens=Coarse(), steps=3) as speaker,
    ):
        for _ in range(4):
            speaker.hear(np.arange(60))
            list(speaker.say(20))
            context = speaker.context
            assert context is not None and context.check() is None
            newest = context.entries.stop > context.ground.end - 96
            assert not context.entries.level[newest].any()


def test_it_goes_on_with_what_was_said_before_and_shares_the_tree(tmp_path: Path) -> None:
    model = tiny.model()
    with store(tmp_path / "t.mctree", model, documents=1) as tree:
        reader = Reader(model)
        with Speaker(reader, tree, "talk", budget=300) as speaker:
            with pytest.raises(LockedError):
                tree.writer()
            speaker.hear(np.arange(40))
            first = list(speaker.say(5, stop=range(VOCABULARY)))
            assert len(first) == 1
        with tree.writer() as writer:
            writer.begin("other").extend(np.arange(7))
        reader.forget()
        with Speaker(reader, tree, "talk", budget=300) as speaker:
            assert speaker.document.tokens == 41
            speaker.hear([1, 2, 3])
            seen: list[Rows] = []
            reader.read = lambda rows, read=reader.read: (seen.append(rows), read(rows))[1]  # type: ignore[method-assign]
            list(speaker.say(1))
        # What another document has not finished is read before that which is to be gone on with.
        assert (
            seen[0].token[-3:].tolist() == [1, 2, 3]
            and torch.arange(7).tolist() in seen[0].token.unfold(0, 7, 1).tolist()
        )
        assert tree.snapshot().document("talk").read_tokens()[40:].tolist()[1:4] == [1, 2, 3]


def test_what_stands_before_the_first_change_is_not_computed_again(tmp_path: Path) -> None:
    model = tiny.model()
    reader = Reader(model)
    with (
        store(tmp_path / "t.mctree", model) as tree,
        Speaker(reader, tree, "talk", budget=400, every=4, sharp=64, lens=Nothing()) as speaker,
    ):
        speaker.hear(np.arange(40))
        list(speaker.say(1))
        once = reader.computed
        # Eight tokens within a block: two looks, at which nothing but they is new.
        list(speaker.say(8))
        assert reader.computed - once <= 8 + 2 and reader.reused >= 2 * (once - 1)


def test_a_lens_of_the_moment_sees_the_question(tmp_path: Path) -> None:
    model = tiny.model()
    net = drawn(LensNet(LensConfig(dim=DIM, width=16, heads=2)))
    with torch.no_grad():
        net.score.bias.fill_(2.0)
    tails = []

    def lens(moment: Moment) -> NetLens:
        tails.append(moment.tail)
        assert moment.gists is not None
        return NetLens(net, SnapshotSight(moment.snapshot, moment.gists, moment.embedding, moment.tail), "cpu")

    with (
        store(tmp_path / "t.mctree", model) as tree,
        Speaker(Reader(model), tree, "talk", budget=500, lens=lens, every=4) as speaker,
    ):
        speaker.hear(np.arange(80))
        list(speaker.say(8))
    assert len(tails) == 2 and len(tails[0]) == 64 and tails[0].tolist() == list(range(16, 80))


def test_time_and_memory_do_not_grow_with_what_was_said(tmp_path: Path) -> None:
    """Rows computed for a look, and rows held, are bounded by the budget however long the history."""
    model = tiny.model()
    costs: dict[int, tuple[int, int]] = {}
    for documents in (6, 60):
        reader = Reader(tiny.model())
        with (
            store(tmp_path / f"{documents}.mctree", model, documents=documents) as tree,
            Speaker(reader, tree, "talk", budget=300, every=8, lens=RecencyLens()) as speaker,
        ):
            speaker.hear(np.arange(40))
            held = 0
            for _ in speaker.say(64):
                held = max(held, reader.rows)
        costs[documents] = reader.computed, held
    for computed, held in costs.values():
        assert held <= 300 + 8 and computed <= 9 * 300 + 64
    assert costs[60][0] < 2 * costs[6][0]


class FirstToken:
    """An encoder that costs next to nothing, of a model's own embeddings: the first child."""

    kind, modalities, span_level, dim, fingerprint = "first token", frozenset({"text"}), 0, DIM, "f" * 64

    def __init__(self, embedding: torch.Tensor) -> None:
        self._table = embedding.numpy()

    def encode(self, level: int, children: np.ndarray, mask: np.ndarray, span: object = None) -> np.ndarray:
        return self._table[children[:, 0]] if level == 1 else children[:, 0].astype(np.float32)

    def encode_query(self, text: str, level: int = 1) -> np.ndarray:
        return np.zeros(DIM, np.float32)

    def dump(self) -> bytes:
        return b""


def talked(path: Path, positions: int) -> tuple[int, int, int]:
    """Rows computed for a conversation behind so many positions, the most that were held, and blocks made anew."""
    reader = Reader(tiny.model())
    encoder = FirstToken(reader.embedding())
    random = np.random.default_rng(0)
    with mctree.create(path, vocabulary=VOCABULARY, encoders=[encoder]) as tree:
        with tree.writer() as writer:
            document = writer.begin("history")
            for first in range(0, positions, 1 << 22):
                document.extend(random.integers(0, VOCABULARY, min(1 << 22, positions - first), np.uint32))
            document.close()
            writer.commit(gists=False)
        tree.build_gists(encoder)
        made, real = 0, encoder.encode

        def counted(level: int, children: np.ndarray, mask: np.ndarray, span: object = None) -> np.ndarray:
            nonlocal made
            made += len(children)
            return real(level, children, mask, span)

        encoder.encode = counted  # type: ignore[method-assign]
        rules = Allocator(max_edits=4, cooldown=0)
        with Speaker(reader, tree, "talk", budget=400, every=8, lens=RecencyLens(), allocator=rules) as speaker:
            speaker.hear(np.arange(40))
            held = 0
            for _ in speaker.say(64):
                held = max(held, reader.rows)
            assert speaker.context is not None and speaker.context.cost <= 400
    return reader.computed, held, made


@pytest.mark.parametrize(
    "positions", [10**4, 10**6, *(pytest.param(n, marks=pytest.mark.slow) for n in (10**7, 10**8))]
)
def test_a_token_costs_the_same_however_long_the_history(tmp_path: Path, positions: int) -> None:
    """Work and memory are counted, beside those of a history of the length of the budget."""
    few = talked(tmp_path / "few.mctree", 1000)
    computed, held, made = talked(tmp_path / "many.mctree", positions)
    looks = 1 + 64 // 8
    assert held <= 400 + 8 and computed <= looks * 400 + 64
    assert computed <= 1.5 * few[0] + 400, "what is computed anew at each look does not grow"
    levels = 6
    assert made <= few[2] + 2 * looks * levels, (
        "what is said makes gists of its own blocks and of what lies above these"
    )


def test_rows_are_those_of_the_store(tmp_path: Path) -> None:
    model = tiny.model()
    with store(tmp_path / "t.mctree", model, documents=3, tokens=45) as tree:
        with tree.writer() as writer:
            writer.begin("open").extend([5, 6, 7])
        with tree.snapshot() as snapshot:
            source = SnapshotRows(snapshot, snapshot.gists(), DIM)
            assert isinstance(source, RowSource)
            context = WorkingContext.around(snapshot, [(0, 10), (70, 71)], 200)
            found, bounds = source.rows(context.entries)
            entries = context.entries
            assert bounds[-1] == len(found) == context.cost
            for i in range(len(entries)):
                mine = found.take(int(bounds[i]), int(bounds[i + 1]))
                assert bool(mine.known.all())
                if entries.level[i] and entries.space[i] == 0:
                    gist = snapshot.gists().gather(int(entries.level[i]), entries.index[i : i + 1]).astype(np.float32)
                    assert np.array_equal(mine.vector.numpy(), gist) and mine.token.tolist() == [-1]
                    assert mine.places.position.tolist() == [entries.position[i]]
                    assert mine.places.sigma.tolist() == [entries.sigma[i]]
                elif entries.start[i] < snapshot.positions:
                    stop = int(entries.start[i] + entries.cost[i])
                    assert np.array_equal(mine.token.numpy(), snapshot.tokens(int(entries.start[i]), stop))
                    assert mine.places.position.tolist() == list(range(int(entries.start[i]), stop))
                    assert not mine.places.sigma.any()
                else:
                    assert mine.token.tolist() == [5, 6, 7]
            none, _ = SnapshotRows(snapshot, None, DIM).rows(entries)
            assert torch.equal(none.known, none.token >= 0)
            with pytest.raises(UsageError, match="GistNet"):
                SnapshotRows(snapshot, snapshot.gists(), DIM + 1)


@pytest.mark.parametrize("name", ["joint", "words"])
def test_rows_of_images_stand_where_their_patches_do(tmp_path: Path, name: str) -> None:
    sets = {"joint": ToySight(DIM), "words": ToyEncoder(DIM)}
    values = np.random.default_rng(0).integers(0, 256, (40, 200, 3), np.uint8)
    holed = np.ones((40, 200), np.bool_)
    holed[:, 32:64] = False
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16, encoders=sets.values()) as tree:
        tree.build_gists(sets[name], name, default=True)
        with tree.writer() as writer:
            writer.add("before", b"some words " * 3)
            writer.add_image("picture", ArraySource(values, holed))
            for number in range(64):
                writer.add_image(f"{number}", values[:20, :20])
        with tree.snapshot() as snapshot:
            gists, image = snapshot.gists(), snapshot.image("picture")
            source = SnapshotRows(snapshot, gists, DIM)
            context = WorkingContext.smallest(snapshot, 4000)
            for _ in range(20):
                found, bounds = source.rows(context.entries)
                assert bounds[-1] == len(found) == context.cost
                lacking = context.without_gist(gists)
                fine = context.entries.level == 0
                assert found.known.numpy()[bounds[:-1]][~fine].tolist() == (~lacking[~fine]).tolist()
                context.step(np.where(fine, 0.0, 1.0))
            entries = context.entries
            sight = SnapshotSight(snapshot, gists, np.zeros((256, DIM), np.float32), np.empty(0, np.int64))
            vectors, known = sight.vectors(entries)
            tiles = entries.space > 0
            assert tiles.sum() > 64 and set(known[tiles].tolist()) == {name == "joint"} and known[~tiles].any()
            for i in np.flatnonzero(tiles & known).tolist():
                gist = snapshot.node(Address(1, 1, int(entries.index[i]) // IMAGE.block)).gist()
                assert gist is not None and np.array_equal(vectors[i], gist.astype(np.float32))
            with ResidentContext(context, snapshot) as resident:
                for _ in range(2000):
                    if (read := resident.gather()).seen.whole:
                        break
                    resident.step(np.ones(len(context)))
                assert read.seen.whole and len(read.patch_rows) == tiles.sum()
                assert (read.patches is None) == (name == "words")
            patches = {}
            for i in np.flatnonzero(entries.document == image.id).tolist():
                assert entries.level[i] == 0, "all is expanded"
                rows = found.take(int(bounds[i]), int(bounds[i + 1]))
                assert not rows.places.sigma_x.any() and set(rows.places.position.tolist()) == {entries.position[i]}
                assert set(rows.known.tolist()) == {name == "joint"}
                for x, y, vector in zip(rows.places.x.tolist(), rows.places.y.tolist(), rows.vector, strict=True):
                    patches[int(x), int(y)] = vector.numpy()
            assert sorted(patches) == [(x, y) for x in range(13) if x not in (2, 3) for y in range(3)]
            if name == "joint":
                index = np.array([image.index_at(0, x, y) for x, y in patches])
                assert np.array_equal(np.stack(list(patches.values())), image.gists(0, index)[0].astype(np.float32))


def test_numbers_and_trees_that_cannot_be_are_refused(tmp_path: Path) -> None:
    model = tiny.model()
    reader = Reader(model)
    with mctree.create(tmp_path / "e.mctree", vocabulary=VOCABULARY) as tree:
        for wrong in ({"every": 0}, {"sharp": -1}, {"steps": -1}, {"budget": 0}):
            with pytest.raises(UsageError, match="of a speaker"):
                Speaker(reader, tree, "talk", **{"budget": 10, **wrong})
        with Speaker(reader, tree, "talk", budget=10) as speaker:
            with pytest.raises(UsageError, match="nothing to read"):
                list(speaker.say(1))
            speaker.hear(np.arange(31))
            with pytest.raises(BudgetTooSmall):
                list(speaker.say(1))
    with mctree.create(tmp_path / "b.mctree") as tree, pytest.raises(UsageError, match="256 tokens"):
        Speaker(reader, tree, "talk", budget=10)
    with mctree.create(tmp_path / "c.mctree", tokenizer=BytesTokenizer()) as tree:
        with Speaker(Reader(tiny.model(vocabulary=300)), tree, "talk", budget=100) as speaker:
            speaker.hear("Who is there?")
            said = bytes(speaker.say(5))
        assert tree.snapshot().document("talk").read() == b"Who is there?" + said
