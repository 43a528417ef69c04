"""Cuts against exhaustive search in small worlds, against integers in huge ones, and under random edits."""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mctree.errors import NotFoundError, UsageError
from mctree.geometry import IMAGE, TEXT, Cut, Shape, World, check, collapse, cover, expand, intervals, morton

SMALL = st.sampled_from([Shape((2,)), Shape((4, 2)), Shape((3,)), Shape((2, 3, 2))])
Node = tuple[int, int]


class Model:
    """A small world as Python sets: which positions live, and which nodes exist."""

    def __init__(self, shape: Shape, world: World) -> None:
        self.shape = shape
        self.living = set(range(world.positions)) - set(intervals.points(world.dead).tolist())
        self.nodes: dict[Node, range] = {}
        width = 1
        for level in range(7):
            for index in range(world.positions // width):
                span = range(index * width, (index + 1) * width)
                if self.living & set(span):
                    self.nodes[level, index] = span
            width *= shape.fanouts[min(level, len(shape.fanouts) - 1)]

    def fewest(self, start: int, stop: int, max_level: int) -> int:
        """By exhaustive search: how few nodes inside the range cover what lives in it, without overlap."""
        usable = [
            span
            for (level, _), span in self.nodes.items()
            if level <= max_level and start <= span.start and span.stop <= stop
        ]

        @cache
        def search(at: int) -> int:
            rest = [position for position in range(at, stop) if position in self.living]
            if not rest:
                return 0
            return 1 + min(search(span.stop) for span in usable if at <= span.start and rest[0] in span)

        return search(start)

    def faults(self, cut: Cut, start: int, stop: int) -> set[str]:
        """The kinds of breach in a cut, one position at a time."""
        kinds = set()
        covered: list[int] = []
        last = 0
        for node in nodes(cut):
            if node[0] > cut.shape.max_level:
                kinds.add("level")
                continue
            if node not in self.nodes:
                kinds.add("existence")
            covered += self.nodes.get(node, ())
            begins = node[1] * cut.shape.width(node[0])
            if begins < last:
                kinds.add("order")
            last = begins
        if len(covered) > len(set(covered)):
            kinds.add("overlap")
        if (self.living & set(range(start, stop))) - set(covered):
            kinds.add("gap")
        return kinds


def nodes(cut: Cut) -> list[Node]:
    return list(zip(cut.level.tolist(), cut.index.tolist(), strict=True))


def made(shape: Shape, entries: list[Node]) -> Cut:
    return Cut(shape, np.array([e[0] for e in entries], np.uint8), np.array([e[1] for e in entries], np.int64))


@st.composite
def worlds(draw: st.DrawFn, shape: Shape, largest: int = 40) -> World:
    blocks = draw(st.integers(0, largest // shape.block))
    dead = draw(st.sets(st.integers(0, max(blocks - 1, 0))))
    runs = [(block * shape.block, (block + 1) * shape.block) for block in dead]
    return World(blocks * shape.block, intervals.normalise(runs))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Shape, World, int, int]:
    """A small shape and world, and a range in it (of which more may be asked than was placed)."""
    shape = draw(SMALL)
    world = draw(worlds(shape))
    start = draw(st.integers(0, world.positions + 3))
    return shape, world, start, draw(st.integers(start, world.positions + 9))


def rounded(shape: Shape, world: World, start: int, stop: int, align: str) -> tuple[int, int]:
    start, stop = min(start, world.positions), min(stop, world.positions)
    if align == "position" or start == stop:
        return start, stop
    return start // shape.block * shape.block, -(-stop // shape.block) * shape.block


@given(scenes(), st.sampled_from(["block", "position"]), st.one_of(st.none(), st.integers(0, 4)))
@settings(max_examples=400)
def test_cover_is_a_cut_with_the_fewest_entries(
    scene: tuple[Shape, World, int, int], align: str, max_level: int | None
) -> None:
    shape, world, start, stop = scene
    cut = cover(shape, start, stop, world=world, align=align, max_level=max_level)
    assert (cut.level.dtype, cut.index.dtype) == (np.uint8, np.int64)
    model = Model(shape, world)
    start, stop = rounded(shape, world, start, stop, align)
    highest = 6 if max_level is None else max_level
    assert model.faults(cut, start, stop) == set()
    assert check(cut, world, start, stop) == []
    assert all(level <= highest for level in cut.level)
    assert all(start <= model.nodes[node].start and model.nodes[node].stop <= stop for node in nodes(cut))
    assert len(cut) == model.fewest(start, stop, highest)


@given(scenes())
def test_existence(scene: tuple[Shape, World, int, int]) -> None:
    shape, world, first, stop = scene
    model = Model(shape, world)
    for level in range(4):
        index = np.arange(first, stop)
        expected = [(level, i) in model.nodes for i in index.tolist()]
        assert world.exists(shape, level, index).tolist() == expected
        runs = world.existing(shape, level, first, stop)
        assert intervals.points(runs).tolist() == index[expected].tolist()
        assert np.array_equal(runs, intervals.normalise(runs))


BLOCKS = st.one_of(st.integers(0, 2**57), st.integers(10**15 // 32 - 40, 10**15 // 32), st.just(2**58 - 1))


@given(st.sampled_from([TEXT, IMAGE]), BLOCKS, st.data())
def test_cover_of_huge_worlds(shape: Shape, blocks: int, data: st.DataObject) -> None:
    blocks = min(blocks, (2**63 - 1) // shape.block)
    runs = data.draw(st.lists(st.tuples(st.integers(0, blocks), st.integers(0, blocks)).map(sorted), max_size=5))
    dead = intervals.normalise([[a * shape.block, b * shape.block] for a, b in runs])
    world = World(blocks * shape.block, dead)
    cut = cover(shape, 0, world=world)
    assert check(cut, world) == []
    starts, stops = cut.starts().tolist(), cut.stops().tolist()
    assert all(before <= after for before, after in zip(stops, starts[1:], strict=False))
    # With Python's integers, and independent of `check`: what the entries span and the dead runs make up everything.
    pieces = sorted([*zip(starts, stops, strict=True), *map(tuple, dead.tolist())])
    reach = 0
    for start, stop in pieces:
        assert start <= reach
        reach = max(reach, stop)
    assert reach == world.positions
    if not runs:
        digits = 0
        for level in range(shape.max_level, -1, -1):
            above = shape.fanout(level) if level < shape.max_level else 2**63
            digits += world.positions // shape.width(level) % above
        assert len(cut) == digits


def test_a_sparse_arena_costs_what_is_covered() -> None:
    # Two images of a 62.5M × 62.5M arena were written, 10 tiles each; 10**14 tiles were not.
    tiles = morton.encode(np.arange(10) + 5_000_000, np.arange(10) + 7_000_000)
    written = intervals.normalise(np.column_stack((tiles, tiles + 1)) * 64)
    world = World(4**26, intervals.complement(written, 0, 4**26))
    cut = cover(IMAGE, 0, world=world, max_level=1)
    assert nodes(cut) == [(1, tile) for tile in tiles.tolist()]
    assert nodes(cover(IMAGE, 0, world=world)) == [(IMAGE.top(4**26), 0)]


def test_a_range_of_one_image_is_its_root() -> None:
    extent = morton.extent(100, 90)
    world = World(extent * 9)
    cut = cover(IMAGE, extent * 5, extent * 6, world=world)
    assert nodes(cut) == [(IMAGE.top(extent), 5)]
    children = expand(cut, 0, world)
    assert len(children) == 4
    assert collapse(children, IMAGE.top(extent), 5, world) == cut


def test_the_end_of_63_bits() -> None:
    shape = Shape((7,))
    world = World(2**63 - 1 - (2**63 - 1) % 7)
    cut = cover(shape, 0, world=world)
    assert check(cut, world) == []
    assert cut.stops()[-1] == world.positions


def test_what_cannot_be_covered_is_refused() -> None:
    world = World(32 * 10**9)
    for call in (
        lambda: cover(TEXT, 0, world=world, max_level=0),
        lambda: cover(TEXT, 0, world=world, max_level=13),
        lambda: cover(TEXT, 0, world=world, align="tile"),
        lambda: cover(TEXT, 5, 4, world=world),
        lambda: cover(TEXT, -1, 4, world=world),
        lambda: cover(TEXT, 0, world=World(33)),
        lambda: check(Cut(TEXT, np.array([0]), np.array([0])), World(33)),
        lambda: World(-32),
        lambda: World(2**63),
        lambda: World(32, np.array([[5, 3]])),
        lambda: Cut(TEXT, np.array([0]), np.array([0, 1])),
        lambda: Cut(TEXT, np.array([256]), np.array([0])),
        lambda: Cut(TEXT, np.array([0]), np.array([2**63], dtype=np.uint64)),
        lambda: Cut(TEXT, np.array([0.5]), np.array([0])),
        lambda: Cut(TEXT, np.array([[0]]), np.array([[0]])),
    ):
        with pytest.raises(UsageError):
            call()


def test_cuts_are_values() -> None:
    world = World(32 * 40)
    cut = cover(TEXT, 0, world=world)
    assert cut == pickle.loads(pickle.dumps(cut)) == cover(TEXT, 0, world=world)
    assert cut != expand(cut, 0, world)
    assert cut != Cut(Shape((32, 31)), cut.level, cut.index)
    assert cut != nodes(cut)
    with pytest.raises(ValueError, match="read-only"):
        cut.index[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        World(32, np.array([[0, 32]])).dead[0] = 5


# --- edits -----------------------------------------------------------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn) -> tuple[World, Cut]:
    """A cut of a whole small world, some of its entries expanded."""
    shape = draw(SMALL)
    world = draw(worlds(shape))
    cut = cover(shape, 0, world=world)
    for pick in draw(st.lists(st.integers(0, 99), max_size=6)):
        if len(cut) and cut.level[pick % len(cut)]:
            cut = expand(cut, pick % len(cut), world)
    return world, cut


@given(cuts(), st.integers(0, 99))
def test_expand_and_collapse_are_inverse(made_cut: tuple[World, Cut], pick: int) -> None:
    world, cut = made_cut
    model = Model(cut.shape, world)
    assert model.faults(cut, 0, world.positions) == set()
    if not len(cut) or not cut.level[pick % len(cut)]:
        return
    i = pick % len(cut)
    level, index = nodes(cut)[i]
    wide = expand(cut, i, world)
    children = [
        node for node, span in model.nodes.items() if node[0] == level - 1 and span.start in model.nodes[level, index]
    ]
    assert nodes(wide) == nodes(cut)[:i] + children + nodes(cut)[i + 1 :]
    assert check(wide, world) == []
    assert collapse(wide, level, index, world) == cut


@given(cuts(), st.integers(0, 999))
def test_collapse_of_any_node(made_cut: tuple[World, Cut], pick: int) -> None:
    world, cut = made_cut
    model = Model(cut.shape, world)
    if not model.nodes:
        return
    node = sorted(model.nodes)[pick % len(model.nodes)]
    span = model.nodes[node]
    inside = [span.start <= model.nodes[entry].start < span.stop and entry[0] <= node[0] for entry in nodes(cut)]
    if not any(inside):
        with pytest.raises(UsageError, match=f"under node {node[0]}:{node[1]}"):
            collapse(cut, *node, world)
        return
    narrow = collapse(cut, *node, world)
    first = inside.index(True)
    rest = [entry for entry, under in zip(nodes(cut), inside, strict=True) if not under]
    assert nodes(narrow) == [*rest[:first], node, *rest[first:]]
    assert check(narrow, world) == []


def test_wrong_edits_are_refused() -> None:
    world = World(32 * 64, np.array([[0, 32], [32 * 32, 32 * 64]]))
    cut = expand(cover(TEXT, 0, world=world), 0, world)
    assert nodes(cut) == [(1, index) for index in range(1, 32)]
    assert collapse(cut, 1, 5, world) == cut
    for i in (-1, 31, 10**30):
        with pytest.raises(UsageError, match="an entry must be"):
            expand(cut, i, world)
    with pytest.raises(UsageError, match="no children"):
        expand(expand(cut, 0, world), 0, world)
    with pytest.raises(NotFoundError):
        expand(made(TEXT, [(1, 0)]), 0, world)
    for missing in ((1, 0), (2, 1), (3, 0), (1, 64), (0, 2048)):
        with pytest.raises(NotFoundError):
            collapse(cut, *missing, world)
    for absurd in ((13, 0), (1, -1), (1, 2**70)):
        with pytest.raises(UsageError):
            collapse(cut, *absurd, world)
    with pytest.raises(UsageError, match="no entry"):
        collapse(cut, 0, 40, world)
    for broken in (nodes(cut)[1:], nodes(cut)[:-1], nodes(cut)[:4] + nodes(cut)[3:], nodes(cut)[::-1]):
        with pytest.raises(UsageError, match="not cut cleanly"):
            collapse(made(TEXT, broken), 2, 0, world)


class Edits(RuleBasedStateMachine):
    """Random edits: the cut is clean after every one, and closing what is open, in any order, leads back."""

    @initialize(shape=st.sampled_from([Shape((2,)), Shape((4, 2)), TEXT, IMAGE]), data=st.data())
    def place(self, shape: Shape, data: st.DataObject) -> None:
        wide = shape.width(6)
        base = data.draw(st.sampled_from([0, wide, 10**15 // wide * wide]))
        placed = data.draw(st.integers(1, 90))
        dead = data.draw(st.lists(st.tuples(st.integers(0, placed), st.integers(0, placed)).map(sorted), max_size=4))
        runs = np.array(dead, dtype=np.int64).reshape(-1, 2) * shape.block + base
        self.world = World(base + placed * shape.block, runs)
        self.start = base
        self.cut = self.origin = cover(shape, base, world=self.world)
        self.opened: set[Node] = set()

    @rule(pick=st.integers(0, 10**6))
    def open_an_entry(self, pick: int) -> None:
        coarse = np.flatnonzero(self.cut.level)
        if len(coarse) and len(self.cut) < 500:
            i = int(coarse[pick % len(coarse)])
            node = nodes(self.cut)[i]
            wide = expand(self.cut, i, self.world)
            assert collapse(wide, *node, self.world) == self.cut
            self.cut = wide
            self.opened.add(node)

    @rule(pick=st.integers(0, 10**6))
    def close_a_node(self, pick: int) -> None:
        if self.opened:
            node = sorted(self.opened)[pick % len(self.opened)]
            start, stop = self.cut.shape.span(*node)
            self.cut = collapse(self.cut, *node, self.world)
            self.opened = {
                other
                for other in self.opened
                if other[0] > node[0] or not start <= self.cut.shape.span(*other)[0] < stop
            }

    @invariant()
    def stays_clean(self) -> None:
        assert check(self.cut, self.world, self.start) == []

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            while self.opened:
                self.close_a_node(len(self.opened) // 2)
            assert self.cut == self.origin


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


# --- check -----------------------------------------------------------------------------------------------------------


@given(SMALL.flatmap(lambda shape: st.tuples(st.just(shape), worlds(shape))), st.data())
@settings(max_examples=300)
def test_check_finds_what_is_wrong_with_any_row_of_nodes(placed: tuple[Shape, World], data: st.DataObject) -> None:
    shape, world = placed
    legal = st.tuples(st.integers(0, 5), st.integers(0, 20))
    entries = data.draw(st.lists(st.one_of(legal, st.tuples(st.integers(63, 255), st.integers(0, 3))), max_size=6))
    start = data.draw(st.integers(0, world.positions))
    cut = made(shape, entries)
    found = check(cut, world, start, world.positions)
    assert {problem.kind for problem in found} == Model(shape, world).faults(cut, start, world.positions)


@given(cuts(), st.integers(0, 99), st.integers(0, 99), st.integers(1, 200))
def test_planted_faults_are_named(made_cut: tuple[World, Cut], pick: int, other: int, shift: int) -> None:
    world, cut = made_cut
    if not len(cut):
        return
    model = Model(cut.shape, world)
    entries = nodes(cut)
    i, j = sorted((pick % len(cut), other % len(cut)))
    span = model.nodes[entries[i]]

    dropped = check(made(cut.shape, entries[:i] + entries[i + 1 :]), world)
    assert [problem.kind for problem in dropped] == ["gap"]
    first, last = map(int, dropped[0].where.removeprefix("positions [").removesuffix(")").split(", "))
    assert first <= span.start
    assert span.stop <= last
    assert str(len(set(span) & model.living)) in dropped[0].what.split()

    doubled = check(made(cut.shape, entries[: i + 1] + entries[i:]), world)
    assert [problem.kind for problem in doubled] == ["overlap"]
    assert doubled[0].where == f"entry {i + 1} ({entries[i][0]}:{entries[i][1]})"
    assert doubled[0].what.endswith(f"entry {i} stands for")

    swapped = entries.copy()
    swapped[i], swapped[j] = swapped[j], swapped[i]
    assert {problem.kind for problem in check(made(cut.shape, swapped), world)} == ({"order"} if i != j else set())

    level, index = entries[i]
    wrong = (level + shift) % 256
    faults = check(made(cut.shape, [*entries[:i], (wrong, index), *entries[i + 1 :]]), world)
    if wrong > cut.shape.max_level:
        assert [problem.kind for problem in faults] == ["level", "gap"]
        assert faults[0].where == f"entry {i} ({wrong}:{index})"
    else:
        # The one wrong level that is no fault: an only child in its parent's place, or a parent in its only child's.
        moved = model.nodes.get((wrong, index), range(0))
        same = set(moved) & model.living == set(span) & model.living
        assert bool(faults) != same


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([(1, 0), (1, 1), (1, 2)], []),
        ([(1, 0), (1, 2)], [("positions [32, 64)", "gap")]),
        ([(1, 0), (1, 1), (1, 2), (1, 3)], [("entry 3 (1:3)", "existence")]),
        ([(1, 0), (1, 1), (1, 2), (1, 9)], [("entry 3 (1:9)", "existence")]),
        ([(1, 0), (1, 1), (1, 2), (13, 0)], [("entry 3 (13:0)", "level")]),
        ([(1, 0), (1, 1), (1, 2), (1, -1)], [("entry 3 (1:-1)", "existence")]),
        ([(1, 0), (1, 1), (1, 2), (12, 8)], [("entry 3 (12:8)", "existence")]),
        ([(1, 0), (1, 1), (1, 1), (1, 2)], [("entry 2 (1:1)", "overlap")]),
        ([(1, 0), (1, 1), (0, 40), (1, 2)], [("entry 2 (0:40)", "overlap")]),
        ([(1, 1), (1, 0), (1, 2)], [("entry 1 (1:0)", "order")]),
        ([], [("positions [0, 160)", "gap")]),
    ],
)
def test_problems_say_where(entries: list[Node], expected: list[tuple[str, str]]) -> None:
    world = World(5 * 32, np.array([[96, 160]]))
    assert [(problem.where, problem.kind) for problem in check(made(TEXT, entries), world)] == expected


def test_every_overlap_under_a_wide_node_is_named() -> None:
    found = check(made(TEXT, [(2, 0), (1, 1), (1, 3), (2, 1)]), World(64 * 32))
    assert [(problem.where, problem.kind) for problem in found] == [
        ("entry 1 (1:1)", "overlap"),
        ("entry 2 (1:3)", "overlap"),
    ]
    assert all(problem.what == "stands for positions that entry 0 stands for" for problem in found)


def test_check_of_a_range_looks_for_gaps_only_there() -> None:
    world = World(10 * 32)
    cut = made(TEXT, [(1, 2), (1, 3), (1, 5)])
    assert check(cut, world, 64, 128) == []
    assert check(cut, world, 160, 192) == []
    assert [problem.where for problem in check(cut, world, 64)] == ["positions [128, 160)", "positions [192, 320)"]
    assert check(cut, world, 10**9) == []
