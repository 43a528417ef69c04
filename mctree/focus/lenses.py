"""Which lenses need no training?  Recency, blocks or spans that somebody names, and likeness to a question.

Each goes by where entries stand and by what exists, so that it costs a few passes over flat arrays.  Recency asks for
what the budget affords.  Blocks and spans that somebody names are wanted however many they are.  Those that answer a
question are chosen to fit a budget when it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.errors import UsageError
from mctree.focus.covers import meeting
from mctree.focus.ground import BLOCK
from mctree.focus.lens import Look
from mctree.focus.seeking import Sought, afford, seek
from mctree.geometry import TEXT, World, intervals
from mctree.geometry.integers import whole

if TYPE_CHECKING:
    from mctree.tree import Snapshot

__all__ = ["BlocksLens", "RecencyLens", "SimilarityLens", "SpansLens"]

_LEAST_WISH = 0.5
"""The score of what leads to the block that is wanted least: above the threshold of any sensible allocator."""

_FILLED = 0.8
"""How much of the budget recency asks for; the rest is room for what it does not foresee, such as unfinished blocks."""

_EACH_LEVEL = 0.25
"""How many gists of each level there are, for each token of the newest that is shown at LOD0."""

_PER_LEVEL = 0.36
"""The score for each level that an entry is too coarse or too fine.  With a threshold of 0.2, being half a level and a
bit off is put up with, so that what was expanded is not at once too fine."""


class RecencyLens:
    """The newest at LOD0, and whatever is older the coarser the older it is.

    Up to some distance from the end, which follows from the budget, blocks are wanted at LOD0; from there on one level
    more each time that the distance grows by the fan-out.  An entry is as far from the end as what is newest of it and
    alive, which one of its children has as well: what is too coarse does not become too fine by being expanded.
    """

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`."""
        entries = look.entries
        span = np.column_stack((entries.slot, np.where(entries.space > 0, entries.slot + BLOCK, entries.stop)))
        distance = np.maximum(look.end - intervals.trim(look.world.dead, span)[:, 1], 0)
        budget = max(look.budget, 1)  # an empty tree needs none
        levels = 1 + max(math.log(max(look.end, 1) / budget, TEXT.block), 0)
        reach = _FILLED * budget / (1 + _EACH_LEVEL * levels)
        wanted = np.where(distance < reach, 0, 1 + np.log(np.maximum(distance / reach, 1)) / math.log(TEXT.block))
        return np.clip(_PER_LEVEL * (entries.level - wanted), -1, 1)


class BlocksLens:
    """Some blocks at LOD0, and nothing else in more detail than that takes.

    Args:
        blocks: which, as indices of level 1, `[k]`, in any order.
        weights: how much each is wanted, above 0 and finite; all alike if None.

    Raises:
        UsageError: a block is no integer from 0 on, a weight is not above 0 or infinite, or there is not one for each
            block.
    """

    def __init__(self, blocks: ArrayLike, weights: ArrayLike | None = None) -> None:
        listed = np.atleast_1d(np.asarray(blocks))
        wanted = np.asarray(whole(listed if listed.size else np.empty(0, np.int64), "a block"))
        given = np.ones(len(wanted)) if weights is None else np.atleast_1d(np.asarray(weights, np.float64))
        if given.shape != wanted.shape or not ((given > 0) & (given < np.inf)).all():
            raise UsageError("a lens wants one finite weight above 0 for each block")
        order = np.lexsort((-given, wanted))
        self.blocks, first = np.unique(wanted[order], return_index=True)
        weight = given[order][first]
        self._wish = _LEAST_WISH + (1 - _LEAST_WISH) * weight / weight.max(initial=1e-300)
        self._known: tuple[World, NDArray[np.int64], NDArray[np.float64]] | None = None

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`: above 0 over a wanted block that exists, 0 at one, -1 elsewhere."""
        entries = look.entries
        blocks, wish = self._living(look.world)
        first = entries.slot // BLOCK
        stop = np.where(entries.space > 0, first + 1, entries.stop // BLOCK)
        bounds = np.searchsorted(blocks, np.column_stack((first, stop)).ravel())
        over = bounds[::2] < bounds[1::2]
        scores = np.where(over, 0.0, -1.0)
        leads = over & (entries.level > 0)
        if leads.any():
            padded = np.append(wish, 0.0)
            scores[leads] = np.maximum.reduceat(padded, bounds.reshape(-1, 2)[leads].ravel())[::2]
        return scores

    def _living(self, world: World) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The wanted blocks that exist, and how much they are wanted."""
        if self._known is None or self._known[0] is not world:
            exist = self.blocks < world.positions // BLOCK
            exist[exist] = world.exists(TEXT, 1, self.blocks[exist])
            self._known = world, self.blocks[exist], self._wish[exist]
        return self._known[1:]


class SpansLens:
    """The blocks that meet some spans of positions [start, stop) at LOD0, however many these are; empty ones meet none.

    Raises:
        UsageError: a span is none: no pair of integers from 0 on, or one that ends before it starts.
    """

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._wanted = meeting(spans)
        self._known: tuple[World, intervals.Intervals] | None = None

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `Lens.score`: 1 over a wanted block that exists, 0 at one, -1 elsewhere."""
        entries = look.entries
        first = entries.slot // BLOCK
        stop = np.where(entries.space > 0, first + 1, entries.stop // BLOCK)
        over = (first < stop) & intervals.meets(self._living(look.world), np.column_stack((first, stop)))
        return np.where(over, np.where(entries.level > 0, 1.0, 0.0), -1.0)

    def _living(self, world: World) -> intervals.Intervals:
        """The wanted blocks that exist."""
        if self._known is None or self._known[0] is not world:
            parts = [world.existing(TEXT, 1, first, stop) for first, stop in self._wanted.tolist()]
            self._known = world, np.concatenate([intervals.empty(), *parts])
        return self._known[1]


class SimilarityLens(BlocksLens):
    """The blocks of a snapshot that answer a question best, as many as a budget affords.

    They are found from the top down by gists, so that what no entry shows yet is found as well.

    Args:
        snapshot: where to look.
        query: the question.
        budget: what the working context may cost.
        gist_set: the set to go by; the default one if none is named.
        effort: how many gists and blocks to look at together; a small part of all if None.  One node of each level is
            expanded at least, whatever it says.

    Attributes:
        sought: all that was found, and at what effort.

    Raises:
        NotFoundError: there is no such gist set.
        UsageError: the question says nothing that can be searched for.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        query: str,
        budget: int,
        *,
        gist_set: str | None = None,
        effort: int | None = None,
    ) -> None:
        self.sought: Sought = seek(snapshot, query, gist_set=gist_set, effort=effort)
        waiting = sum(len(document.tail.tokens) for document in snapshot.tails() if document.tail is not None)

        def costs(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
            return snapshot.world.tokens(1, blocks)

        found = afford(self.sought, snapshot.world.geometry, budget - waiting, costs)
        order = np.argsort(self.sought.blocks)
        place = order[np.searchsorted(self.sought.blocks, found, sorter=order)]
        super().__init__(found, self.sought.scores[place])
