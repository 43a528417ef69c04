"""The allocator against its rules, one by one: what it prefers, what it pays for, what it leaves alone."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import (
    FEATURES,
    Allocator,
    BlocksLens,
    Entries,
    Lens,
    Look,
    RecencyLens,
    SpansLens,
    WorkingContext,
    converge,
)
from mctree.focus.covers import least_cost
from mctree.testing import PaperImage, PaperWorld, strategies
from mctree.testing.paper import PaperGround


def ground(blocks: int = 1100) -> PaperGround:
    world = PaperWorld()
    world.place(1, [32] * blocks)
    return world.ground()


def scored(context: WorkingContext, **wanted: float) -> np.ndarray:
    """Scores that are 0 but for nodes named `level_index`."""
    scores = np.zeros(len(context))
    for name, score in wanted.items():
        level, index = map(int, name[1:].split("_"))
        scores[(context.entries.level == level) & (context.entries.index == index)] = score
    return scores


def names(context: WorkingContext) -> set[str]:
    return {str(context.entries.address(i)) for i in range(len(context))}


def test_the_most_wanted_is_expanded_first_and_of_equals_the_newest() -> None:
    context = WorkingContext.smallest(ground(), 5000, Allocator(max_edits=2))
    scores = scored(context, n2_32=0.5, n2_33=0.5, n1_1090=0.9, n1_1091=0.2, n1_1092=0.5)
    change = context.step(scores)
    assert change.expanded == 2
    assert "0:34880" in names(context), "1:1090 was wanted most"
    assert "0:34944" in names(context), "of equals the newest, 1:1092, comes first"
    assert "1:1091" in names(context), "0.2 is not above the threshold"
    assert change.blocked.limit == 2 - 1 or change.blocked.limit == 2


@settings(max_examples=40)
@given(
    kinds=st.lists(
        st.sampled_from([0.0, 0.21, 0.6, 0.61, 0.8, 0.81, 0.9, 0.95, 0.99, 1.0]) | st.floats(0, 1), min_size=1
    ),
    seed=st.integers(0, 99),
    count=st.sampled_from([1, 4, 64, 65, 300, 2000]),
)
def test_of_many_the_most_wanted_are_expanded_and_of_equals_the_newest(
    kinds: list[float], seed: int, count: int
) -> None:
    context = WorkingContext.smallest(ground(2100), 10**6, Allocator(max_edits=10**6, cooldown=0))
    while (context.entries.level > 1).any():
        context.step(np.where(context.entries.level > 1, 1.0, 0.0))
    context.allocator = Allocator(max_edits=count)
    heat = np.random.default_rng(seed).choice(kinds, len(context))
    wanted = sorted(np.flatnonzero(heat > 0.2).tolist(), key=lambda i: (-heat[i], -i))[:count]
    assert context.step(heat).diff.left_at.tolist() == sorted(wanted)


def test_siblings_are_collapsed_only_if_none_of_them_is_wanted() -> None:
    context = WorkingContext.around(ground(), [(0, 32)], 5000)
    cold = np.where(context.entries.stop <= 1024, -0.9, 0.0)
    warm = cold.copy()
    warm[5] = -0.2
    change = context.step(np.where(context.entries.level == 0, 0.0, warm))
    assert change.collapsed == 0
    assert context.step(cold).collapsed == 1, "the block first, since its siblings are of another level"
    assert "1:0" in names(context)
    assert context.step(np.where(context.entries.stop <= 1024, -0.9, 0.0)).collapsed == 1
    assert "2:0" in names(context) or "3:0" in names(context)


def test_an_expand_that_does_not_fit_is_paid_for_or_not_done() -> None:
    view = ground()
    context = WorkingContext.around(view, [(0, 32)], least_cost(view) + 31 * 3)
    assert context.budget - context.cost == 0
    wanted = scored(context, n1_1095=0.8)
    change = context.step(wanted)
    assert (change.edits, change.blocked.budget) == (0, 1)
    change = context.step(np.where(context.entries.level == 0, -1.0, wanted))
    assert (change.expanded, change.collapsed) == (1, 1)
    assert context.cost == context.budget
    assert {"1:0", "0:35040"} <= names(context)


def test_what_pays_counts_among_the_edits() -> None:
    view = ground()
    context = WorkingContext.around(view, [(0, 32)], least_cost(view) + 31 * 3, Allocator(max_edits=1))
    scores = np.where(context.entries.level == 0, -1.0, scored(context, n1_1095=0.8))
    change = context.step(scores)
    assert (change.expanded, change.collapsed, change.blocked.budget) == (0, 1, 1)
    assert context.step(scored(context, n1_1095=0.8)).expanded == 1


def test_a_node_that_was_just_expanded_waits_also_where_what_was_opened_below_it_was_forced_shut() -> None:
    world = PaperWorld()
    world.place(1, [32] * 64)
    world.graft(2, PaperImage(9, 8, frozenset({(0, 1)})))
    view = world.ground()
    context = WorkingContext.smallest(view, least_cost(view) + 63, Allocator(rounds=2))
    assert context.step(BlocksLens([64])).expanded == 2
    assert names(context) == {"2:0", "2:1", "a1/0:0"}, "the image has one tile, and that is all there is below it"
    world.place(3, [32])
    assert context.refocus(world.ground()).forced == 1
    assert names(context) == {"2:0", "2:1", "a1/1:0", "1:65"}
    edits = [(change.collapsed, change.blocked.cooldown) for change in (context.step(BlocksLens([])) for _ in range(3))]
    assert edits == [(0, 1), (0, 1), (1, 0)]


def test_a_node_that_was_just_collapsed_waits_also_where_a_part_of_it_has_died() -> None:
    world = PaperWorld()
    world.place(1, [32] * 1000)
    world.place(2, [32] * 24)
    context = WorkingContext.around(world.ground(), [(995 * 32, 996 * 32)], 500)
    while context.step(np.where(context.entries.slot >= 992 * 32, -1.0, 0.0)).collapsed:
        pass
    assert "2:31" in names(context)
    world.remove(2)
    change = context.refocus(world.ground())
    assert [str(change.diff.entered.address(i)) for i in range(len(change.diff.entered))] == ["2:31"]
    change = context.step(scored(context, n2_31=1.0))
    assert (change.expanded, change.blocked.cooldown) == (0, 1)


def test_the_protected_end_stays_unless_the_budget_forces_it() -> None:
    world = PaperWorld()
    world.place(1, [32] * 1100)
    context = WorkingContext.recent(world.ground(), 400, Allocator(protect=10 * 32, max_edits=100, cooldown=0))
    shown = len(context.blocks)
    change = context.step(np.full(len(context), -1.0))
    assert context.blocks.tolist() == list(range(1090, 1100))
    assert (change.collapsed, change.blocked.protected) == (shown - 10, 10)
    world.place(2, [32] * 30)
    needed = least_cost(world.ground())
    context.budget = needed
    change = context.refocus(world.ground())
    assert change.forced > 0 and not len(context.blocks)


@settings(max_examples=40, deadline=None)
@given(lens=strategies.lenses(), allocator=strategies.allocators(), image=strategies.paper_images())
def test_the_same_scores_give_the_same_context(lens: Lens, allocator: Allocator, image: PaperImage) -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    world.graft(2, image)
    view = world.ground()
    ends = []
    for _ in range(2):
        context = WorkingContext.smallest(view, 300, allocator)
        for _ in range(5):
            context.step(lens)
        ends.append(context)
    assert ends[0].entries.same(ends[1].entries).all()
    assert repr(ends[0].tally) == repr(ends[1].tally)


def test_rounds_refine_within_one_step() -> None:
    view = ground(1 << 15)
    lens = BlocksLens([20_000])
    slow = WorkingContext.smallest(view, 500)
    fast = WorkingContext.smallest(view, 500, Allocator(rounds=5))
    steps = sum(1 for _ in converge(slow, lens))
    change = fast.step(lens)
    assert steps == change.expanded == 4
    assert fast.entries.same(slow.entries).all()
    assert fast.blocks.tolist() == [20_000]
    # What entered in an early round and left in a later one is in neither list.
    assert len(change.diff.left_at) == 1 and len(change.diff.entered_at) == len(fast) == 3 * 31 + 1


def test_counters_count() -> None:
    view = ground()
    context = WorkingContext.smallest(view, 600)
    for _ in converge(context, SpansLens([(0, 200)])):
        pass
    for _ in converge(context, SpansLens([(30_000, 30_200)])):
        pass
    tally = context.tally
    assert tally.steps == context.steps
    assert tally.expanded > tally.collapsed > 0
    assert tally.swap_rate == (tally.expanded + tally.collapsed) / tally.entry_steps
    assert tally.residency is not None and tally.residency > 1
    assert 0 < tally.utilisation < 1 and 0 < tally.churn < 1
    assert not tally.blocked.waiting
    context.step(np.ones(len(context)), lambda entries, _: np.zeros(len(entries), np.bool_))
    assert tally.blocked.waiting > 0
    said = tally.json()
    assert said["steps"] == tally.steps
    assert isinstance(said["blocked"], dict) and sum(said["blocked"].values()) == tally.blocked.total


# Lenses


@pytest.mark.parametrize("begin", [WorkingContext.smallest, WorkingContext.recent])
def test_spans_are_reached_from_anywhere(begin: object) -> None:
    view = ground(1 << 15)
    context = begin(view, 900)  # type: ignore[operator]
    for _ in converge(context, SpansLens([(5_000, 5_100), (800_000, 800_010)])):
        pass
    wanted = WorkingContext.around(view, [(5_000, 5_100), (800_000, 800_010)], 900)
    assert context.entries.same(wanted.entries).all()


@settings(max_examples=60, deadline=None)
@given(
    spans=st.lists(strategies.ranges(90 * 32), max_size=4),
    image=strategies.paper_images(),
    dead=st.booleans(),
    seed=st.integers(0, 99),
)
def test_spans_are_wanted_as_their_blocks_are(
    spans: list[tuple[int, int]], image: PaperImage, dead: bool, seed: int
) -> None:
    world = PaperWorld()
    for document in (1, 2, 3):
        world.place(document, [32] * 25)
    world.graft(4, image)
    world.tails = [(5, 4)]
    if dead:
        world.remove(2)
    context = WorkingContext.smallest(world.ground(), 400)
    blocks = [block for block in range(90) if any(a < b and a < 32 * block + 32 and 32 * block < b for a, b in spans)]
    for _ in range(3):
        spy = Spy(SpansLens(spans))
        context.step(spy)
        assert (BlocksLens(blocks).score(spy.look) == spy.lens.score(spy.look)).all()
        context.step(np.random.default_rng(seed).uniform(-1, 1, len(context)))


@settings(max_examples=60, deadline=None)
@given(spans=st.lists(strategies.ranges(90 * 32), max_size=4), image=strategies.paper_images(), dead=st.booleans())
def test_who_cannot_afford_a_view_is_told_what_it_costs(
    spans: list[tuple[int, int]], image: PaperImage, dead: bool
) -> None:
    """Found by the machine: of blocks that cost too much by themselves, only these were counted."""
    world = PaperWorld()
    for document in (1, 2, 3):
        world.place(document, [32] * 25)
    world.graft(4, image)
    world.place(5, [32] * 20)
    world.tails = [(6, 4)]
    if dead:
        world.remove(2)
    view = world.ground()
    spans = [(start, min(stop, view.end)) for start, stop in spans if start < view.end]
    cost = WorkingContext.around(view, spans, 10**6).cost
    for budget in (cost - 1, 40, 1):
        with pytest.raises(BudgetTooSmall) as told:
            WorkingContext.around(view, spans, min(budget, cost - 1))
        assert told.value.needed == cost


class Spy:
    """A lens that keeps what it was asked of."""

    look: Look

    def __init__(self, lens: Lens) -> None:
        self.lens = lens

    def score(self, look: Look) -> np.ndarray:
        self.look = look
        return self.lens.score(look)


def test_spans_cost_nothing_by_their_length() -> None:
    """Found by review: each block of a span was listed, also of those beyond the end of the tree."""
    tracemalloc.start()
    try:
        view = ground(1 << 10)
        lens = SpansLens([(0, 10**13), (2 * 10**13, 2**62)])
        context = WorkingContext.smallest(view, 2000)
        for _ in converge(context, lens):
            pass
        assert len(context.blocks) > 30
        with pytest.raises(BudgetTooSmall, match="a view that costs 32768"):
            WorkingContext.around(view, [(0, view.end)], 2000)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "wrong", [[(5, 1)], [(0.5, 40.9)], ["ab"], [(-1, 4)], [(1, 2, 3)], [(0, 1), (2,)], [(0, 2**70)], [3]]
)
def test_what_is_no_span_is_refused(wrong: list[Any]) -> None:
    """Found by review: some were dropped or cut to integers without a word."""
    with pytest.raises(UsageError):
        SpansLens(wrong)
    with pytest.raises(UsageError):
        WorkingContext.around(ground(), wrong, 2000)


@pytest.mark.parametrize("blocks", [10, 1100, 1 << 15, 40_000])
def test_recency_shows_the_newest_and_gets_coarser_with_age(blocks: int) -> None:
    view = ground(blocks)
    context = WorkingContext.smallest(view, 2048)
    steps = sum(1 for _ in converge(context, RecencyLens()))
    assert steps < 1000
    assert context.blocks[-1] == blocks - 1
    assert (np.diff(context.blocks) == 1).all()
    gists = context.entries.level[context.entries.level > 0]
    assert len(gists) < 2 or (np.diff(gists) <= 0).mean() > 0.9, "on the whole, what is older is coarser"
    assert context.cost > 0.5 * min(2048, 32 * blocks)


def test_recency_goes_by_what_is_alive() -> None:
    """A node whose end has died is as old as its last living child: it is not wanted finer and that one coarser."""
    world = PaperWorld()
    world.place(1, [32] * 40)
    world.place(2, [32] * 1024)
    world.place(3, [32] * 2)
    world.remove(2)
    context = WorkingContext.smallest(world.ground(), 192)
    assert "3:0" in names(context)
    assert sum(1 for _ in converge(context, RecencyLens(), most=100)) < 100


def test_weights_say_which_blocks_come_first() -> None:
    context = WorkingContext.smallest(ground(1 << 15), 500, Allocator(max_edits=1))
    lens = BlocksLens([20_000, 9], [1.0, 2.0])
    order = [context.blocks.tolist() for _ in converge(context, lens)]
    assert order[3:5] == [[9], [9]] and order[-1] == [9, 20_000]
    for wrong in ([1.0], [0.0, 1.0], [-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(UsageError):
            BlocksLens([20_000, 9], wrong)
    for blocks in ([-1, 9], [1.5, 9.0], ["1", "9"], [[1, 9]]):
        with pytest.raises(UsageError):
            BlocksLens(blocks)


def test_an_empty_tree_needs_no_budget() -> None:
    context = WorkingContext.smallest(PaperWorld().ground(), 0)
    for lens in (RecencyLens(), SpansLens([]), BlocksLens([])):
        spy = Spy(lens)
        assert not context.step(spy).edits
        assert spy.look.features().shape == (0, len(FEATURES))


@pytest.mark.parametrize("kind", [np.longdouble, np.float64, np.float32, np.float16, np.int64, np.int8, np.uint64])
def test_scores_may_be_numbers_of_any_kind(kind: type) -> None:
    context = WorkingContext.smallest(ground(), 600)
    scores = np.zeros(len(context), kind)
    scores[0] = np.finfo(kind).max if issubclass(kind, np.floating) else np.iinfo(kind).max
    assert context.step(scores).expanded == 1
    assert context.history.heat.max() == 1


@settings(max_examples=40, deadline=None)
@given(lens=strategies.lenses(), image=strategies.paper_images(), steps=st.integers(0, 5))
def test_features_are_finite_and_named(lens: Lens, image: PaperImage, steps: int) -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    world.graft(2, image)
    world.tails = [(3, 4)]
    shown: list[Look] = []

    spy = Spy(lens)
    assert isinstance(spy, Lens)
    context = WorkingContext.smallest(world.ground(), 300)
    for _ in range(steps):
        context.step(spy)
        shown.append(spy.look)
    for look in shown:
        table = look.features()
        assert table.shape == (len(look.entries), len(FEATURES)) and table.dtype == np.float32
        assert np.isfinite(table).all() and (np.abs(table) < 100).all()
        assert (table[:, FEATURES.index("level")] == look.entries.level).all()
        assert ((table[:, FEATURES.index("image")] == 1) == (look.entries.modality == 1)).all()


@settings(max_examples=60)
@given(strategies.allocators(), st.integers(0, 400), st.integers(0, 999), st.floats(0, 1))
def test_only_what_is_ready_is_expanded_and_the_rest_is_as_if_nobody_wanted_it(
    allocator: Allocator, over: int, seed: int, share: float
) -> None:
    here = ground(1030)
    one = WorkingContext.smallest(here, least_cost(here) + over, allocator)
    other = WorkingContext.smallest(here, least_cost(here) + over, allocator)
    rng = np.random.default_rng(seed)
    for _ in range(4):
        wanted = rng.uniform(-1, 1, len(one))
        ready = rng.random(len(one)) < share
        asked: list[tuple[Entries, np.ndarray]] = []

        def resident(
            entries: Entries, scores: np.ndarray, ready: np.ndarray = ready, asked: list = asked
        ) -> np.ndarray:
            asked.append((entries, scores))
            rows = np.flatnonzero((wanted > allocator.threshold) & (one.entries.level > 0))  # noqa: B023
            assert entries.same(one.entries.take(rows)).all() and (scores == wanted[rows]).all()  # noqa: B023
            return ready[rows]

        held = (wanted > allocator.threshold) & (one.entries.level > 0) & ~ready
        change = one.step(wanted, resident)
        plain = other.step(np.where(held, 0.0, wanted))
        assert one.entries.nodes.integers.tolist() == other.entries.nodes.integers.tolist()
        assert (change.expanded, change.collapsed) == (plain.expanded, plain.collapsed)
        mine, theirs = change.blocked, plain.blocked
        assert (mine.budget, mine.protected, mine.limit) == (theirs.budget, theirs.protected, theirs.limit)
        assert theirs.waiting == 0
        assert mine.waiting + mine.cooldown == theirs.cooldown + held.sum(), "what is held back waits, or cools down"
        assert len(asked) <= 1
