"""Which blocks answer a question, and which of them can a working context afford to show?

`seek` goes down the tree by gists and reads the best regions exactly (see `mctree.tree.search`).  Of one document a few
regions come before any more of it, since a view that shows many documents a little is more likely to show the right one
than a view that shows a few in full.

`afford` chooses among what was found.  In a gap-free cut a block is not to be had alone: what stands above it is
opened level by level, and the siblings that come with it cost as well, so that a block in a region that is open
already is far cheaper than the first one of another.  So it takes, one by one, the block that is worth most for what it
adds to the cost.  It is a function of arrays: it reads nothing.

How good an answer is, is known by rank only: scores of different questions cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import TEXT, World, cover
from mctree.tree.search import find

if TYPE_CHECKING:
    from mctree.tree import Snapshot

__all__ = ["Sought", "afford", "seek"]

_REGIONS: Final = 2
"""So many nodes of level 2 of one document are read before any more of it."""

_CONSIDERED: Final = 512
"""So many of the best blocks are weighed against each other: ten times as many as common budgets hold."""

_PATIENCE: Final = 5.0
"""A document is worth 1/(rank + this): the first ones are not worth so much more than the next."""

_AGAIN: Final = 0.1
"""What another block of a document is worth, each time that one was taken."""

_SHARPNESS: Final = 2.0
"""A block is worth as much of its document as its score's share of the document's best, to this power."""


@dataclass(frozen=True, eq=False, slots=True)
class Sought:
    """Blocks that may answer a question, best first; the order is the answer, scores only say by how much.

    Attributes:
        blocks: `int64 [n]`, nodes of level 1 that exist, each once.
        scores: `float32 [n]`, above 0, descending.
        documents: `int64 [n]`: the number of the document that owns each.
        compared: how many gists were compared.
        read: how many blocks were read to score them by their tokens.
    """

    blocks: NDArray[np.int64]
    scores: NDArray[np.float32]
    documents: NDArray[np.int64]
    compared: int
    read: int


def seek(snapshot: Snapshot, query: str, *, gist_set: str | None = None, effort: int | None = None) -> Sought:
    """Find the blocks that answer a question, many documents before much of one.

    Args:
        snapshot: where to look.
        query: the question.
        gist_set: the set to go by; the default one if none is named.
        effort: how many gists and blocks to look at together; a small part of all if None.  One node of each level is
            expanded at least, whatever it says.

    Raises:
        NotFoundError: there is no such gist set.
        UsageError: the question says nothing that can be searched for, or `effort` is not positive.
    """
    found = find(snapshot, snapshot.gists(gist_set), query, effort=effort, regions=_REGIONS)
    order = np.lexsort((found.blocks, -found.scores))
    order = order[found.scores[order] > 0]
    blocks = found.blocks[order]
    return Sought(blocks, found.scores[order], snapshot.documents_of(blocks), found.compared, found.read)


def afford(
    sought: Sought, world: World, budget: int, costs: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Which blocks to show, so that the whole cut stays within a budget.

    The cut is the smallest cover, opened just so far that these blocks are at LOD0.  Only the best 512 of what was
    found are considered, however large the budget is.

    Args:
        sought: what was found.
        world: what exists of the timeline.
        budget: what all entries may cost together: 1 for each node, and for a block at LOD0 what `costs` says.
        costs: what blocks `[n]` cost at LOD0, `[n]`.

    Returns:
        `int64 [k]`, ascending; none if nothing was found, or not even the cover fits.
    """
    blocks, documents = sought.blocks[:_CONSIDERED], sought.documents[:_CONSIDERED]
    left = budget - len(cover(TEXT, 0, world=world))
    if not len(blocks) or left < 0:
        return np.empty(0, np.int64)
    worth = _worth(sought.scores[:_CONSIDERED], documents)
    price = np.asarray(costs(blocks), np.int64) - 1
    ancestors, openings = _above(blocks, world)
    shown = np.zeros(len(blocks), np.bool_)
    while True:
        adds = price + openings.sum(axis=0)
        # A block of a single token costs no more than its gist: nothing, in a region that is open.
        gain = np.where(shown | (adds > left), 0.0, worth / np.maximum(adds, 1))
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            return np.sort(blocks[shown])
        shown[best] = True
        left -= int(adds[best])
        openings[ancestors == ancestors[:, best, None]] = 0
        worth[documents == documents[best]] *= _AGAIN


def _worth(scores: NDArray[np.float32], documents: NDArray[np.int64]) -> NDArray[np.float64]:
    """What it is worth to show each of some blocks, best first: `float64 [n]`."""
    _, first, place = np.unique(documents, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[place]
    share = scores.astype(np.float64) / scores[first][place]
    worth: NDArray[np.float64] = share**_SHARPNESS / (rank + _PATIENCE)
    return worth


def _above(blocks: NDArray[np.int64], world: World) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nodes that stand above blocks, and what it costs to open each.

    Returns:
        Their indices, `int64 [levels, n]`, from level 2 up to the highest; and what the cut grows by when one is
        replaced by its children, 0 where there is no such node.
    """
    levels = range(2, int(TEXT.top(world.positions)) + 1)
    ancestors = np.empty((len(levels), len(blocks)), np.int64)
    openings = np.zeros_like(ancestors)
    for row, level in enumerate(levels):
        ancestors[row] = TEXT.ancestor(1, blocks, level)
        nodes, place = np.unique(ancestors[row], return_inverse=True)
        fanout = TEXT.fanout(level - 1)
        children = nodes[:, None] * fanout + np.arange(fanout)
        there = world.exists(TEXT, level - 1, children.reshape(-1)).reshape(children.shape)
        complete = nodes < TEXT.complete(level, world.positions)
        openings[row] = np.where(complete, there.sum(axis=1) - 1, 0)[place]
    return ancestors, openings
