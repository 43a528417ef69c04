"""Does a sample show all that came before its place, nothing behind it, and ask for what came next?"""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import BudgetTooSmall, NotFoundError, UsageError
from mctree.focus import Allocator, RecencyLens, SnapshotGround
from mctree.testing import Plan, ToyEncoder, made, strategies
from mctree.tree import Snapshot
from mctree.tree.text_arrays import LOD0
from tests.torch.readers import some_documents, store

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
from mctree_torch import Loader, MixedDetailDataset  # noqa: E402
from mctree_torch.mixed import Cursor  # noqa: E402

TAIL = 40
BUDGET = 200


def check_sample(dataset: MixedDetailDataset, snapshot: Snapshot, i: int, *, shifted: bool) -> list[int]:
    """Compare a sample with its working context, row by row; returns the tokens that it asks for."""
    sample = {name: values.numpy() for name, values in dataset[i].items()}
    context = dataset.context(i)
    assert context.check() is None
    assert context.cost <= dataset.budget
    gists, tokens, entries = snapshot.gists(), snapshot.rows(LOD0), context.entries
    end = context.ground.end
    assert (entries.stop <= end).all()
    r = 0
    for k in range(len(entries)):
        if entries.level[k]:
            level, index = int(entries.level[k]), int(entries.index[k])
            known = index < gists.rows(level)
            assert (sample["input_ids"][r], sample["levels"][r], bool(sample["mask"][r])) == (-1, level, known)
            vector = gists.gather(level, np.array([index]))[0] if known else np.zeros(gists.dim)
            assert sample["gists"][r].tolist() == vector.tolist()
            assert (sample["positions"][r], sample["sigmas"][r]) == (entries.position[k], entries.sigma[k])
            r += 1
            continue
        n = int(entries.cost[k])
        span = slice(r, r + n)
        assert (
            sample["input_ids"][span].tolist() == tokens.read(int(entries.start[k]), int(entries.start[k]) + n).tolist()
        )
        assert sample["positions"][span].tolist() == list(range(entries.start[k], entries.start[k] + n))
        assert not sample["sigmas"][span].any() and not sample["gists"][span].any() and sample["mask"][span].all()
        r += n
    # Behind the context: what leads to the tail, and the tail, in the order of the timeline.
    used = int(np.flatnonzero(sample["input_ids"] >= 0).max()) + 1
    places = sample["positions"][r:used].astype(np.int64)
    assert len(places) and places[0] == end and (np.diff(places) > 0).all()
    assert sample["input_ids"][r:used].tolist() == tokens.gather(places).tolist()
    assert sample["mask"][r:used].all() and not sample["mask"][used:].any()
    assert (sample["input_ids"][used:] == -1).all()
    # Labels are these tokens, in their own rows or in those before.
    labels = np.concatenate(([-100], sample["labels"][:-1])) if shifted else sample["labels"]
    asked = np.flatnonzero(labels != -100)
    assert (sample["labels"] != -100).sum() == len(asked)
    assert labels[asked].tolist() == sample["input_ids"][asked].tolist()
    assert not len(asked) or (asked.tolist() == list(range(asked[0], used)) and asked[0] >= r)
    return [] if not len(asked) else places[asked[0] - r :].tolist()


@settings(max_examples=40)
@given(plan=strategies.plans(text=False, vocabulary=300, most=1500), shifted=st.booleans(), tail=st.integers(1, 100))
def test_samples_are_working_contexts_and_what_came_next(plan: Plan, shifted: bool, tail: int) -> None:
    with made(plan) as sample, sample.tree.snapshot() as snapshot:
        state = sample.model.commits[sample.model.newest]
        places = [
            block * 32 + k
            for block, held in enumerate(state.blocks)
            if block not in state.dead
            for k in range(len(held.tokens))
        ]
        dataset = MixedDetailDataset(snapshot, 300, tail, shifted=shifted, steps=4)
        if not places:
            with pytest.raises(UsageError, match="ingest"):
                len(dataset)
            return
        assert len(dataset) == -(-len(places) // tail)
        some = range(len(dataset)) if len(dataset) < 12 else [0, 1, len(dataset) // 2, -1]
        asked = [check_sample(dataset, snapshot, i, shifted=shifted) for i in some]
        if len(asked) == len(dataset):
            # Every token once, but for the first of all, which nothing comes before.
            assert sorted(chain.from_iterable(asked)) == (places[1:] if shifted else places)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = store(tmp_path_factory.mktemp("corpus") / "t.mctree", some_documents([1700, 50, 450]))
    with mctree.open(path) as tree:
        tree.build_gists(ToyEncoder())
    return path


def cuts(dataset: MixedDetailDataset, epoch: int) -> list[list[int]]:
    return [dataset.context(i, epoch).entries.level.tolist() for i in range(len(dataset))]


def test_cuts_are_drawn_anew_in_every_epoch_and_fill_the_budget(corpus: Path) -> None:
    dataset = MixedDetailDataset(corpus, BUDGET, TAIL, seed=2)
    assert cuts(dataset, 0) == cuts(MixedDetailDataset(corpus, BUDGET, TAIL, seed=2), 0)
    assert sorted(map(str, cuts(dataset, 0))) != sorted(map(str, cuts(dataset, 1)))
    contexts = [dataset.context(i) for i in range(len(dataset))]
    late = [context for context in contexts if context.ground.end > 1000]
    assert np.mean([context.cost for context in late]) > 0.75 * BUDGET
    mixed = [{0, 1} <= set(context.entries.level.tolist()) for context in late]
    assert np.mean(mixed) > 0.9


def test_a_lens_chooses_the_cut(corpus: Path) -> None:
    dataset = MixedDetailDataset(corpus, BUDGET, TAIL, lens=RecencyLens(), steps=50)
    context = max((dataset.context(i) for i in range(len(dataset))), key=lambda one: one.ground.end)
    levels = context.entries.level.tolist()
    assert levels[-1] == 0 and levels[0] > 0 and sorted(levels, reverse=True) == levels
    seen: list[Cursor] = []

    def remembering(cursor: Cursor) -> Any:
        seen.append(cursor)
        return RecencyLens()

    made_each = MixedDetailDataset(corpus, BUDGET, TAIL, lens=remembering, steps=50)
    assert cuts(made_each, 0) == cuts(dataset, 0)
    assert len(seen) == len(dataset)
    assert all(len(cursor.tail) <= TAIL and cursor.position % 32 == 0 for cursor in seen)


def test_the_states_of_both_datasets_work_alike(corpus: Path) -> None:
    dataset = MixedDetailDataset(corpus, BUDGET, TAIL, seed=9)
    ordered = [dataset.read([i], 0) for i in range(12)]
    loader = Loader(dataset, 2, num_workers=1)
    found = list(islice(loader, 2))
    again = Loader(MixedDetailDataset(corpus, BUDGET, TAIL, seed=9), 3, num_workers=2)
    again.load_state_dict(loader.state_dict())
    found += list(islice(again, 2))
    for name in ordered[0]:
        rows = torch.cat([batch[name] for batch in found])
        assert torch.equal(rows, torch.cat([sample[name] for sample in ordered])[:10])
    other = Loader(MixedDetailDataset(corpus, BUDGET + 1, TAIL, seed=9), 3)
    with pytest.raises(UsageError, match="with budget 200, and these have 201"):
        other.load_state_dict(loader.state_dict())


def test_what_cannot_be_is_refused_by_name(corpus: Path) -> None:
    for budget, tail, steps in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(UsageError):
            MixedDetailDataset(corpus, budget, tail, steps=steps)
    with pytest.raises(NotFoundError, match="nowhere"):
        len(MixedDetailDataset(corpus, BUDGET, TAIL, gist_set="nowhere"))
    small = MixedDetailDataset(corpus, 3, TAIL, allocator=Allocator())
    with pytest.raises(BudgetTooSmall):
        [small[i] for i in range(len(small))]
    with mctree.open(corpus) as tree, tree.snapshot() as snapshot:
        for until in (5, -32, snapshot.positions + 32):
            with pytest.raises(UsageError):
                SnapshotGround(snapshot, until)
