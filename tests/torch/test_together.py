"""Text and images in one working context, in one gist set, through one model: every row at its place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder, Encoder, VisualEncoder
from mctree.errors import CorruptError, UsageError
from mctree.focus import Allocator, Look, WorkingContext
from mctree.geometry import IMAGE, Address
from mctree.testing.toys import ToySight
from mctree.tree import Snapshot, Tree
from mctree_torch import Loader, MixedDetailDataset, TokenDataset
from mctree_torch.base import Moment, Reader, Rows, SnapshotRows, Speaker
from mctree_torch.networks import (
    GistConfig,
    GistEncoder,
    GistNet,
    JointEncoder,
    LensConfig,
    LensNet,
    NetLens,
    SnapshotSight,
    VisualConfig,
    VisualGistEncoder,
    VisualGistNet,
)
from tests.torch import tiny
from tests.torch.comparing import Both
from tests.torch.drawing import drawn

VOCABULARY, DIM = 97, 32
PATCHES = CosineEncoder(channels=3, side=2)


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def encoder() -> JointEncoder:
    text = drawn(GistNet(GistConfig(dim=DIM, vocabulary=VOCABULARY, width=16, heads=2, layers=1, slots=2)))
    text.embedding.weight.copy_(tiny.model().get_input_embeddings().weight.detach())
    image = drawn(VisualGistNet(VisualConfig(dim=DIM, patch_dim=12, width=16, heads=2, layers=1, slots=2)))
    return JointEncoder(GistEncoder(text, device="cpu"), VisualGistEncoder(image, PATCHES, "cpu"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, encoder: JointEncoder) -> Path:
    """Some documents, with images between them; one of them wide enough for three levels above its tiles."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("together") / "t.mctree"
    with mctree.create(path, vocabulary=VOCABULARY, chunk_bytes=65536, encoders=[encoder]) as made:
        made.build_gists(encoder, default=True)
        with made.writer() as writer:
            for number in range(6):
                document = writer.begin(f"{'ab'[number % 2]}/{number}")
                document.extend(random.integers(0, VOCABULARY, 300))
                document.close()
                height, width = ((500, 300), (20, 20), (130, 40))[number % 3]
                writer.add_image(f"pictures/{number}", picture(height, width, number))
    return path


@pytest.fixture
def tree(store: Path, tmp_path: Path, encoder: JointEncoder) -> Iterator[Tree]:
    """A copy of the store, to be written to."""
    shutil.copytree(store, tmp_path / "t.mctree")
    with mctree.open(tmp_path / "t.mctree", encoders=[encoder]) as opened:
        yield opened


def test_one_set_has_the_gists_of_both(tree: Tree, encoder: JointEncoder) -> None:
    assert isinstance(encoder, Encoder) and isinstance(encoder, VisualEncoder)
    with tree.snapshot() as snapshot:
        gists = snapshot.gists()
        assert gists.record.kind == "torch-joint-gist" and set(gists.record.modalities) == {"text", "image"}
        image = snapshot.image("pictures/0")
        tile = image.first(1)
        patches = np.arange(tile * IMAGE.block, (tile + 1) * IMAGE.block)
        values, there = image.gists(0, patches)
        assert there.all() and np.isfinite(values).all() and values.any(1).all()
        made = encoder.encode_tiles(1, values[None].astype(np.float32), there[None], np.ones((1, 64)))
        assert np.array_equal(image.gists(1, np.array([tile]))[0], made.astype(np.float16))
        root = image.gists(image.root, np.array([image.first(image.root)]))[0]
        assert np.array_equal(gists.gather(1, np.array([image.block])), root), "a block is what the image's root is"
        blocks = np.arange(0, 10)
        tokens = snapshot.tokens(0, 320).reshape(-1, 32)
        mask = np.arange(32) < np.asarray(snapshot.counts(0, 10))[:, None]
        assert np.array_equal(gists.gather(1, blocks[:9]), encoder.encode(1, tokens, mask)[:9].astype(np.float16))
    assert not list(tree.verify())


def test_a_joint_encoder_comes_back(encoder: JointEncoder) -> None:
    again = JointEncoder.load(
        encoder.dump(),
        lambda dump: GistEncoder.load(dump, device="cpu"),
        lambda dump: VisualGistEncoder.load(dump, PATCHES, "cpu"),
    )
    assert again.fingerprint == encoder.fingerprint and again.dim == DIM and again.channels == 3
    pixels = picture(16, 16 * 300, 3).reshape(16, 300, 16, 3).swapaxes(0, 1)
    mask = np.ones((300, 16, 16), np.bool_)
    mask[7] = False
    pixels = np.where(mask[..., None], pixels, 0).astype(np.uint8)
    found = encoder.encode_patches(pixels, mask)
    assert found.shape == (300, DIM) and not found[7].any() and found.any(1).sum() == 299
    assert np.array_equal(again.encode_patches(pixels, mask), found)
    assert np.array_equal(encoder.encode_patches(pixels[40:50], mask[40:50]), found[40:50]), "whatever the batch"
    assert encoder.encode_patches(pixels[:0], mask[:0]).shape == (0, DIM)
    text, image = encoder._text, encoder._image
    assert len({encoder.fingerprint, JointEncoder(text, ToySight(DIM)).fingerprint, text.fingerprint}) == 3
    with pytest.raises(UsageError, match="32 dimensions"):
        JointEncoder(text, ToySight(DIM + 1))
    with pytest.raises(UsageError, match="the network takes 12"):
        VisualGistEncoder(VisualGistNet(VisualConfig(dim=DIM, patch_dim=12)), ToySight(DIM))
    for damaged in (b"", encoder.dump()[:7], b"\xff" * 8 + encoder.dump()[8:], encoder.dump()[:-1]):
        with pytest.raises(CorruptError):
            JointEncoder.load(damaged, GistEncoder.load, lambda dump: VisualGistEncoder.load(dump, PATCHES))
    assert image.dim == DIM


class Fickle:
    """Wants something else each time, and images more than text."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def score(self, look: Look) -> NDArray[np.float64]:
        return self.random.uniform(-1, 1, len(look.entries)) + 0.4 * look.entries.modality


class Seen(Both):
    """Counts what of images is read."""

    patches = gists = 0

    def read(self, rows: Rows) -> torch.Tensor:
        self.patches += int(((rows.places.x > 0) & (rows.places.sigma_x == 0)).sum())
        self.gists += int((rows.places.sigma_x > 0).sum())
        return super().read(rows)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_model_speaks_of_text_and_images_alike(tree: Tree, kind: str) -> None:
    reader = Seen(kind)
    rules = Allocator(max_edits=6, cooldown=0)
    with Speaker(reader, tree, "talk", budget=500, every=4, sharp=64, lens=Fickle(), allocator=rules) as speaker:
        speaker.hear(np.arange(50))
        list(speaker.say(40, temperature=1.0, generator=torch.Generator().manual_seed(0)))
        context = speaker.context
        assert context is not None and context.check() is None
    assert reader.patches > 100 and reader.gists > 30 and reader.reused > 100


def test_rows_of_images_turn_by_their_columns_and_rows(tree: Tree) -> None:
    reader = Reader(tiny.model())
    with tree.snapshot() as snapshot:
        context = opened(snapshot)
        rows, _ = SnapshotRows(snapshot, snapshot.gists(), DIM).rows(context.entries)
        with reader._rotary.at(rows.places):
            cos, sin = reader._rotary(torch.zeros(1, len(rows), 1), torch.zeros(1, len(rows), dtype=torch.int64))
    frequency = reader._rotary.bands.frequency.tolist()
    p = rows.places
    seen = set()
    for row in range(len(rows)):
        for band, omega in enumerate(frequency):
            beside, wide = (
                (0.0, 0.0),
                (float(p.x[row]), float(p.sigma_x[row])),
                (float(p.y[row]), float(p.sigma_y[row])),
            )[band % 3]
            damping = np.exp(-0.5 * (float(p.sigma[row]) ** 2 + wide**2) * omega**2)
            angle = (float(p.position[row]) + beside) * omega
            assert abs(float(cos[0, row, band]) - np.cos(angle) * damping) < 1e-5
            assert abs(float(sin[0, row, band]) - np.sin(angle) * damping) < 1e-5
            seen.add((band % 3, beside > 0, wide > 0))
    assert {(1, True, False), (2, True, False), (1, True, True), (2, True, True)} <= seen


def opened(snapshot: Snapshot, budget: int = 700) -> WorkingContext:
    """A context in which some images are seen coarsely, some at LOD0, and text likewise."""
    context = WorkingContext.smallest(snapshot, budget, Allocator(max_edits=6, cooldown=0))
    lens = Fickle()
    for _ in range(30):
        context.step(lens)
        level, image = context.entries.level, context.entries.space > 0
        if (image & (level == 0)).any() and (image & (level > 0)).any() and (~image & (level == 0)).any():
            break
    assert context.check() is None
    return context


def test_a_lens_drives_what_is_seen_of_images(tree: Tree) -> None:
    net = drawn(LensNet(LensConfig(dim=DIM, width=16, heads=2)))
    with torch.no_grad():
        net.score.bias.fill_(2.0)
    shown: list[set[tuple[int, int]]] = []

    def lens(moment: Moment) -> NetLens:
        assert moment.gists is not None
        sight = SnapshotSight(moment.snapshot, moment.gists, moment.embedding, moment.tail)

        found = NetLens(net, sight, "cpu")
        real = found.score

        def score(look: Look) -> NDArray[np.float32]:
            entries = look.entries
            shown.append(set(zip(entries.space.tolist(), entries.level.tolist(), strict=True)))
            _, known = sight.vectors(entries)
            assert known.all(), "everything has a gist in a set of both"
            scores = real(look)
            assert scores.shape == (len(entries),) and np.isfinite(scores).all()
            return scores

        found.score = score  # type: ignore[method-assign]
        return found

    with Speaker(Reader(tiny.model()), tree, "talk", budget=900, lens=lens, every=2, steps=3, sharp=32) as speaker:
        speaker.hear(np.arange(40))
        list(speaker.say(12))
        context = speaker.context
        assert context is not None and context.check() is None
    assert {(1, 0), (1, 1), (0, 0)} <= set().union(*shown)


def test_the_newest_text_is_sharp_and_images_are_left_to_the_lens(tree: Tree) -> None:
    class Nothing:
        def score(self, look: Look) -> NDArray[np.float64]:
            return np.zeros(len(look.entries))

    with tree.writer() as writer:
        for number in range(3):
            writer.add_image(f"late/{number}", picture(40, 40, number))
    with Speaker(Reader(tiny.model()), tree, "talk", budget=900, lens=Nothing(), every=4, sharp=320) as speaker:
        speaker.hear(np.arange(40))
        list(speaker.say(12))
        context = speaker.context
        assert context is not None
        entries = context.entries
        # The images were looked into at first, by `WorkingContext.recent`, or not at all; nobody has opened them since.
        assert not (entries.space > 0).any()
        newest = (entries.stop > context.ground.end - 320) & (entries.modality == 0)
        assert newest.any() and not entries.level[newest].any()


def check_sample(dataset: MixedDetailDataset, snapshot: Snapshot, i: int) -> tuple[int, int]:
    """Compare a sample with its working context, entry by entry; how many rows of images, and of patches, it has."""
    sample = {name: values.numpy() for name, values in dataset[i].items()}
    context = dataset.context(i)
    assert context.check() is None
    r = images = fine = 0
    entries = context.entries
    for k in range(len(entries)):
        space, level, index = int(entries.space[k]), int(entries.level[k]), int(entries.index[k])
        if level:
            gist = snapshot.node(Address(space, level, index)).gist()
            assert gist is not None and sample["gists"][r].tolist() == gist.tolist()
            assert (sample["input_ids"][r], sample["levels"][r], sample["mask"][r]) == (-1, level, True)
            for name, column in (("positions", "position"), ("sigmas", "sigma"), *((n, n) for n in PLANE)):
                assert sample[name][r] == getattr(entries, column)[k], name
            assert sample["modalities"][r] == entries.modality[k]
            images += int(entries.modality[k])
            r += 1
            continue
        n = int(entries.cost[k])
        span = slice(r, r + n)
        assert not sample["sigmas"][span].any() and not sample["sigma_x"][span].any() and sample["mask"][span].all()
        if space == 0:
            assert sample["input_ids"][span].tolist() == snapshot.tokens(index, index + n).tolist()
            assert sample["positions"][span].tolist() == list(range(index, index + n))
            assert not sample["modalities"][span].any() and not sample["x"][span].any()
        else:
            image = snapshot.image(int(entries.document[k]))
            x, y = sample["x"][span].astype(int), sample["y"][span].astype(int)
            at = np.array([image.index_at(0, int(a), int(b)) for a, b in zip(x, y, strict=True)])
            assert ((at >= index) & (at < index + IMAGE.block)).all() and len(set(at.tolist())) == n
            assert np.array_equal(sample["gists"][span], image.gists(0, at)[0])
            assert (sample["input_ids"][span] == -1).all() and (sample["modalities"][span] == 1).all()
            assert (sample["positions"][span] == entries.position[k]).all()
            fine += n
            images += n
        r += n
    tail = sample["input_ids"][r:]
    assert (tail[: (tail >= 0).sum()] >= 0).all(), "what leads to the tail, the tail, and nothing between"
    return images, fine


PLANE = ("x", "y", "sigma_x", "sigma_y")


def test_samples_show_images_and_text_before_a_place(tree: Tree) -> None:
    with tree.snapshot() as snapshot:
        dataset = MixedDetailDataset(snapshot, 400, 60, seed=1)
        assert len(dataset) == 30, "images are shown, and not to be said"
        found = np.array([check_sample(dataset, snapshot, i) for i in range(0, len(dataset), 2)])
        assert (found > 0).all(axis=1).sum() > 5, "most see some patches"
        batch = next(iter(Loader(dataset, 3)))
        places = MixedDetailDataset.places(batch)
        assert places.position.shape == (3, dataset.rows) and torch.equal(places.sigma_y, batch["sigma_y"])
        reader = Reader(tiny.model())
        embeds = reader.model.get_input_embeddings()(batch["input_ids"].clamp(min=0)).clone()
        vectors = (batch["input_ids"][:, : dataset.budget] < 0)[..., None]
        embeds[:, : dataset.budget] = torch.where(vectors, batch["gists"].float(), embeds[:, : dataset.budget])
        n = dataset.rows
        allowed = (torch.ones(n, n).tril().bool() & batch["mask"][:, None, :]) | torch.eye(n).bool()
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
        with reader._rotary.at(places):
            logits = reader.model(inputs_embeds=embeds, attention_mask=mask, position_ids=torch.arange(n)[None]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
        loss.backward()
        assert torch.isfinite(loss)
        # A row of the batch is what the reader reads of the same context.
        context = dataset.context(0)
        rows, _ = SnapshotRows(snapshot, snapshot.gists(), DIM).rows(context.entries)
        used = len(rows)
        read = reader.read(rows)
        assert torch.allclose(logits[0, used - 1], read, atol=1e-3)


def said(dataset: MixedDetailDataset, epoch: int) -> list[int]:
    """The positions of all tokens that are asked for in an epoch, ascending; those before which something stands."""
    found = []
    for i in range(len(dataset)):
        sample = dataset.read([i], epoch)
        asked = (sample["labels"][0] != -100).nonzero()[:, 0] + 1
        found += sample["positions"][0][asked].long().tolist()
    return sorted(found)


def test_weights_say_how_often_documents_are_asked_for(tree: Tree) -> None:
    with tree.snapshot() as snapshot:
        of = {
            name: sorted(
                p
                for document in snapshot.documents()
                if document.source.startswith(name.encode())
                for run in document.runs
                for p in range(run.block * 32, (run.block + run.blocks) * 32)
                if p % 32 < int(snapshot.counts(p // 32, p // 32 + 1)[0])
            )
            for name in ("a/", "b/")
        }
        plain = MixedDetailDataset(snapshot, 150, 60, steps=1, seed=1)
        assert said(plain, 0) == sorted(of["a/"] + of["b/"])[1:], "all but the first of all"
        weighted = MixedDetailDataset(snapshot, 150, 60, steps=1, seed=1, weights={"a": 2, "b": 0})
        assert len(weighted) == 2 * 15 and [part.samples for part in weighted.parts] == [0, 30]
        assert said(weighted, 0) == sorted(2 * of["a/"][1:])
        halves = MixedDetailDataset(snapshot, 150, 60, steps=1, seed=1, weights={"b": 0.4})
        twice = said(halves, 0) + said(halves, 1)
        assert [part.name for part in halves.parts] == ["weight 0.4", "weight 1"]
        assert sorted(p for p in twice if p in set(of["a/"])) == sorted(2 * of["a/"][1:])
        assert len({p for p in twice if p in set(of["b/"])}) == 12 * 60
        shares = MixedDetailDataset(snapshot, 150, 60, steps=1, seed=1, shares={"a": 0.75, "b": 0.25}, samples=20)
        assert [part.samples for part in shares.parts] == [15, 5] and len(shares) == 20
        with pytest.raises(UsageError, match="mixture"):
            weighted.load_state_dict(plain.state_dict())
        again = MixedDetailDataset(snapshot, 150, 60, steps=1, seed=1, weights={"a": 2.0, "b": 0})
        again.load_state_dict(weighted.state_dict())
        with pytest.raises(UsageError, match="share"):
            MixedDetailDataset(snapshot, 150, 60, weights={"a": 1}, shares={"a": 1})


def test_a_gist_that_is_read_last_does_not_pull_what_is_said_back(tree: Tree) -> None:
    places: list[float] = []

    class Remembering(Reader):
        def go_on(self, rows: Rows) -> torch.Tensor:
            places.extend(rows.places.position.tolist())
            return super().go_on(rows)

    class Coarse:
        def score(self, look: Look) -> NDArray[np.float64]:
            return np.full(len(look.entries), -1.0)

    rules = Allocator(max_edits=64, cooldown=0)
    with Speaker(
        Remembering(tiny.model()), tree, "talk", budget=400, every=8, sharp=0, lens=Coarse(), allocator=rules, steps=4
    ) as speaker:
        speaker.hear(np.arange(64))  # whole blocks: nothing of them waits
        end = None
        for _ in speaker.say(4):
            context = speaker.context
            assert context is not None
            end = context.ground.end
            assert context.entries.level[-1] > 0, "the last row is a gist"
        assert places == [end, end + 1, end + 2], "what is said stands behind all that was placed"


def test_what_was_interrupted_is_not_reused() -> None:
    reader = Reader(tiny.model())
    first = Rows.of_tokens(torch.arange(20), torch.arange(20, dtype=torch.float64), DIM)
    other = Rows.of_tokens(torch.arange(20).flip(0), torch.arange(20, dtype=torch.float64), DIM)
    wanted = Reader(tiny.model(), cached=False).read(other)
    reader.read(first)
    layer: Any = reader.model.model.layers[1]
    real, layer.forward = layer.forward, _interrupted
    with pytest.raises(KeyboardInterrupt):
        reader.read(other)
    layer.forward = real
    assert torch.allclose(reader.read(other), wanted, atol=1e-4)


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_attention_that_takes_no_mask_of_numbers_is_refused() -> None:
    model = tiny.model()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UsageError, match="flash_attention_2"):
        Reader(model)
    model.config._attn_implementation = "eager"
    Reader(model).close()


def test_windows_of_tokens_leave_images_out(tree: Tree) -> None:
    with tree.snapshot() as snapshot:
        dataset = TokenDataset(snapshot, 100, fields=("input_ids", "document_ids"))
        batch = dataset.read(np.arange(len(dataset)))
        numbers = batch["document_ids"].flatten().numpy()
        for document in snapshot.documents():
            found = batch["input_ids"].flatten().numpy()[numbers == document.id].tolist()
            image = document.source.startswith(b"pictures")
            assert sorted(found) == ([] if image else sorted(document.read_tokens().tolist()))
