"""What a budget affords: never more, nothing left out that would fit, many documents before much of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mctree
from mctree.errors import UsageError
from mctree.focus import Sought, WorkingContext, afford, focus, seek
from mctree.geometry import TEXT, World, cover, expand
from tests.tree.libraries import library

BLOCK = TEXT.block


def opened(world: World, blocks: NDArray[np.int64], tokens: NDArray[np.int64]) -> int:
    """What the smallest cover costs, opened so far that blocks are at LOD0; found by opening it node by node."""
    cut = cover(TEXT, 0, world=world)
    wanted = blocks * BLOCK
    while True:
        starts, stops = cut.starts(), cut.stops()
        over = [i for i in range(len(cut)) if cut.level[i] > 1 and ((wanted >= starts[i]) & (wanted < stops[i])).any()]
        if not over:
            return len(cut) + int((tokens[blocks] - 1).sum())
        cut = expand(cut, over[0], world)


@st.composite
def situations(draw: st.DrawFn) -> tuple[World, Sought, NDArray[np.int64]]:
    """A world with deaths in it, blocks that were found, and the tokens of all blocks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = draw(st.integers(1, 5000))
    dead = rng.random(blocks) < draw(st.sampled_from([0.0, 0.02, 0.6]))
    dead[draw(st.integers(0, blocks - 1))] = False
    starts = np.flatnonzero(dead)
    world = World(blocks * BLOCK, np.column_stack((starts, starts + 1)) * BLOCK)
    alive = np.flatnonzero(~dead)
    found = rng.permutation(alive)[: draw(st.integers(0, 60))]
    scores = np.sort(rng.uniform(0.01, 1, len(found)).astype(np.float32))[::-1]
    documents = found // draw(st.sampled_from([1, 40, 10_000])) + 1
    return world, Sought(found, scores, documents, 0, 0), rng.integers(1, BLOCK + 1, blocks)


@given(situations(), st.integers(0, 1500))
def test_what_is_afforded_fits_and_what_is_left_out_does_not(
    situation: tuple[World, Sought, NDArray[np.int64]], spare: int
) -> None:
    world, sought, tokens = situation
    budget = len(cover(TEXT, 0, world=world)) + spare
    chosen = afford(sought, world, budget, lambda blocks: tokens[blocks])
    assert np.array_equal(chosen, np.unique(chosen)) and np.isin(chosen, sought.blocks).all()
    assert opened(world, chosen, tokens) <= budget
    assert np.array_equal(chosen, afford(sought, world, budget, lambda blocks: tokens[blocks]))
    for other in np.setdiff1d(sought.blocks, chosen)[:4]:
        assert opened(world, np.append(chosen, other), tokens) > budget


def test_nothing_is_afforded_below_the_cover_or_where_nothing_was_found() -> None:
    world = World(100 * BLOCK)
    sought = Sought(np.array([3]), np.ones(1, np.float32), np.array([1]), 0, 0)
    nothing = Sought(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64), 0, 0)
    for found, budget in ((sought, 0), (sought, len(cover(TEXT, 0, world=world))), (nothing, 10**6)):
        assert not len(afford(found, world, budget, lambda blocks: np.full(len(blocks), 32)))


def test_every_document_is_shown_before_any_is_shown_in_full() -> None:
    """Forty regions: the first has the ten best blocks, every other one block of another document."""
    world = World(1024 * BLOCK)
    blocks = np.concatenate([np.arange(10), np.arange(1, 20) * 32])
    documents = np.concatenate([np.full(10, 1), np.arange(2, 21)])
    sought = Sought(blocks, np.linspace(1, 0.9, len(blocks)).astype(np.float32), documents, 0, 0)
    chosen = afford(sought, world, 1024, lambda some: np.full(len(some), 32))
    shown = documents[np.isin(blocks, chosen)]
    assert len(np.unique(shown)) >= 13 and (shown == 1).sum() <= 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred documents of one word each that is theirs."""
    path = tmp_path_factory.mktemp("seek") / "s.mctree"
    library(path, documents=100, dim=128, own=1)
    return path


def test_what_is_sought_comes_best_first_with_its_documents_and_its_effort(store: Path) -> None:
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        for document in list(snapshot.documents())[::9]:
            sought = seek(snapshot, document.name, effort=600)
            assert np.all(np.diff(sought.scores) <= 0) and np.all(sought.scores > 0)
            assert len(np.unique(sought.blocks)) == len(sought.blocks)
            assert np.array_equal(sought.documents, snapshot.documents_of(sought.blocks))
            assert sought.documents[0] == document.id
            assert sought.compared + sought.read <= 600


def test_focus_shows_what_is_afforded_and_nothing_else_at_lod0(store: Path) -> None:
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        name = next(snapshot.documents()).name
        for budget in (120, 600, 2048):
            context = focus(snapshot, name, budget)
            wanted = afford(
                seek(snapshot, name), snapshot.world.geometry, budget, lambda blocks: snapshot.world.tokens(1, blocks)
            )
            spans = [(int(block) * BLOCK, int(block + 1) * BLOCK) for block in wanted]
            assert context.check() is None and context.cost <= budget
            assert np.array_equal(context.blocks, wanted)
            assert context.cost == WorkingContext.around(snapshot, spans, budget).cost


def test_a_question_without_words_cannot_be_sought(store: Path) -> None:
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        with pytest.raises(UsageError, match="says nothing"):
            seek(snapshot, "?!")
        with pytest.raises(UsageError, match="at least 1"):
            seek(snapshot, "word", effort=0)
