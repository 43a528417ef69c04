"""Stopped anywhere, resumed with other ranks and workers: are the samples that are left the same, in the same order?"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import UsageError
from tests.torch.readers import some_documents, store

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
from torch.utils.data import DataLoader  # noqa: E402

from mctree_torch import GlobalBatches, Loader, TokenDataset, collate, resume_point  # noqa: E402

WINDOW = 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("corpus") / "t.mctree", some_documents([70, 9, 33, 100, 1, 64]))


def made(corpus: Path) -> TokenDataset:
    return TokenDataset(corpus, WINDOW, seed=11, weights={"d/3": 1.5})


def from_number(dataset: TokenDataset, first: int, count: int) -> list[list[int]]:
    """The inputs of samples by their numbers through all epochs, each read by itself."""
    return [
        dataset.read([number % len(dataset)], number // len(dataset))["input_ids"][0].tolist()
        for number in range(first, first + count)
    ]


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def seen(steps: list[list[Any]]) -> list[list[int]]:
    """The inputs of global batches, given as the ranks' batches of each step."""
    return [row for step in steps for batch in step for row in batch["input_ids"].tolist()]


PHASES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 30)), min_size=1, max_size=4)
"""Batch size, ranks, steps taken before the next stop."""


@settings(max_examples=25)
@given(phases=PHASES, data=st.data())
def test_whatever_stops_and_sizes_the_samples_are_the_sequence(
    corpus: Path, phases: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    dataset = made(corpus)
    state: dict[str, Any] | None = None
    steps: list[list[Any]] = []
    for size, world, count in phases:
        again = made(corpus)
        loaders = [Loader(again, size, rank=rank, world_size=world) for rank in range(world)]
        if state is not None:
            for loader in loaders:
                loader.load_state_dict(json.loads(json.dumps(state)))
        steps += [list(step) for step in islice(zip(*map(endless, loaders), strict=True), count)]
        states = [loader.state_dict() for loader in loaders]
        assert all(one == states[0] for one in states)
        state = states[data.draw(st.integers(0, world - 1))]
    found = seen(steps)
    assert found == from_number(dataset, 0, len(found))


@settings(max_examples=40)
@given(size=st.integers(1, 60), world=st.integers(1, 3), epochs=st.integers(1, 4))
def test_epochs_end_alike_for_all_ranks_and_leave_nothing_out(corpus: Path, size: int, world: int, epochs: int) -> None:
    dataset = made(corpus)
    ranks = [GlobalBatches(dataset, size, rank=rank, world_size=world) for rank in range(world)]
    for epoch in range(epochs):
        if all(rank.epoch > epoch for rank in ranks):
            continue  # a batch larger than an epoch has been through this one
        drawn = [list(rank) for rank in ranks]
        assert len({len(one) for one in drawn}) == 1
        assert len(drawn[0]) in (len(ranks[0]), len(ranks[0]) - 1)
        assert {rank.taken for rank in ranks} == {ranks[0].taken}
        assert (epoch + 1) * len(dataset) <= ranks[0].taken < (epoch + 1) * len(dataset) + size * world


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing_and_what_they_prefetched_does_not_count(
    corpus: Path, workers: int, persistent: bool
) -> None:
    dataset = made(corpus)
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": persistent} if workers else {}
    loader = Loader(dataset, 3, **options)
    found: list[Any] = []
    for batch in loader:
        found.append([batch])
        if len(found) == 5:
            break
    state = loader.state_dict()
    assert state["samples_taken"] == 15
    found += [[batch] for batch in islice(endless(loader), 2 * len(loader))]
    assert seen(found) == from_number(dataset, 0, 3 * len(found))
    again = Loader(made(corpus), 4, num_workers=2 - workers)
    again.load_state_dict(state)
    rest = [[batch] for batch in islice(endless(again), 6)]
    assert seen(rest) == from_number(dataset, 15, 24)


def test_spawned_workers_open_the_store_by_themselves(corpus: Path) -> None:
    dataset = made(corpus)
    len(dataset)
    loader = Loader(dataset, 5, num_workers=1, multiprocessing_context="spawn")
    assert seen([[batch] for batch in loader])[:20] == from_number(dataset, 0, 20)


def test_a_dataset_travels_with_its_epoch_and_little_else(corpus: Path) -> None:
    dataset = made(corpus)
    dataset.set_epoch(3)
    expected = dataset.read([4])["input_ids"].tolist()
    sent = pickle.dumps(dataset)
    assert len(sent) < 3000
    assert pickle.loads(sent).read([4])["input_ids"].tolist() == expected


def test_workers_that_outlive_an_epoch_hear_of_the_next_one(corpus: Path) -> None:
    dataset = made(corpus)
    loader = DataLoader(dataset, 4, num_workers=1, persistent_workers=True, collate_fn=collate)
    for epoch in (0, 1, 5):
        dataset.set_epoch(epoch)
        found = torch.cat([batch["input_ids"] for batch in loader]).tolist()
        assert found == dataset.read(np.arange(len(dataset)), epoch)["input_ids"].tolist()


def test_samples_fit_the_collating_function_of_torch(corpus: Path) -> None:
    dataset = made(corpus)
    for batch, same in zip(DataLoader(dataset, 4), DataLoader(dataset, 4, collate_fn=collate), strict=True):
        assert batch.keys() == same.keys()
        assert all(torch.equal(batch[name], same[name]) for name in batch)


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (1, 2)])
def test_stateful_data_loaders_resume_by_their_own_state_or_by_the_samplers(
    corpus: Path, before: int, after: int
) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def loader(size: int, workers: int, rank: int = 0, world: int = 1) -> tuple[Any, GlobalBatches]:
        dataset = made(corpus)
        batches = GlobalBatches(dataset, size, rank=rank, world_size=world)
        options = {"batch_sampler": batches, "num_workers": workers, "collate_fn": collate}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'set_vital' is deprecated")
            return stateful.StatefulDataLoader(dataset, **options), batches

    dataset = made(corpus)
    taken, state = 0, None
    for _ in range(2):
        first, _ = loader(4, before)
        if state is not None:
            first.load_state_dict(state)
        part = [[batch] for batch in islice(iter(first), 3)]
        assert seen(part) == from_number(dataset, taken, 12)
        state, taken = first.state_dict(), taken + 12
    # Another number of workers, which their own state does not allow, and two ranks instead of one.
    assert state is not None
    ranks = [loader(3, after, rank, 2) for rank in range(2)]
    for _, batches in ranks:
        batches.load_state_dict(resume_point(state))
    rest = [list(step) for step in zip(*(one for one, _ in ranks), strict=True)]
    assert seen(rest) == from_number(dataset, taken, 6 * len(rest))
    assert taken + 6 * len(rest) >= len(dataset)


def test_what_is_no_state_is_refused(corpus: Path) -> None:
    loader = Loader(made(corpus), 2)
    good = loader.state_dict()
    for state in ({}, {"a": [good, {**good, "samples_taken": 5}]}, {**good, "samples_taken": -1}, {**good, "seed": 0}):
        with pytest.raises(UsageError):
            loader.load_state_dict(state)
    with pytest.raises(UsageError, match="seed") as refused:
        loader.load_state_dict({**good, "seed": "x" * 100_000})
    assert len(str(refused.value)) < 300
    for arguments in ({"batch_size": 0}, {"batch_size": 1, "rank": 1}, {"batch_size": 1, "rank": 2, "world_size": 2}):
        with pytest.raises(UsageError):
            Loader(made(corpus), **arguments)


def test_a_state_that_is_nested_too_deeply_is_refused() -> None:
    """Found by reading: JSON may be nested more deeply than it can be searched, which was a RecursionError."""
    state: object = {}
    for _ in range(5000):
        state = [state]
    with pytest.raises(UsageError, match="nested too deeply"):
        resume_point(state)
