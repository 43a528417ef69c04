"""The allocator and the draft against the same rules written plainly: one entry after another, with lists and dicts.

What is said about a step is compared number by number: which entries are edited, what was blocked and why, and every
row of entries and history afterwards.  Entries are asked of the ground anew, so that nothing that a draft carries over
can be stale.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.focus import Allocator, Blocked, Entries, Ground, History, Look, Nodes, WorkingContext
from mctree.focus.covers import least_cost
from mctree.focus.history import COLLAPSED, EXPANDED
from mctree.focus.rows import Rows
from mctree.geometry import IMAGE, TEXT
from mctree.testing import PaperImage, PaperWorld, strategies
from mctree.testing.paper import PaperGround

BLOCK = TEXT.block
LOOKED_AT = 64


@dataclass(frozen=True)
class Family:
    """All entries below a node, of which every child is one."""

    first: int
    stop: int
    node: tuple[int, int, int, int]
    """Space, level, index, slot."""
    reach: int
    """The position of the timeline behind its last entry."""


def families(entries: Entries, ground: Ground) -> list[Family]:
    """Every node that could be collapsed, in order."""
    below: dict[tuple[int, int, int, int], list[int]] = defaultdict(list)
    spans = list(zip(*entries.integers[:6].tolist(), strict=True))
    for i, (space, level, _, slot, start, _) in enumerate(spans):
        width = (IMAGE if space else TEXT).widths[level + 1]
        below[space, level + 1, start // width, slot if space else start // width * width].append(i)
    found = []
    for (space, level, index, slot), rows in below.items():
        width = (IMAGE if space else TEXT).widths[level]
        begin, behind = index * width, (index + 1) * width
        inside = [
            i
            for i, (other, _, _, place, start, stop) in enumerate(spans)
            if (other == space and (place == slot or not space) and begin <= start and stop <= behind)
            or (not space and other and begin <= place < behind)
        ]
        if inside != rows or (not space and behind > ground.end):
            continue
        reach, node = (slot + BLOCK if space else spans[rows[-1]][5]), (space, level, index, slot)
        if space and tuple(ground.grafts.integers[1:, ground.grafts.at(np.array([slot // BLOCK]))[0]]) == node[:3]:
            node = (0, 1, slot // BLOCK, slot)
        found.append(Family(rows[0], rows[-1] + 1, node, reach))
    return sorted(found, key=lambda family: family.first)


def plain_plan(
    context: WorkingContext, wanted: list[float], ready: list[bool] | None
) -> tuple[list[int], list[Family], Blocked]:
    """What one round expands, what it collapses, and what is blocked."""
    rules, entries, history = context.allocator, context.entries, context.history
    now = context.steps + 1
    blocked: defaultdict[str, int] = defaultdict(int)
    hot: list[tuple[float, int]] = []
    for i, heat in enumerate(wanted):
        if heat <= rules.threshold or not entries.level[i]:
            continue
        if history.edit[i] == COLLAPSED and history.born[i] >= now - rules.cooldown:
            blocked["cooldown"] += 1
        elif entries.growth[i] < 0 or (ready is not None and not ready[i]):
            blocked["waiting"] += 1
        else:
            hot.append((-heat, -i))
    cold: list[tuple[float, int, Family]] = []
    for family in families(entries, context.ground):
        rows = range(family.first, family.stop)
        heat = max(wanted[i] for i in rows)
        if heat >= -rules.threshold:
            continue
        if family.reach > context.ground.end - rules.protect:
            blocked["protected"] += 1
        elif max(int(history.opened[i]) for i in rows) >= now - rules.cooldown:
            blocked["cooldown"] += 1
        else:
            cold.append((heat, family.first, family))
    coldest = [family for _, _, family in sorted(cold, key=lambda one: one[:2])[: rules.max_edits]]
    gains = [int(entries.cost[one.first : one.stop].sum()) - 1 for one in coldest]
    blocked["limit"] += len(cold) - len(coldest)
    free = context.budget - context.cost
    most = free + sum(sorted(gains, reverse=True)[: rules.max_edits - 1])
    payable = [-place for _, place in sorted(hot) if entries.growth[-place] <= most]
    looked_at = payable[: max(LOOKED_AT, rules.max_edits)]
    expand: list[int] = []
    edits = paid = unpaid = 0
    for i in looked_at:
        if edits == rules.max_edits:
            break
        growth = int(entries.growth[i])
        if growth > free + sum(gains[paid : paid + rules.max_edits - edits - 1]):
            unpaid += 1
            continue
        expand.append(i)
        free, edits = free - growth, edits + 1
        while free < 0:
            free, edits, paid = free + gains[paid], edits + 1, paid + 1
    done = min(len(gains), paid + rules.max_edits - edits)
    blocked["budget"] += len(hot) - len(payable) + unpaid
    blocked["limit"] += len(payable) - unpaid - len(expand) + len(gains) - done
    return sorted(expand), sorted(coldest[:done], key=lambda one: one.first), Blocked(**blocked)


Past = tuple[int, int, int, float]
"""Of an entry: born, edit, opened, heat."""


def plain_edit(
    context: WorkingContext, wanted: list[float], expand: list[int], collapse: list[Family]
) -> tuple[list[tuple[int, ...]], list[Past], list[int], list[int]]:
    """The nodes and the past of all entries afterwards, which rows left, and which entered."""
    entries, history, now = context.entries, context.history, context.steps + 1
    nodes: list[tuple[int, ...]] = []
    past: list[Past] = []
    left: list[int] = []
    entered: list[int] = []
    last = 0
    begins = {family.first: family for family in collapse}
    for i in range(len(entries)):
        if i in begins:
            rows = range(i, begins[i].stop)
            opened = max(int(history.opened[row]) for row in rows)
            new: list[tuple[int, ...]] = [begins[i].node]
            what: Past = (now, COLLAPSED, opened, max(wanted[row] for row in rows))
            left += rows
            last = begins[i].stop
        elif i in expand:
            below = context.ground.children(entries.nodes.take(np.array([i]))).nodes
            new = list(zip(*below.integers.tolist(), strict=True))
            what = (now, EXPANDED, now, wanted[i])
            left.append(i)
        elif i < last:
            continue
        else:
            nodes.append(tuple(entries.nodes.integers[:, i].tolist()))
            past.append((int(history.born[i]), int(history.edit[i]), int(history.opened[i]), wanted[i]))
            continue
        entered += range(len(nodes), len(nodes) + len(new))
        nodes += new
        past += [what] * len(new)
    return nodes, past, left, entered


@st.composite
def grounds(draw: st.DrawFn) -> PaperGround:
    """Documents with padding, images, some of them gone, and unfinished blocks."""
    world = PaperWorld()
    kinds = st.sampled_from([70, 1030, 40, 1]) | strategies.paper_images()
    for number, one in enumerate(draw(st.lists(kinds, min_size=2, max_size=4)), 1):
        if isinstance(one, PaperImage):
            world.graft(number, one)
        else:
            world.place(number, [32] * (one - 1) + [draw(st.integers(1, 32))])
    world.tails = [(90, tokens) for tokens in draw(st.lists(st.integers(1, 32), max_size=1))]
    for number in draw(st.sets(st.integers(1, 4), max_size=2)):
        world.remove(number)
    return world.ground()


def at_hand(salt: int) -> Callable[[Entries], NDArray[np.bool_]]:
    """Two of three nodes have their children at hand; which ones follows from where they are."""
    return lambda entries: (entries.slot // BLOCK + entries.level + salt) % 3 > 0


@settings(max_examples=80, deadline=None)
@given(st.data(), grounds(), strategies.allocators(), st.sampled_from([300, 70, 900, 0]))
def test_a_step_is_what_the_rules_say(
    data: st.DataObject, ground: PaperGround, allocator: Allocator, over: int
) -> None:
    begin = data.draw(st.sampled_from([WorkingContext.smallest, WorkingContext.recent]))
    context = begin(ground, least_cost(ground) + over, allocator)
    lens = data.draw(strategies.lenses())
    for _ in range(data.draw(st.integers(2, 10))):
        look = Look(context.entries, context.history, context.budget, context.steps + 1, ground.world)
        scores = data.draw(st.just(lens.score(look)) | strategies.scores(len(context)))
        wanted = [0.0 if score != score else min(max(score, -1.0), 1.0) for score in scores.tolist()]
        there = data.draw(st.none() | st.integers(0, 2).map(at_hand))
        ready = None if there is None else there(context.entries).tolist()
        expand, collapse, blocked = plain_plan(context, wanted, ready)
        nodes, past, left, entered = plain_edit(context, wanted, expand, collapse)
        resident = None if there is None else lambda entries, _, there=there: there(entries)
        change = context.step(scores, resident)
        assert (change.expanded, change.collapsed) == (len(expand), len(collapse))
        assert change.blocked == blocked
        assert change.diff.left_at.tolist() == left and change.diff.entered_at.tolist() == entered
        assert context.entries.same(Entries.of(ground, Nodes.made(len(nodes), **columns(Nodes, nodes)))).all()
        assert context.history.same(History.made(len(past), **columns(History, past))).all()


def columns(kind: type[Rows], rows: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    """What `kind.made` takes, of one tuple for each row."""
    return {name: [row[i] for row in rows] for i, name in enumerate((*kind.INTEGERS, *kind.REALS))}
