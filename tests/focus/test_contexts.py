"""Working contexts over real stores and on paper: how they begin, what they say of entries, how they move on."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree import focus
from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus import Allocator, Entries, Nodes, SnapshotGround, WorkingContext
from mctree.focus.checking import first_breach
from mctree.focus.covers import least_cost
from mctree.geometry import TEXT, cover
from mctree.testing import PaperImage, PaperWorld, ToyEncoder, check_context, strategies
from mctree.testing.focus_machine import truth_of


def paper(*lengths: int, image: PaperImage | None = None, tails: tuple[int, ...] = ()) -> PaperWorld:
    """A world of documents of so many blocks, the last of 5 tokens each."""
    world = PaperWorld()
    for number, blocks in enumerate(lengths, 1):
        world.place(number, [32] * (blocks - 1) + [5])
    if image is not None:
        world.graft(77, image)
    world.tails = [(100 + i, tokens) for i, tokens in enumerate(tails)]
    return world


def test_the_public_names_are_these() -> None:
    assert sorted(focus.__all__) == [
        "Allocator", "Blocked", "BlocksLens", "Breach", "Change", "Diff", "Entries", "FEATURES", "Facts", "Grafts",
        "Ground", "History", "IMAGE_MODALITY", "Lens", "Look", "Nodes", "Plan", "RecencyLens", "RegionLens", "Resident",
        "SEVERAL", "SimilarityLens", "SnapshotGround", "Sought", "SpansLens", "TEXT_MODALITY", "Tails", "Tally",
        "WorkingContext", "afford", "converge", "focus", "seek",
    ]  # fmt: skip
    assert all(hasattr(focus, name) for name in focus.__all__)


# How they begin


def test_the_smallest_is_the_smallest_cover_with_the_tails_behind_it() -> None:
    ground = paper(1100, 40, tails=(3, 32)).ground()
    context = WorkingContext.smallest(ground, 200)
    smallest = cover(TEXT, 0, world=ground.world)
    entries = context.entries
    assert entries.level.tolist() == [*smallest.level.tolist(), 0, 0]
    assert entries.index.tolist() == [*smallest.index.tolist(), ground.end, ground.end + 32]
    assert entries.cost.tolist() == [1] * len(smallest) + [3, 32]
    assert context.cost == least_cost(ground)


def test_a_budget_below_the_smallest_cover_is_too_small_by_what_is_said() -> None:
    ground = paper(1100, 40, tails=(3,)).ground()
    needed = least_cost(ground)
    for make in (WorkingContext.smallest, WorkingContext.recent):
        with pytest.raises(BudgetTooSmall, match=str(needed)) as caught:
            make(ground, needed - 1)
        assert caught.value.needed == needed
        assert make(ground, needed).cost == needed
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.needed) == (str(caught.value), needed)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([1, 2, 31, 32, 33, 100, 700]), max_size=5),
    gone=st.sets(st.integers(1, 5)),
    over=st.integers(0, 900),
    image=st.none() | strategies.paper_images(),
)
def test_the_newest_are_as_many_blocks_as_fit(
    lengths: list[int], gone: set[int], over: int, image: PaperImage | None
) -> None:
    world = paper(*lengths, image=image)
    for document in gone:
        world.remove(document)
    ground = world.ground()
    budget = least_cost(ground) + over
    context = WorkingContext.recent(ground, budget)
    check_context(context, truth_of(ground))
    blocks = np.flatnonzero(ground.world.exists(TEXT, 1, np.arange(ground.end // 32)))
    shown = [block for block in blocks.tolist() if block in set(context.blocks.tolist()) or block in ground.bases]
    # Nothing older is at LOD0 than the first block that could not be shown any more.
    newest = blocks[len(blocks) - len(shown) :].tolist()
    assert [block for block in newest if block not in ground.bases] == context.blocks.tolist() or image is not None
    if len(context.blocks) < len(blocks) and image is None:
        more = blocks[len(blocks) - len(shown) - 1] * 32
        with pytest.raises(BudgetTooSmall):
            WorkingContext.around(ground, [(int(more), ground.end)], budget)


def test_spans_are_shown_and_the_rest_is_as_coarse_as_can_be() -> None:
    ground = paper(1100, image=PaperImage(9, 9)).ground()
    context = WorkingContext.around(ground, [(40, 41), (35_000, 35_100), (35_050, 35_210), (7, 7)], 2000)
    assert context.blocks.tolist() == [1, *range(1093, 1100)]
    check_context(context, truth_of(ground))
    level, index = context.entries.level.tolist(), context.entries.index.tolist()
    assert (level[0], index[0]) == (1, 0) and level[1] == 0
    assert (level[-1], index[-1]) == (1, 1100), "an image stays a gist"
    for wrong in ([(3, 2)], [(0, ground.end + 1)], [(-1, 5)]):
        with pytest.raises(UsageError):
            WorkingContext.around(ground, wrong, 2000)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_cut_of_blocks_can_be_a_beginning_and_nothing_else_can(data: st.DataObject) -> None:
    ground = paper(70, 1030, tails=(4,)).ground()
    cut = data.draw(strategies.cuts(ground.world, least_level=1))
    context = WorkingContext.of(ground, cut, 10_000)
    check_context(context, truth_of(ground))
    if len(cut) > 1:
        with pytest.raises(UsageError, match=r"coverage|atomicity"):
            WorkingContext.of(ground, type(cut)(cut.shape, cut.level[1:], cut.index[1:]), 10_000)


@pytest.mark.parametrize("budget", [500.5, math.nan, math.inf, "500", None, -1])
def test_a_budget_is_an_integer_however_a_context_is_made(budget: Any) -> None:
    ground = paper(1100).ground()
    whole = cover(TEXT, 0, world=ground.world)
    nodes = WorkingContext.smallest(ground, 500).entries.nodes
    for make in (
        lambda: WorkingContext.smallest(ground, budget),
        lambda: WorkingContext.recent(ground, budget),
        lambda: WorkingContext.around(ground, [], budget),
        lambda: WorkingContext.of(ground, whole, budget),
        lambda: WorkingContext(ground, nodes, budget),
    ):
        with pytest.raises(UsageError, match="a budget must be"):
            make()


# What check names


def broken(name: str) -> tuple[Any, Any, Any]:
    """A ground, nodes that break one invariant, and entries or a budget that do."""
    world = paper(1100, image=PaperImage(20, 33), tails=(3,))
    ground = world.ground()
    context = WorkingContext.smallest(ground, 5000)
    context.expand("3:0")
    context.expand("2:3")
    context.expand("1:97")
    context.expand("1:1100")
    nodes = context.entries.nodes
    table = nodes.integers.copy()
    rows = list(range(len(nodes)))
    at = {(int(s), int(level), int(index)): i for i, (s, level, index) in enumerate(table[:3].T)}
    if name == "level":
        table[1, at[0, 1, 98]] = 13
    elif name == "below":
        table[1, at[0, 0, 97 * 32]] = -1
    elif name == "space":
        table[0, at[0, 1, 98]] = -1
    elif name == "alignment":
        table[2, at[0, 0, 97 * 32]] += 1
    elif name == "existence":
        table[2, rows[-2]] += 100_000
    elif name == "order":
        rows[3], rows[4] = rows[4], rows[3]
    elif name == "coverage":
        del rows[at[0, 2, 32]]
    elif name == "twice":
        rows.insert(0, 0)
    elif name == "atomicity":
        del rows[at[0, 1, 98]]
    elif name == "both":
        rows.insert(at[0, 0, 97 * 32], at[0, 0, 97 * 32])
        table = table[:, rows]
        rows = list(range(table.shape[1]))
        table[1, at[0, 0, 97 * 32]], table[2, at[0, 0, 97 * 32]] = 1, 97
    elif name == "image":
        del rows[next(i for (space, _, _), i in at.items() if space)]
    elif name == "tail":
        del rows[-1]
    entries, budget = None, None
    table = table[:, rows]
    changed = type(nodes)(table, np.empty((0, table.shape[1])))
    if name == "facts":
        reals = context.entries.reals.copy()
        reals[0, 5] = np.nextafter(reals[0, 5], np.inf)
        entries = Entries(context.entries.integers, reals)
    elif name == "budget":
        budget = context.cost - 1
    return ground, changed, (entries, budget)


@pytest.mark.parametrize(
    ("name", "invariant"),
    [
        *((name, name) for name in ("level", "alignment", "existence", "order", "coverage", "atomicity", "facts")),
        ("below", "level"),
        ("space", "level"),
        ("budget", "budget"),
        ("twice", "coverage"),
        ("both", "atomicity"),
        ("image", "atomicity"),
        ("tail", "coverage"),
    ],
)
def test_the_first_invariant_that_is_broken_is_named(name: str, invariant: str) -> None:
    ground, nodes, (entries, budget) = broken(name)
    found = first_breach(ground, nodes, entries, budget)
    assert found is not None
    assert found.invariant == invariant, str(found)
    assert str(found).startswith(f"{invariant}: ")
    whole, nodes, _ = broken("")
    assert first_breach(whole, nodes) is None


# By hand


def test_expanding_an_image_descends_into_it_and_nowhere_else() -> None:
    ground = paper(5, image=PaperImage(20, 33)).ground()
    context = WorkingContext.smallest(ground, 5000)
    before = context.entries
    change = context.expand("1:5")
    inside = context.entries.space > 0
    assert inside.sum() == 2 and (context.entries.slot[inside] == 5 * 32).all()
    assert change.diff.entered.space.tolist() == [1, 1]
    assert context.entries.x[inside].tolist() == sorted(context.entries.x[inside].tolist())
    assert context.entries.sigma_x[inside].tolist() == [32 / math.sqrt(12), 1 / math.sqrt(12)]
    with pytest.raises(UsageError, match="no entry"):
        context.expand("1:5")
    context.collapse("1:5")
    assert context.entries.same(before).all()


def test_an_expand_for_which_there_is_no_room_changes_nothing() -> None:
    ground = paper(1100).ground()
    context = WorkingContext.smallest(ground, least_cost(ground) + 30)
    before = context.entries
    with pytest.raises(BudgetTooSmall, match="31 more, and 30 are left"):
        context.expand("3:0")
    assert context.entries is before
    with pytest.raises(UsageError, match="cannot be collapsed"):
        context.collapse("3:7")


# Over stores


@pytest.fixture
def tree(tmp_path: Path) -> mctree.Tree:
    tree = mctree.create(tmp_path / "t.mctree", encoders=[ToyEncoder()])
    tree.build_gists(ToyEncoder(), "toy")
    with tree.writer() as writer:
        writer.add("old", b"a" * 40_000)
        writer.add("new", b"b" * 1_003)
        writer.begin("chat").write("hello")
    return tree


def test_what_arrives_enters_at_its_coarsest_and_pushes_out_the_coldest(tree: mctree.Tree) -> None:
    first = tree.snapshot()
    context = WorkingContext.recent(first, least_cost(SnapshotGround(first)) + 400)
    assert context.blocks.tolist() == list(range(1282 - len(context.blocks), 1282))
    scores = np.linspace(-1, 1, len(context))
    context.step(np.where(context.entries.level == 0, scores, 0.0))
    with tree.writer() as writer:
        writer.add("more", b"c" * 3_000)
        writer.reopen("chat").write(" world")
    second = tree.snapshot()
    before = context.entries
    change = context.refocus(second)
    assert context.check() is None
    assert change.forced == context.tally.forced > 0
    assert context.cost <= context.budget
    tail = context.entries.take(np.array([len(context) - 1]))
    assert (tail.level[0], tail.cost[0], tail.index[0]) == (0, 11, second.positions)
    assert change.diff.apply(before).same(context.entries).all()
    # Arrivals are the smallest cover of what came.
    came = cover(TEXT, first.positions, world=second.world.geometry)
    new = context.entries.slot >= first.positions
    assert context.entries.level[new].tolist() == [*came.level.tolist(), 0]


def test_a_context_does_not_go_back_nor_to_another_store(tree: mctree.Tree, tmp_path: Path) -> None:
    first = tree.snapshot()
    with tree.writer() as writer:
        writer.remove("new")
    second = tree.snapshot()
    context = WorkingContext.smallest(second, 500)
    with pytest.raises(UsageError, match="back"):
        context.refocus(first)
    with mctree.create(tmp_path / "other") as other, pytest.raises(UsageError, match="another tree"):
        context.refocus(other.snapshot())
    tree.compact()
    with pytest.raises(UsageError, match="compaction"):
        context.refocus(tree.snapshot())


def test_nodes_without_a_gist_are_legal_and_flagged(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        writer.add("late", b"d" * 5_000)
        writer.commit(gists=False)
        snapshot = tree.snapshot()
    context = WorkingContext.smallest(snapshot, 500)
    gists = snapshot.gists("toy")
    flagged = context.without_gist(gists)
    entries = context.entries
    lacking = [
        int(level) > 0 and int(index) >= gists.rows(int(level))
        for level, index in zip(entries.level, entries.index, strict=True)
    ]
    assert flagged.tolist() == lacking
    assert flagged.any()


def test_a_document_that_was_interleaved_is_not_alone_in_what_lies_between(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "s", vocabulary=10) as tree:
        with tree.writer() as writer:
            one, two = writer.begin("one"), writer.begin("two")
            for _ in range(16):
                one.extend([1] * 32)
                two.extend([2] * 32)
            one.extend([1] * 32 * 64)
            writer.commit()
            snapshot = tree.snapshot()
        context = WorkingContext.smallest(snapshot, 500)
        numbers = {document.name: document.id for document in snapshot.documents()}
        assert context.entries.document.tolist() == [focus.SEVERAL, numbers["one"], numbers["one"]]
        context.expand("2:0")
        assert context.entries.document[:4].tolist() == [numbers["one"], numbers["two"]] * 2
        assert context.check() is None


def test_allocators_are_asked_for_sensible_numbers() -> None:
    below = ({"threshold": -0.1}, {"threshold": 1.0}, {"max_edits": 0}, {"cooldown": -1}, {"rounds": 0})
    for wrong in (*below, {"threshold": math.nan}, {"max_edits": 2.5}, {"cooldown": math.nan}, {"protect": "64"}):
        with pytest.raises(UsageError):
            Allocator(**wrong)  # type: ignore[arg-type]
    assert Allocator(max_edits=np.int64(3)).max_edits == 3  # type: ignore[arg-type]


@given(rows=st.lists(st.integers(0, 9), max_size=20), marks=st.booleans())
def test_columns_lie_in_one_piece_whatever_rows_were_taken(rows: list[int], marks: bool) -> None:
    nodes = Nodes.made(10, space=0, level=np.arange(10), index=np.arange(10) * 7, slot=np.arange(10) * 32)
    chosen = np.isin(np.arange(10), rows) if marks else np.array(rows, np.int64)
    some = nodes.take(chosen)
    assert some.index.tolist() == nodes.index[chosen].tolist() and len(some) == len(nodes.index[chosen])
    assert some.integers.flags.c_contiguous and some.reals.shape == (0, len(some))
    assert all(column.flags.c_contiguous for column in (some.space, some.level, some.index, some.slot))
