"""Is this a working context?  Each of its invariants, looked at from scratch, and the first one that is broken.

    level       each entry is of a level that its tree has; what lies in an image lies under its root
    alignment   an entry at LOD0 is a whole block or tile, and stands where its span or its image does
    existence   each entry exists in the snapshot
    order       entries ascend along the timeline, and in Z-order within an image
    coverage    all that exists is under an entry, and under one only
    atomicity   of a node that is expanded all children are there or stand for theirs, and the node itself is not
    facts       the columns say what the snapshot says
    budget      the entries cost no more than they may

Covering is judged by `mctree.geometry.check`: for the timeline, in which an opened image counts as the block that it
takes, and for each opened image by itself.  Nothing is taken from what the entries were made by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import Entries, Nodes
from mctree.focus.ground import BLOCK, TILE, Ground, widths
from mctree.geometry import IMAGE, TEXT, Address, Cut, Shape, World, check, intervals

__all__ = ["Breach", "Invariant", "first_breach"]

Invariant = Literal["level", "alignment", "existence", "order", "coverage", "atomicity", "facts", "budget"]


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken invariant.

    Attributes:
        invariant: which.
        where: an entry, as `entry 3 (2:17)`, or what is concerned otherwise.
        what: what is wrong there.
    """

    invariant: Invariant
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.where} {self.what}"


def first_breach(
    ground: Ground, nodes: Nodes, entries: Entries | None = None, budget: int | None = None
) -> Breach | None:
    """The first invariant that is broken, in the order in which they are listed above.

    Args:
        ground: what exists.
        nodes: where the entries stand.
        entries: what the context says of them, if that is to be compared.
        budget: what they may cost, if that is to be compared.
    """
    found = _by_themselves(ground, nodes) or _timeline(ground, nodes) or _images(ground, nodes)
    if found or (entries is None and budget is None):
        return found
    fresh = Entries.of(ground, nodes)
    if entries is not None:
        wrong = np.flatnonzero(~entries.same(fresh))
        if len(wrong):
            i = int(wrong[0])
            names = [
                name
                for name in (*Entries.INTEGERS, *Entries.REALS)
                if getattr(entries, name)[i] != getattr(fresh, name)[i]
            ]
            said, right = (getattr(rows, names[0])[i] for rows in (entries, fresh))
            return Breach("facts", _entry(nodes, i), f"has {names[0]} {said}, where the snapshot has {right}")
    cost = int(fresh.cost.sum())
    if budget is not None and cost > budget:
        return Breach("budget", f"{len(nodes)} entries", f"cost {cost}, {cost - budget} more than they may")
    return None


def _by_themselves(ground: Ground, nodes: Nodes) -> Breach | None:
    """What can be wrong with an entry, whatever the others are; and their order."""
    image = nodes.space != 0
    graft = np.where(image, ground.grafts.at(nodes.slot // BLOCK), -1)
    inside = np.flatnonzero(graft >= 0)
    highest = np.where(image, -1, TEXT.max_level)
    highest[inside] = np.where(
        ground.grafts.space[graft[inside]] == nodes.space[inside], ground.grafts.level[graft[inside]] - 1, -1
    )
    strange = (nodes.level < 0) | (nodes.level > highest)
    if found := _worst(strange, "level", nodes, "is of no level that its tree has there"):
        return found
    start, stop = ground.spans(nodes)
    unit = np.where(image, TILE, BLOCK)
    at = np.where(image, nodes.slot // BLOCK * BLOCK, start)
    crooked = ((nodes.level == 0) & (nodes.index % unit != 0)) | (nodes.slot != at)
    if found := _worst(crooked, "alignment", nodes, "is no whole block or tile, or does not stand where it belongs"):
        return found
    missing = ~ground.exist(nodes)
    if len(inside):
        grafts = ground.grafts.take(graft[inside])
        wide = widths(grafts.space, grafts.level)
        begin = grafts.index * wide
        missing[inside] |= (start[inside] < begin) | (stop[inside] > begin + wide)
    if found := _worst(missing, "existence", nodes, f"does not exist at commit {ground.commit}"):
        return found
    back = (nodes.slot[1:] < nodes.slot[:-1]) | ((nodes.slot[1:] == nodes.slot[:-1]) & (start[1:] < start[:-1]))
    return _worst(np.concatenate(([False], back[: len(nodes)])), "order", nodes, "stands behind one that comes later")


def _timeline(ground: Ground, nodes: Nodes) -> Breach | None:
    """Whether what was placed is covered once, and each unfinished block is there once."""
    image = nodes.space > 0
    late = ~image & (nodes.slot >= ground.end)
    waiting, counts = np.unique(nodes.slot[late], return_counts=True)
    if (counts > 1).any() or len(waiting) != len(ground.tails):
        return Breach("coverage", "the unfinished blocks", f"are {len(ground.tails)}, and {late.sum()} entries are")
    # An opened image counts once, as its block, however many entries it has.
    opened = np.unique(nodes.slot[image]) // BLOCK
    placed = nodes.take(~image & ~late)
    level = np.concatenate((placed.level, np.zeros(len(opened), np.int64)))
    index = np.concatenate((placed.index, opened * BLOCK))
    order = np.argsort(np.concatenate((placed.slot, opened * BLOCK)), kind="stable")
    return _covered(ground.world, TEXT, level[order], index[order], 0, ground.end, 0)


def _images(ground: Ground, nodes: Nodes) -> Breach | None:
    """Whether each opened image is covered once."""
    image = nodes.space > 0
    for slot in np.unique(nodes.slot[image]).tolist():
        some = nodes.take(image & (nodes.slot == slot))
        graft = ground.grafts.take(ground.grafts.at(np.array([slot // BLOCK])))
        space, wide = int(graft.space[0]), int(widths(graft.space, graft.level)[0])
        begin = int(graft.index[0]) * wide
        if found := _covered(ground.arena(space), IMAGE, some.level, some.index, begin, begin + wide, space):
            return found
    return None


def _covered(
    world: World,
    shape: Shape,
    level: NDArray[np.int64],
    index: NDArray[np.int64],
    start: int,
    stop: int,
    space: int,
) -> Breach | None:
    """Whether nodes cover what exists of [start, stop) once.  A block or tile at LOD0 spans what its gist does."""
    seen = np.maximum(level, 1)
    cut = Cut(shape, seen, np.where(level > 0, index, index // shape.block))
    problems = check(cut, world, start, stop)
    if not problems:
        return None
    spans = np.column_stack((cut.starts(), cut.stops()))
    twice = problems[0].kind == "overlap"
    at = _overlap(spans) if twice else _gap(spans, world, start, stop)
    where = f"{'tile' if space else 'block'} {at // shape.block}{f' of space {space}' if space else ''}"
    broken = _half_expanded(shape, world, spans, level, at)
    if broken is None:
        return Breach("coverage", where, f"is under {'more than one entry' if twice else 'no entry'}")
    node = Address(space, *broken)
    what = "is under more than one entry" if twice else "is under no entry"
    return Breach("atomicity", where, f"{what}, where others of node {node} are entries: it is expanded in part")


def _overlap(spans: NDArray[np.int64]) -> int:
    """A position that two entries stand for."""
    first, stop = spans[np.argsort(spans[:, 0], kind="stable")].T
    twice = np.flatnonzero(first[1:] < np.maximum.accumulate(stop)[:-1])
    return int(first[twice[0] + 1])


def _gap(spans: NDArray[np.int64], world: World, start: int, stop: int) -> int:
    """A position that exists and that no entry stands for."""
    gaps = intervals.complement(intervals.normalise(spans), start, stop)
    first, last = gaps[gaps[:, 1] - gaps[:, 0] > intervals.overlap(world.dead, gaps)][0].tolist()
    return int(intervals.complement(intervals.within(world.dead, first, last), first, last)[0, 0])


def _half_expanded(
    shape: Shape, world: World, spans: NDArray[np.int64], level: NDArray[np.int64], at: int
) -> tuple[int, int] | None:
    """The lowest node over a position that has entries of its own, while the position is in none or in two."""
    over = np.flatnonzero((spans[:, 0] <= at) & (at < spans[:, 1]))
    names = {(int(level[i]), *spans[i].tolist()) for i in over}
    if len(names) < len(over):
        return None  # the same entry twice
    for wide in range(1, shape.max_level):
        index = int(shape.node_at(wide, at))
        first, stop = shape.span(wide, index)
        if stop > world.positions:
            return None
        inside = (spans[:, 0] >= first) & (spans[:, 1] <= stop)
        if np.count_nonzero(inside) > (1 if len(over) else 0):
            return wide, index
    return None


def _worst(wrong: NDArray[np.bool_], invariant: Invariant, nodes: Nodes, what: str) -> Breach | None:
    found = np.flatnonzero(wrong)
    return Breach(invariant, _entry(nodes, int(found[0])), what) if len(found) else None


def _entry(nodes: Nodes, i: int) -> str:
    level, index = int(nodes.level[i]), int(nodes.index[i])
    space = f"a{nodes.space[i]}/" if nodes.space[i] else ""
    return f"entry {i} ({space}{level}:{index})"
