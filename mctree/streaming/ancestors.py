"""What lies above a working context?  Its ancestors: for what is missing, the nearest that is resident stands in.

They are few beside the entries, and each was an entry before it was expanded, so they mostly are resident already and
only have to stay: then collapsing takes effect at once as well, and whatever is missing has somebody near to stand in.
An ancestor is counted once for each entry, or ancestor, directly below it; so a step looks at the parents of what it
changed and, where these are new or gone, at theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mctree.streaming.lineage import Lineage
from mctree.streaming.nodes import Nodes

__all__ = ["Ancestors", "Node", "nearest"]

Node = tuple[int, int, int]
"""Space, level, index."""


class Ancestors:
    """The ancestors of the entries of a working context.

    Args:
        lineage: who is whose parent.
    """

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._below: dict[Node, int] = {}

    def __len__(self) -> int:
        return len(self._below)

    def __contains__(self, node: Node) -> bool:
        return node in self._below

    def enter(self, nodes: Nodes) -> Nodes:
        """Entries have come; the ancestors that these are the first to have, nearest first."""
        return self._climb(nodes, self._first_below)

    def leave(self, nodes: Nodes) -> Nodes:
        """Entries have gone; the ancestors that nobody has any more."""
        return self._climb(nodes, self._last_below)

    def _climb(self, nodes: Nodes, turns: Callable[[Node], bool]) -> Nodes:
        """Count parents, and the parents of those whose count turns to or from nothing; which these were."""
        found = [Nodes.none()]
        while len(nodes):
            parents, has = self._lineage.parents(nodes)
            parents = parents.take(has)
            nodes = parents.take(np.array([turns(node) for node in parents.addresses()], np.bool_))
            found.append(nodes)
        return Nodes.joined(found)

    def _first_below(self, node: Node) -> bool:
        below = self._below[node] = self._below.get(node, 0) + 1
        return below == 1

    def _last_below(self, node: Node) -> bool:
        self._below[node] -= 1
        if self._below[node]:
            return False
        del self._below[node]
        return True


def nearest(
    nodes: Nodes, lineage: Lineage, slot_of: Callable[[Node], int | None]
) -> tuple[Nodes, NDArray[np.int64], NDArray[np.bool_]]:
    """The nearest ancestor of each node that has a slot.

    Args:
        nodes: whose ancestors.
        lineage: who is whose parent.
        slot_of: gives the slot of a node, None if it is not resident.

    Returns:
        The ancestors, their slots `int64 [n]`, and which nodes have one, `bool [n]`.
    """
    columns = [column.copy() for column in (nodes.space, nodes.level, nodes.index, nodes.slot)]
    slots = np.full(len(nodes), -1, np.int64)
    waiting, current = np.arange(len(nodes)), nodes
    while len(waiting):
        parents, has = lineage.parents(current)
        waiting, current = waiting[has], parents.take(has)
        found = [slot_of(node) for node in current.addresses()]
        there = np.array([slot is not None for slot in found], np.bool_)
        rows = waiting[there]
        slots[rows] = [slot for slot in found if slot is not None]
        for column, values in zip(columns, (current.space, current.level, current.index, current.slot), strict=True):
            column[rows] = values[there]
        waiting, current = waiting[~there], current.take(~there)
    return Nodes(*columns), slots, slots >= 0
