"""How does a working context change as a whole or not at all?  What it is to become is drawn up apart from it.

A draft holds rows that nobody else sees, and remembers which of them are rows of the state that it began with.  When it
is done, the context takes its rows over in one assignment; if anything fails before, nothing has happened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mctree.focus.allocator import Allocator, coldest
from mctree.focus.diff import Diff
from mctree.focus.entries import SEVERAL, UNKNOWN, Entries, Nodes
from mctree.focus.ground import Ground
from mctree.focus.history import COLLAPSED, EXPANDED, History
from mctree.focus.rows import Exchange
from mctree.focus.siblings import Siblings

__all__ = ["Draft"]


class Draft:
    """The next state of a working context.

    Args:
        ground: what it stands on.
        entries: the state that it begins with, a cut of all that exists.
        history: of these entries.
        step: the number of the step that it is made in.

    Attributes:
        expanded: nodes that were expanded.
        collapsed: nodes that were collapsed.
        stays: for how many steps those entries were there that an edit took away, in total, and how many these were.
    """

    def __init__(self, ground: Ground, entries: Entries, history: History, step: int) -> None:
        self.ground = ground
        self.entries = entries
        self.history = history
        self.step = step
        self.expanded = self.collapsed = 0
        self.stays = (0, 0)
        self._before = entries
        self._changes: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    @property
    def cost(self) -> int:
        """What the entries cost together."""
        return int(self.entries.cost.sum())

    def edit(self, expand: NDArray[np.int64], collapse: Siblings) -> None:
        """Expand entries and collapse runs of them, no entry being in two of these."""
        entries, history = self.entries, self.history
        below = self.ground.children(entries.nodes.take(expand))
        counts, children = below.bounds[1:] - below.bounds[:-1], len(below.nodes)
        # The children of a document's node are the document's; those of a node of several have to be asked.
        owner = entries.document[expand]
        owner[owner == SEVERAL] = UNKNOWN
        document = np.concatenate((owner.repeat(counts), collapse.common(entries.document, SEVERAL)))
        nodes = Nodes.joined([below.nodes, collapse.nodes(entries, self.ground.grafts)])
        new = Entries.of(self.ground, nodes, document)
        edit, opened = np.full(len(new), EXPANDED), np.full(len(new), self.step)
        edit[children:], opened[children:] = COLLAPSED, collapse.most(history.opened)
        past = History.made(
            len(new),
            born=self.step,
            edit=edit,
            opened=opened,
            heat=np.concatenate((history.heat[expand].repeat(counts), collapse.most(history.heat))),
        )
        exchanges = _exchanges(expand, below.bounds, collapse)
        left, entered = _moved(exchanges)
        self.stays = self.stays[0] + self.step * len(left) - int(history.born[left].sum()), self.stays[1] + len(left)
        self.entries = entries.splice(new, exchanges)
        self.history = history.splice(past, exchanges)
        self._changes.append((left, entered))
        self.expanded += len(expand)
        self.collapsed += len(collapse)

    def fit(self, budget: int, allocator: Allocator) -> int:
        """Collapse the coldest entries until the rest is within the budget, which the smallest cover is.

        Returns:
            How many nodes were collapsed.
        """
        before = self.collapsed
        while (excess := self.cost - budget) > 0:
            groups = coldest(self.entries, self.history, excess, self.ground.end, allocator.protect)
            assert len(groups), "whatever costs more than the smallest cover can be collapsed"
            self.edit(np.empty(0, np.int64), groups)
        return self.collapsed - before

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all other rows."""
        self.entries, self.history = self.entries.take(rows), self.history.take(rows)
        self._changes.append((np.flatnonzero(~rows), np.empty(0, np.int64)))

    def arrive(self, nodes: Nodes) -> None:
        """Take in nodes that have come to exist, each at its place."""
        if not len(nodes):
            return
        new = Entries.of(self.ground, nodes)
        self._join(new, History.new(len(new), self.step))

    def look_again(self, marked: NDArray[np.bool_]) -> None:
        """Ask the ground again about some rows; those of which it says something else have come anew."""
        rows = np.flatnonzero(marked)
        if not len(rows):
            return
        old = self.entries.take(rows)
        new = Entries.of(self.ground, old.nodes, np.where(old.document == SEVERAL, UNKNOWN, old.document))
        changed = ~old.same(new)
        past = self.history.take(rows[changed])
        stay = np.ones(len(self.entries), np.bool_)
        stay[rows[changed]] = False
        self.keep(stay)
        self._join(new.take(changed), past)

    def done(self) -> Diff:
        """What has become different."""
        return Diff.between(self._before, self.entries, self._changes)

    def _join(self, new: Entries, past: History) -> None:
        entries = Entries.joined([self.entries, new])
        order = np.lexsort((entries.start, entries.slot))
        self.entries = entries.take(order)
        self.history = History.joined([self.history, past]).take(order)
        self._changes.append((np.empty(0, np.int64), np.flatnonzero(order >= len(order) - len(new))))


def _exchanges(expand: NDArray[np.int64], bounds: NDArray[np.int64], collapse: Siblings) -> list[Exchange]:
    """Which rows go, and which come in their place, by place: of new ones, all children stand before all parents.

    Args:
        expand: entries.
        bounds: where the children of each begin, and how many there are in all.
        collapse: runs of entries.
    """
    at = bounds.tolist()
    found = [Exchange(row, row + 1, at[k], at[k + 1]) for k, row in enumerate(expand.tolist())]
    found += (Exchange(first, stop, k, k + 1) for k, (first, stop) in enumerate(collapse.bounds.tolist(), at[-1]))
    return sorted(found)


def _moved(exchanges: Sequence[Exchange]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows go, and which rows those that come are from then on: `int64 [l]` and `[e]`, ascending."""
    left, entered, shift = [], [], 0
    for first, stop, begin, end in exchanges:
        left.append(np.arange(first, stop))
        entered.append(np.arange(first + shift, first + shift + end - begin))
        shift += end - begin - (stop - first)
    return np.concatenate(left), np.concatenate(entered)
