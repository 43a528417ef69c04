"""What will be expanded next?  The entries that are wanted most; their children come ahead of need.

An expand takes effect when all children are resident.  So the children of an entry, its family, come together and
stay together, from when the entry is among those wanted most until it has not been for some turns.  Families that are
no longer wanted are let go of, and what of them has not been read yet is not read.

How many families there are at a time is bounded, and none is begun for which there would be no slots: what comes ahead
of need never drives out what is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.streaming.ancestors import Node
from mctree.streaming.lineage import Ground
from mctree.streaming.nodes import Columns, Nodes, plane_of
from mctree.streaming.pool import MISSING
from mctree.streaming.requests import Request
from mctree.streaming.stream import Stream

__all__ = ["Families"]

_REST = 16
"""For so many turns a family is not begun again that could not be had."""


@dataclass(eq=False, slots=True)
class _Family:
    """The children of one node: where they are, who fetches the missing ones, and when the node was wanted last."""

    children: Nodes
    slots: NDArray[np.int64]
    request: Request | None
    wanted: int


class Families:
    """The children of the entries that are wanted most.

    Args:
        stream: where they come from.
        most: how many families there are at a time.
        patience: for so many turns a family stays that is not wanted any more.
    """

    def __init__(self, stream: Stream, most: int, patience: int) -> None:
        self._stream = stream
        self._most = most
        self._patience = patience
        self._held: dict[Node, _Family] = {}
        self._coming: set[Node] = set()
        # The nodes whose families are complete, by space and level, ascending; made anew when that has changed.
        self._complete: dict[tuple[int, int], NDArray[np.int64]] | None = None
        self._resting: dict[Node, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def want(self, entries: Columns, scores: NDArray[np.float64], ground: Ground) -> None:
        """Let the families of entries come.

        Args:
            entries: of a working context, above level 0.
            scores: how much each is wanted, `float64 [n]`; the families of the highest ones come.
            ground: knows who is whose child.
        """
        step = self._stream.step
        nodes = Nodes.of(entries)
        best = np.argsort(-scores, kind="stable")[: self._most]
        chosen = nodes.take(best)
        fresh = []
        for i, node in enumerate(chosen.addresses()):
            family = self._held.get(node)
            if family is not None:
                family.wanted = step
            elif self._resting.get(node, step) <= step:
                fresh.append(i)
        self._forget([node for node, family in self._held.items() if family.wanted < step - self._patience])
        # What nobody wants any more makes room for what is wanted now.
        excess = len(self._held) + len(fresh) - self._most
        if excess > 0:
            idle = [node for node, family in self._held.items() if family.wanted < step]
            self._forget(sorted(idle, key=lambda node: self._held[node].wanted)[:excess])
        if fresh:
            with self._stream.together():
                self._begin(chosen.take(np.array(fresh, np.int64)), scores[best[fresh]].tolist(), ground)

    def look(self) -> None:
        """See what has arrived."""
        arrived, failed = [], []
        for node in self._coming:
            family = self._held[node]
            missing = np.flatnonzero(family.slots == MISSING)
            some = family.children.take(missing)
            found = self._stream.find(some)
            family.slots[missing] = found
            self._stream.hold(some, found)
            if (found != MISSING).all():
                arrived.append(node)
            elif family.request is None or family.request.done():
                failed.append(node)
        if arrived:
            self._coming.difference_update(arrived)
            self._complete = None
        # It is tried again in a while, if it is still wanted; until then there is room for others.
        step = self._stream.step
        if failed:
            self._resting = {node: until for node, until in self._resting.items() if until > step}
            self._resting.update((node, step + _REST) for node in failed)
        self._forget(failed)

    def ready(self, entries: Columns) -> NDArray[np.bool_]:
        """Which entries have all their children resident: `bool [n]`."""
        nodes = Nodes.of(entries)
        found = np.zeros(len(nodes), np.bool_)
        if self._complete is None:
            self._complete = self._by_level()
        for (space, level), index in self._complete.items():
            some = np.flatnonzero((nodes.space == space) & (nodes.level == level))
            place = np.minimum(np.searchsorted(index, nodes.index[some]), len(index) - 1)
            found[some] = index[place] == nodes.index[some]
        return found

    def forget(self) -> None:
        """Let go of all."""
        self._forget(list(self._held))

    def _begin(self, nodes: Nodes, scores: Sequence[float], ground: Ground) -> None:
        """Begin families, the most wanted first, as far as there is room."""
        found = ground.children(nodes)
        children, bounds = Nodes.of(found.nodes), found.bounds.tolist()
        slots = self._stream.find(children)
        room: dict[int, int] = {}
        taken = np.zeros(len(children), np.bool_)
        for i, node in enumerate(nodes.addresses()):
            part = slice(bounds[i], bounds[i + 1])
            some, at = children.take(part), slots[part]
            missing = some.take(at == MISSING)
            if len(missing):
                plane = plane_of(int(some.space[0]), int(some.level[0]))
                if plane not in room:
                    room[plane] = self._stream.room(plane, len(children), needed=False)
                if room[plane] < len(missing):
                    continue
                room[plane] -= len(missing)
                self._coming.add(node)
            taken[part] = True
            self._held[node] = _Family(some, at, None, self._stream.step)
            if len(missing):
                self._held[node].request = self._stream.request(missing, scores[i])
            else:
                self._complete = None
        self._stream.hold(children.take(taken), slots[taken])

    def _forget(self, nodes: list[Node]) -> None:
        for node in nodes:
            family = self._held.pop(node)
            if node in self._coming:
                self._coming.remove(node)
            else:
                self._complete = None
            self._stream.let_go(family.children, family.slots)
            if family.request is not None:
                family.request.cancel()

    def _by_level(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        found: dict[tuple[int, int], list[int]] = {}
        for space, level, index in self._held.keys() - self._coming:
            found.setdefault((space, level), []).append(index)
        return {place: np.sort(np.array(index, np.int64)) for place, index in found.items()}
