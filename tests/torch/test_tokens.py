"""Are samples the windows that plain lists say, each once an epoch, wherever and however they are read?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import CommitGoneError, UsageError
from mctree.testing import Plan, made, strategies
from mctree.tree.text_arrays import LOD0
from tests.torch.readers import some_documents, store, windows_of

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
from mctree_torch import TokenDataset, collate  # noqa: E402
from mctree_torch.windows import FIELDS  # noqa: E402


def plain(batch: dict[str, torch.Tensor]) -> list[dict[str, list[int]]]:
    """A batch as lists."""
    size = len(next(iter(batch.values())))
    return [{name: values[k].tolist() for name, values in batch.items()} for k in range(size)]


def key(sample: dict[str, list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sample[name]) for name in FIELDS)


@settings(max_examples=60)
@given(
    plan=strategies.plans(text=False, vocabulary=300),
    length=st.integers(1, 9) | st.sampled_from([31, 32, 64, 1000]),
    end=st.none() | st.sampled_from([299, 70_000]),
    shifted=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_an_epoch_is_every_window_of_the_documents_once(
    plan: Plan, length: int, end: int | None, shifted: bool, epoch: int
) -> None:
    with made(plan) as sample:
        state = sample.model.commits[sample.model.newest]
        documents = [(d.id, d.tokens[: d.placed].tolist()) for _, d in sorted(state.documents.items())]
        expected = windows_of(documents, length, end=end, shifted=shifted, fill=7)
        made_of = TokenDataset(sample.tree, length, end=end, shifted=shifted, fill=7, fields=FIELDS)
        if not expected:
            with pytest.raises(UsageError, match="ingest"):
                len(made_of)
            return
        assert len(made_of) == len(expected)
        found = plain(made_of.read(np.arange(len(expected)), epoch))
        assert Counter(map(key, found)) == Counter(map(key, expected))
        made_of.set_epoch(epoch)
        some = [0, len(expected) // 2, -1]
        assert [plain({k: v[None] for k, v in made_of[i].items()})[0] for i in some] == [found[i] for i in some]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of documents, 2,000 tokens in all."""
    documents = (
        some_documents([300, 5, 64, 131], "wiki") | some_documents([700], "code") | some_documents([400] * 2, "x")
    )
    return store(tmp_path_factory.mktemp("corpus") / "t.mctree", documents)


def test_epochs_and_seeds_have_other_orders_of_the_same(corpus: Path) -> None:
    first, again, other = TokenDataset(corpus, 16), TokenDataset(corpus, 16), TokenDataset(corpus, 16, seed=1)
    every = np.arange(len(first))
    rows = [d.read(every, e)["input_ids"].tolist() for d, e in ((first, 0), (again, 0), (first, 1), (other, 0))]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2] != rows[3] != rows[0]
    assert sorted(rows[0]) == sorted(rows[2]) == sorted(rows[3])


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("length", [3, 16, 40, 65])
def test_windows_are_the_same_where_the_store_is_not_mapped(corpus: Path, length: int, shifted: bool) -> None:
    found = []
    for portable in (False, True):
        with mctree.open(corpus, writable=False, portable=portable) as tree, tree.snapshot() as snapshot:
            assert (snapshot.rows(LOD0).flat(np.array([0]), 1) is None) == portable
            dataset = TokenDataset(tree, length, shifted=shifted, fields=FIELDS)
            found.append({name: t.tolist() for name, t in dataset.read(np.arange(len(dataset))).items()})
    assert found[0] == found[1]


@given(st.dictionaries(st.sampled_from(["wiki", "code", "x/1", "wiki/2", ""]), st.sampled_from([0, 0.25, 1, 1.5, 3])))
@settings(max_examples=25)
def test_weights_say_how_often_to_the_sample(corpus: Path, weights: dict[str, float]) -> None:
    names = {"wiki/0": 300, "wiki/1": 5, "wiki/2": 64, "wiki/3": 131, "code/0": 700, "x/0": 400, "x/1": 400}
    weight_of = {}
    for number, name in enumerate(names, 1):
        above = [name, name.split("/")[0], ""]
        weight_of[number] = next((weights[one] for one in above if one in weights), 1)
    tokens: Counter[float] = Counter()
    for number, size in enumerate(names.values(), 1):
        tokens[weight_of[number]] += size if weight_of[number] else 0
    dataset = TokenDataset(corpus, 16, weights=weights, fields=FIELDS)
    if not +tokens:
        with pytest.raises(UsageError):
            len(dataset)
        return
    windows = {weight: -(-(size - 1) // 16) for weight, size in (+tokens).items()}
    samples = {weight: max(round(weight * n), 1) for weight, n in windows.items()}
    assert len(dataset) == sum(samples.values())
    found = {part.name: part.samples for part in dataset.parts if part.tokens}
    assert found == {f"weight {weight:g}": n for weight, n in samples.items()}
    counts: dict[float, Counter[object]] = {weight: Counter() for weight in windows}
    for epoch in range(5):
        for sample in plain(dataset.read(np.arange(len(dataset)), epoch)):
            counts[weight_of[sample["document_ids"][0]]][key(sample)] += 1
        for weight, n in windows.items():
            # No window comes more than once more often than another, after any number of epochs.
            each, more = divmod((epoch + 1) * samples[weight], n)
            frequent = Counter(counts[weight].values())
            assert frequent[each + 1] == more
            assert frequent[each] == (n - more if each else 0)
            assert set(frequent) <= {each, each + 1}


def test_shares_say_how_much_of_an_epoch(corpus: Path) -> None:
    dataset = TokenDataset(corpus, 16, shares={"wiki": 2, "code": 1, "wiki/0": 0}, samples=100)
    assert [(part.name, part.samples) for part in dataset.parts] == [("wiki", 67), ("code", 33)]
    assert len(dataset) == 100
    with pytest.raises(UsageError, match="nothing to read under 'nowhere'"):
        len(TokenDataset(corpus, 16, shares={"nowhere": 1, "wiki": 1}))


def test_what_cannot_be_is_refused_by_name(corpus: Path) -> None:
    for arguments in (
        {"window": 0},
        {"window": 4, "seed": -1},
        {"window": 4, "weights": {"wiki": -1}},
        {"window": 4, "weights": {"wiki": float("nan")}},
        {"window": 4, "weights": {"wiki": 1}, "shares": {"wiki": 1}},
        {"window": 4, "shares": {"wiki": 0}},
        {"window": 4, "samples": 3},
        {"window": 4, "end": -1},
        {"window": 4, "fields": ()},
        {"window": 4, "fields": ("tokens",)},
    ):
        with pytest.raises(UsageError):
            TokenDataset(corpus, **arguments)
    dataset = TokenDataset(corpus, 16)
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[index]
    with pytest.raises(UsageError):
        dataset.set_epoch(-1)


def test_samples_of_several_epochs_come_in_the_order_asked_for(corpus: Path) -> None:
    dataset = TokenDataset(corpus, 16, fields=FIELDS)
    wanted = [(1, 3), (0, 2), (1, 0), (0, 2)]
    found = plain(collate(dataset.__getitems__(wanted)))
    assert found == [plain(dataset.read([i], e))[0] for e, i in wanted]


def test_a_state_goes_back_to_its_commit_and_refuses_another_dataset(tmp_path: Path) -> None:
    path = store(tmp_path / "t.mctree", some_documents([100, 50]))
    dataset = TokenDataset(path, 8, seed=3, weights={"d/0": 2})
    dataset.set_epoch(5)
    state = dataset.state_dict()
    before = dataset.read([0, 1, 2])["input_ids"].tolist()
    with mctree.open(path) as tree, tree.writer() as writer:
        document = writer.begin("later")
        document.extend(np.arange(200, dtype=np.uint32))
        document.close()
        writer.commit()
    later = TokenDataset(path, 8, seed=3, weights={"d/0": 2})
    assert len(later) > len(dataset)
    later.load_state_dict(state)
    assert (later.commit, later.epoch, len(later)) == (dataset.commit, 5, len(dataset))
    assert later.read([0, 1, 2])["input_ids"].tolist() == before
    for other in (TokenDataset(path, 9, seed=3), TokenDataset(path, 8), TokenDataset(path, 8, seed=3)):
        with pytest.raises(UsageError, match=r"the state is of samples with (window|seed|mixture)"):
            other.load_state_dict(state)
    for broken in ({}, {**state, "epoch": "x"}, {**state, "commit": None}):
        with pytest.raises(UsageError):
            later.load_state_dict(broken)
    with pytest.raises(CommitGoneError):
        later.load_state_dict({**state, "commit": 10**6})
    assert later.read([0, 1, 2])["input_ids"].tolist() == before
