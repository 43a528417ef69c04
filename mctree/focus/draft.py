"""How does a working context change as a whole or not at all?  What it is to become is drawn up apart from it.

A draft holds rows that nobody else sees, and remembers which of them are rows of the state that it began with.  When it
is done, the context takes its rows over in one assignment; if anything fails before, nothing has happened.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mctree.focus.allocator import ARRIVED, COLLAPSED, EXPANDED, NEVER, NEW, Allocator, History, coldest
from mctree.focus.diff import Diff
from mctree.focus.entries import SEVERAL, UNKNOWN, Entries, Nodes
from mctree.focus.ground import Ground
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
        self.history = history.begun()
        self.step = step
        self.expanded = self.collapsed = 0
        self.stays = (0, 0)
        self._before = entries

    @property
    def cost(self) -> int:
        """What the entries cost together."""
        return int(self.entries.cost.sum())

    def edit(self, expand: NDArray[np.int64], collapse: Siblings) -> None:
        """Expand entries and collapse runs of them, no entry being in two of these."""
        entries, history, e = self.entries, self.history, len(expand)
        below = self.ground.children(entries.nodes.take(expand))
        counts = np.diff(below.bounds)
        above = collapse.nodes(entries, self.ground.grafts)
        # The children of a document's node are the document's; those of a node of several have to be asked.
        inherited = np.where(entries.document[expand] == SEVERAL, UNKNOWN, entries.document[expand])
        document = np.concatenate((np.repeat(inherited, counts), collapse.document(entries)))
        new = Entries.of(self.ground, Nodes.joined([below.nodes, above]), document)
        heat = np.concatenate((np.repeat(history.heat[expand], counts), collapse.warmest(history.heat)))
        edit = np.repeat([EXPANDED, COLLAPSED], [len(below.nodes), len(collapse)])
        opened = np.concatenate((np.full(len(below.nodes), self.step), collapse.last(history.opened)))
        past = History.made(len(new), born=self.step, edit=edit, opened=opened, origin=NEW, heat=heat)

        first, stop = np.concatenate((expand, collapse.first)), np.concatenate((expand + 1, collapse.stop))
        parents = below.bounds[-1] + np.arange(len(collapse) + 1)
        begin = np.concatenate((below.bounds[:-1], parents[:-1]))
        end = np.concatenate((below.bounds[1:], parents[1:]))
        order = np.argsort(first)
        stretches = list(map(slice, first[order].tolist(), stop[order].tolist()))
        put = list(map(slice, begin[order].tolist(), end[order].tolist()))

        born = [history.born[gone] for gone in stretches]
        left = sum(map(len, born))
        self.stays = self.stays[0] + self.step * left - int(sum(map(np.sum, born))), self.stays[1] + left
        self.entries = entries.splice(stretches, new, put)
        self.history = history.splice(stretches, past, put)
        self.expanded += e
        self.collapsed += len(collapse)

    def fit(self, budget: int, allocator: Allocator) -> int:
        """Collapse the coldest entries until the rest is within the budget, which the smallest cover is.

        Returns:
            How many nodes were collapsed.
        """
        before = self.collapsed
        while (excess := self.cost - budget) > 0:
            grafts, end = self.ground.grafts, self.ground.end
            groups = coldest(self.entries, self.history, excess, end, grafts, allocator.protect)
            assert len(groups), "whatever costs more than the smallest cover can be collapsed"
            self.edit(np.empty(0, np.int64), groups)
        return self.collapsed - before

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all other rows."""
        self.entries, self.history = self.entries.take(rows), self.history.take(rows)

    def arrive(self, nodes: Nodes) -> None:
        """Take in nodes that have come to exist, each at its place."""
        if not len(nodes):
            return
        new = Entries.of(self.ground, nodes)
        self._join(new, History.made(len(new), born=self.step, edit=ARRIVED, opened=NEVER, origin=NEW, heat=0.0))

    def look_again(self, marked: NDArray[np.bool_]) -> None:
        """Ask the ground again about some rows; those of which it says something else have come anew."""
        rows = np.flatnonzero(marked)
        if not len(rows):
            return
        old = self.entries.take(rows)
        new = Entries.of(self.ground, old.nodes, np.where(old.document == SEVERAL, UNKNOWN, old.document))
        changed = ~old.same(new)
        past = self.history.take(rows[changed]).renewed()
        stay = np.ones(len(self.entries), np.bool_)
        stay[rows[changed]] = False
        self.keep(stay)
        self._join(new.take(changed), past)

    def done(self) -> Diff:
        """What has become different."""
        return Diff.between(self._before, self.entries, self.history.origin)

    def _join(self, new: Entries, past: History) -> None:
        entries = Entries.joined([self.entries, new])
        order = np.lexsort((entries.start, entries.slot))
        self.entries = entries.take(order)
        self.history = History.joined([self.history, past]).take(order)
