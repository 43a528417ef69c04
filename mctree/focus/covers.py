"""With which entries does a working context begin?  The fewest there are, the newest, or what somebody points at.

Each way of beginning gives nodes in the order of a working context: a cut of all that exists.  It costs as much as the
cut is large, plus a few look-ups, whatever the size of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus.entries import Nodes
from mctree.focus.ground import BLOCK, Ground
from mctree.geometry import IMAGE, TEXT, Cut, World, cover, intervals
from mctree.geometry.integers import LIMIT, whole

__all__ = ["around", "holes", "least_cost", "meeting", "newest", "smallest"]


def smallest(ground: Ground) -> Nodes:
    """The cut with the fewest entries, and the unfinished blocks behind it."""
    return Nodes.joined([_of(cover(TEXT, 0, world=ground.world)), ground.tail_nodes()])


def least_cost(ground: Ground) -> int:
    """What the smallest cover costs: no working context costs less."""
    return len(cover(TEXT, 0, world=ground.world)) + int(ground.tails.tokens.sum())


def newest(ground: Ground, budget: int) -> Nodes:
    """As many of the newest blocks at LOD0 as the budget allows, and the smallest cover of what is older.

    Raises:
        BudgetTooSmall: not even the smallest cover fits.
    """
    require(ground, budget)
    blocks = ground.end // BLOCK
    waiting = int(ground.tails.tokens.sum())
    # The cost falls as more is left to the cover: for each block that goes to it, one entry comes in at most.
    low, high = max(blocks - budget - 1, 0), blocks
    while low > 0 and _cost_from(ground, low) + waiting <= budget:
        low = max(blocks - 2 * (blocks - low), 0)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _cost_from(ground, middle) + waiting <= budget else (middle + 1, high)
    return _with_blocks(ground, np.array([[high, blocks]], np.int64))


def around(ground: Ground, spans: Iterable[tuple[int, int]], budget: int) -> Nodes:
    """The blocks that meet spans of positions [start, stop) at LOD0, and the smallest cover of each stretch between.

    Raises:
        BudgetTooSmall: they do not fit; then none of them was made.
        UsageError: a span is none, or reaches beyond what was placed.
    """
    shown = meeting(spans, ground.end + 1)
    if sum(ground.tokens(first, stop) for first, stop in shown.tolist()) > whole(budget, "a budget"):
        cost = _cost_with(ground, shown)
        raise BudgetTooSmall(f"a budget of {budget} is too small for a view that costs {cost}", cost)
    return _with_blocks(ground, shown)


def meeting(spans: Iterable[tuple[int, int]], limit: int = LIMIT) -> intervals.Intervals:
    """The blocks that meet spans of positions [start, stop); empty ones meet none.

    Args:
        spans: as somebody gives them.
        limit: the first bound that is too large.

    Returns:
        Indices of level 1, as intervals.

    Raises:
        UsageError: a span is none: no pair of integers, outside, or one that ends before it starts.
    """
    listed = list(spans)
    try:
        given = np.array(listed) if listed else intervals.empty()
    except (ValueError, OverflowError):  # of different lengths
        given = np.empty(0)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise UsageError("spans are pairs of integers, (start, stop), counted in positions")
    bounds = np.asarray(whole(given, "a bound of a span", limit))
    backwards = bounds[bounds[:, 0] > bounds[:, 1]]
    if len(backwards):
        raise UsageError(f"span {backwards[0, 0]}..{backwards[0, 1]} ends before it starts")
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    return intervals.normalise(np.column_stack((bounds[:, 0] // BLOCK, -(-bounds[:, 1] // BLOCK))))


def holes(world: World, spans: NDArray[np.int64], start: int, stop: int, space: int, slot: int) -> Nodes:
    """The smallest cover of what exists of [start, stop) and lies in none of the spans.

    Args:
        world: what exists of the space.
        spans: `int64 [n, 2]`, in any order.
        start: first position of the range.
        stop: position behind it.
        space: 0 for the timeline.
        slot: where the nodes stand on the timeline, for those of an arena.
    """
    shape = IMAGE if space else TEXT
    gaps = intervals.complement(intervals.normalise(spans), start, stop)
    gaps = gaps[gaps[:, 1] - gaps[:, 0] > intervals.overlap(world.dead, gaps)]
    found = [_of(cover(shape, first, last, world=world), space, slot) for first, last in gaps.tolist()]
    return Nodes.joined([Nodes.none(), *found])


def require(ground: Ground, budget: int) -> None:
    """Make sure that the smallest cover fits.

    Raises:
        BudgetTooSmall: it does not.
        UsageError: the budget is no integer.
    """
    needed = least_cost(ground)
    if whole(budget, "a budget") < needed:
        raise BudgetTooSmall(
            f"a budget of {budget} is too small: the coarsest view of all there is costs {needed}", needed
        )


def _cost_from(ground: Ground, block: int) -> int:
    """What it costs to have the blocks from one on at LOD0, and the smallest cover of those before."""
    return len(cover(TEXT, 0, block * BLOCK, world=ground.world)) + ground.tokens(block, ground.end // BLOCK)


def _cost_with(ground: Ground, shown: NDArray[np.int64]) -> int:
    """What the cut with runs of blocks at LOD0 costs."""
    edges = [0, *shown.ravel().tolist(), ground.end // BLOCK]
    gaps = [(first * BLOCK, stop * BLOCK) for first, stop in zip(edges[::2], edges[1::2], strict=True) if first < stop]
    tokens = sum(ground.tokens(first, stop) for first, stop in shown.tolist())
    return tokens + sum(len(cover(TEXT, *gap, world=ground.world)) for gap in gaps) + int(ground.tails.tokens.sum())


def _with_blocks(ground: Ground, shown: NDArray[np.int64]) -> Nodes:
    """The cut with runs of blocks at LOD0, but for images, which stay gists."""
    parts, done = [Nodes.none()], 0
    for first, stop in shown.tolist():
        parts.append(_of(cover(TEXT, done, first * BLOCK, world=ground.world)))
        blocks = intervals.points(ground.world.existing(TEXT, 1, first, stop))
        image = ground.grafts.at(blocks) >= 0
        parts.append(Nodes.of_timeline(image, np.where(image, blocks, blocks * BLOCK), blocks * BLOCK))
        done = stop * BLOCK
    rest = cover(TEXT, done, world=ground.world) if done < ground.end else None
    return Nodes.joined([*parts, *([_of(rest)] if rest is not None else []), ground.tail_nodes()])


def _of(cut: Cut, space: int = 0, slot: int = 0) -> Nodes:
    starts = cut.starts()
    if space == 0:
        return Nodes.of_timeline(cut.level, cut.index, starts)
    return Nodes.made(len(cut), space=space, level=cut.level, index=cut.index, slot=slot)
