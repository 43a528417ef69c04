"""Which nodes stand for everything that exists, once?  Cuts: their making, refining, coarsening and checking.

A *world* says what exists: `positions` were placed, runs of them are dead.  A node exists if its whole span was
placed and not all of it is dead.  A *cut* is a row of existing nodes of mixed level, in timeline order, that covers
every existing position of a range exactly once; a node may well span dead positions beside living ones.

Everything is a function of (shape, world, cut) and returns a new cut.  The cost follows the size of the result and
the dead runs met, never the number of positions.  Nothing is assumed about what a node holds, nor about images
against text: a shape in Z-order works unchanged.  That dead runs are whole blocks is true of stores, but not needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.geometry import intervals
from mctree.geometry.integers import Level, whole
from mctree.geometry.intervals import Intervals
from mctree.geometry.shape import Shape

__all__ = ["ENTRY_LIMIT", "Cut", "Problem", "World", "check", "collapse", "cover", "expand"]

ENTRY_LIMIT = 2**27
"""A cover of more entries than this (1.2 GB) is refused before memory is asked for."""


Kind = Literal["level", "existence", "order", "overlap", "gap"]


@dataclass(frozen=True, eq=False, slots=True)
class World:
    """What exists of a tree.

    Attributes:
        positions: the LOD0 positions `[0, positions)` were placed; a multiple of the shape's block.
        dead: what no longer exists of them, `int64 [k, 2]`, read-only, in the normal form of `intervals` (brought
            into it if need be).

    Raises:
        UsageError: `positions` or a bound is out of range, or `dead` is no set of intervals.
    """

    positions: int
    dead: Intervals = field(default_factory=intervals.empty)

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", whole(self.positions, "the number of positions"))
        dead = intervals.normalise(self.dead).view()
        dead.flags.writeable = False
        object.__setattr__(self, "dead", dead)

    def exists(self, shape: Shape, level: Level, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the nodes `index` (`[n]`) of `level` (one, or `[n]`) exist: `bool [n]`.

        Raises:
            UsageError: the shape has no such node at all, or `positions` is not a whole number of its blocks.
        """
        self._require_blocks(shape)
        spans = np.column_stack(shape.span(level, index))
        return (spans[:, 1] <= self.positions) & ~intervals.covers(self.dead, spans)

    def existing(self, shape: Shape, level: int, first: int, stop: int) -> Intervals:
        """Which of the nodes `[first, stop)` of `level` exist, as intervals of their indices.

        Raises:
            UsageError: a level or an index is out of range, or `positions` is not a whole number of blocks.
        """
        self._require_blocks(shape)
        width = shape.width(level)
        complete = shape.complete(level, self.positions)
        first, stop = (min(int(whole(bound, "index")), complete) for bound in (first, stop))
        if not len(self.dead):
            return intervals.complement(self.dead, first, stop)
        ends = self.dead.ravel()
        lower = np.searchsorted(ends, first * width, side="right") // 2
        upper = (np.searchsorted(ends, stop * width, side="left") + 1) // 2
        met = self.dead[lower:upper]
        # A node is dead if one run holds all of it: of each run, what lies between its first and its last boundary
        # of nodes.  Runs do not touch, so neither do these.
        dead = np.column_stack((-(-met[:, 0] // width), met[:, 1] // width))
        return intervals.complement(dead[dead[:, 0] < dead[:, 1]], first, stop)

    def _require_blocks(self, shape: Shape) -> None:
        if self.positions % shape.block:
            raise UsageError(f"{self.positions} positions are not a whole number of blocks of {shape.block}")


@dataclass(frozen=True, eq=False, slots=True)
class Cut:
    """Nodes of mixed level, in timeline order.

    What the entries say is not looked at on construction, so that `check` can name all that is wrong with them.

    Attributes:
        shape: the tree that the nodes are of.
        level: `uint8 [n]`, read-only.
        index: `int64 [n]`, read-only.

    Raises:
        UsageError: the arrays are not rows of integers, of one length, that these types can hold.
    """

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # arrays have none

    shape: Shape
    level: NDArray[np.uint8]
    index: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", _row(self.level, np.uint8, "levels"))
        object.__setattr__(self, "index", _row(self.index, np.int64, "indices"))
        if len(self.level) != len(self.index):
            raise UsageError(f"a cut of {len(self.level)} levels cannot have {len(self.index)} indices")

    def __len__(self) -> int:
        return len(self.level)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cut):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.level, other.level)
            and np.array_equal(self.index, other.index)
        )

    def starts(self) -> NDArray[np.int64]:
        """The first LOD0 position of every entry, `int64 [n]`; `UsageError` where the tree has no such node."""
        return self.shape.span(self.level, self.index)[0]

    def stops(self) -> NDArray[np.int64]:
        """The LOD0 position behind every entry, `int64 [n]`; `UsageError` where the tree has no such node."""
        return self.shape.span(self.level, self.index)[1]


@dataclass(frozen=True, slots=True)
class Problem:
    """One breach of what makes a row of nodes a cut.

    Attributes:
        where: the entry, as `entry 3 (2:17)`, or the range, as `positions [96, 128)`.
        what: what is wrong there.
        kind: `level` (no such level), `existence` (no such node), `order`, `overlap` or `gap`.
    """

    where: str
    what: str
    kind: Kind


def cover(
    shape: Shape,
    start: int,
    stop: int | None = None,
    *,
    world: World,
    max_level: int | None = None,
    align: Literal["block", "position"] = "block",
) -> Cut:
    """The cut with the fewest entries that covers what exists of LOD0 positions `[start, stop)`.

    It consists of the widest nodes inside the range that are not wholly dead.  None can be spared: each holds a
    position that exists, and any node inside the range lies within one of them.

    Args:
        shape: the tree.
        start: first position of the range.
        stop: position behind the range; all that was placed if None or beyond it.
        world: what exists.
        max_level: use no node above this level.
        align: `block` widens the range to whole blocks; `position` keeps it, with LOD0 nodes at ragged edges.

    Raises:
        UsageError: the range is negative or inverted, there is no such level or alignment, or the cover has more
            than `ENTRY_LIMIT` entries.
    """
    start, stop = _range(world, start, stop)
    if align not in ("block", "position"):
        raise UsageError(f"align must be 'block' or 'position', not {align!r}")
    if align == "block" and start < stop:
        start, stop = start // shape.block * shape.block, -(-stop // shape.block) * shape.block
    last = shape.max_level if max_level is None else int(whole(max_level, "max_level", len(shape.widths)))

    # Climb while a whole parent lies inside; what sticks out on either side stays at its level.
    ascent, descent = [], []
    level, first = 0, start
    while level < last:
        fanout = shape.fanout(level)
        inner, outer = -(-first // fanout), stop // fanout
        if inner >= outer:
            break
        ascent.append((level, first, inner * fanout))
        descent.append((level, outer * fanout, stop))
        level, first, stop = level + 1, inner, outer
    runs = [*ascent, (level, first, stop), *reversed(descent)]

    found = [world.existing(shape, *run) for run in runs]
    counts = [intervals.measure(indices) for indices in found]
    if sum(counts) > ENTRY_LIMIT:
        raise UsageError(f"a cover of {sum(counts)} entries is too large: raise max_level, or cover a shorter range")
    levels = np.repeat(np.array([run[0] for run in runs], dtype=np.uint8), counts)
    return Cut(shape, levels, np.concatenate([intervals.points(indices) for indices in found]))


def expand(cut: Cut, i: int, world: World) -> Cut:
    """The cut with all existing children of entry `i` in its place; the inverse of `collapse`.

    Raises:
        UsageError: there is no entry `i`, or it is of level 0.
        NotFoundError: the entry does not exist.
    """
    i = int(whole(i, "an entry", len(cut)))
    level, index = int(cut.level[i]), int(cut.index[i])
    first, stop = cut.shape.children(level, index)
    _require_node(world, cut.shape, level, index)
    children = world.existing(cut.shape, level - 1, first, stop)
    return _replace(cut, i, i + 1, level - 1, intervals.points(children))


def collapse(cut: Cut, level: int, index: int, world: World) -> Cut:
    """The cut with node `(level, index)` in place of all entries under it; the inverse of `expand`.

    Raises:
        NotFoundError: the node does not exist.
        UsageError: the entries under the node do not make a cut of it, or the tree has no such node.
    """
    start, stop = cut.shape.span(level, index)
    _require_node(world, cut.shape, level, index)
    starts, stops = cut.shape.span(cut.level, cut.index)
    under = np.flatnonzero((starts >= start) & (stops <= stop))
    if not len(under):
        raise UsageError(f"no entry of the cut lies under node {level}:{index}")
    first, last = int(under[0]), int(under[-1])
    part = Cut(cut.shape, cut.level[first : last + 1], cut.index[first : last + 1])
    if problems := check(part, world, start, stop):
        raise UsageError(f"node {level}:{index} is not cut cleanly: {problems[0].where} {problems[0].what}")
    return _replace(cut, first, last + 1, level, np.array([index]))


def check(cut: Cut, world: World, start: int = 0, stop: int | None = None) -> list[Problem]:
    """Everything that is wrong with a cut; nothing if it covers what exists of `[start, stop)` exactly once.

    All entries are judged by themselves and against each other, gaps are looked for in the range.  Only entries that
    exist cover anything.

    Args:
        cut: any row of nodes.
        world: what exists.
        start: first LOD0 position of the range.
        stop: position behind the range; all that was placed if None or beyond it.

    Raises:
        UsageError: the range is negative or inverted, or `world` is not one of the cut's shape.
    """
    start, stop = _range(world, start, stop)
    shape, level, index = cut.shape, cut.level, cut.index
    problems: list[Problem] = []

    def breach(i: np.intp, what: str, kind: Kind) -> None:
        problems.append(Problem(f"entry {i} ({level[i]}:{index[i]})", what, kind))

    known = level <= shape.max_level
    node = np.flatnonzero(known)
    node = node[(index[node] >= 0) & (index[node] < shape.capacity(level[node]))]
    real = node[world.exists(shape, level[node], index[node])]
    missing = known.copy()
    missing[real] = False
    for i in np.flatnonzero(~known):
        breach(i, f"is above the highest level, {shape.max_level}", "level")
    for i in np.flatnonzero(missing):
        breach(i, "does not exist: not all of it was placed, or all of it is dead", "existence")

    starts, _ = shape.span(level[node], index[node])
    for i in np.flatnonzero(starts[1:] < starts[:-1]):
        breach(node[i + 1], f"starts before entry {node[i]}, which it follows", "order")

    spans = np.column_stack(shape.span(level[real], index[real]))
    order = np.argsort(spans[:, 0], kind="stable")
    spans, real = spans[order], real[order]
    reach = np.maximum.accumulate(spans[:, 1])
    for i in np.flatnonzero(spans[1:, 0] < reach[:-1]):
        other = real[np.searchsorted(reach, reach[i])]
        breach(real[i + 1], f"stands for positions that entry {other} stands for", "overlap")

    holes = intervals.complement(intervals.normalise(spans), start, stop)
    counts = holes[:, 1] - holes[:, 0] - intervals.overlap(world.dead, holes)
    for (first, last), count in zip(holes[counts > 0], counts[counts > 0], strict=True):
        problems.append(Problem(f"positions [{first}, {last})", f"no entry covers {count} that exist", "gap"))
    return problems


def _range(world: World, start: int, stop: int | None) -> tuple[int, int]:
    first = int(whole(start, "start"))
    last = world.positions if stop is None else int(whole(stop, "stop"))
    if stop is not None and last < first:
        raise UsageError(f"range [{first}, {last}) ends before it starts")
    return min(first, world.positions), min(last, world.positions)


def _row(values: ArrayLike, kind: type[np.uint8] | type[np.int64], what: str) -> NDArray[np.generic]:
    array = np.asarray(values)
    row = array.astype(kind, copy=False).view()
    if row.ndim != 1 or (len(row) and (array.dtype.kind not in "iu" or (row != array).any())):
        raise UsageError(f"the {what} of a cut must be one row of integers that {kind.__name__} can hold")
    row.flags.writeable = False
    return row


def _replace(cut: Cut, first: int, stop: int, level: int, index: NDArray[np.int64]) -> Cut:
    levels = np.full(len(index), level, dtype=np.uint8)
    return Cut(
        cut.shape,
        np.concatenate((cut.level[:first], levels, cut.level[stop:])),
        np.concatenate((cut.index[:first], index, cut.index[stop:])),
    )


def _require_node(world: World, shape: Shape, level: int, index: int) -> None:
    if not world.exists(shape, level, np.array([index])).all():
        raise NotFoundError(f"node {level}:{index} does not exist: it was not wholly placed, or is wholly dead")
