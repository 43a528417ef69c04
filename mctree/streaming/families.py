"""What will be expanded next?  The entries that are wanted most; their children come ahead of need.

An expand takes effect when all children are resident.  So the children of an entry, its family, come together and
stay together, from when the entry is among those wanted most until it has not been for some turns.  Families that are
no longer wanted are let go of, and what of them has not been read yet is not read.

How many families there are at a time is bounded, and none is begun for which there would be no slots: what comes ahead
of need never drives out what is needed.
"""

from __future__ import annotations

from bisect import bisect_left
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
    """The children of one node: where they are, who fetches the missing ones, and when the node was wanted last.

    Attributes:
        left: how many the request had to wait for when they were looked for last.
    """

    children: Nodes
    slots: NDArray[np.int64]
    request: Request | None
    wanted: int
    left: int = 0


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
        self._resting: dict[Node, int] = {}
        self._next: tuple[Nodes, list[float], Ground] | None = None  # to be begun at the next occasion

    def __len__(self) -> int:
        return len(self._held)

    def want(self, entries: Columns, scores: NDArray[np.float64], ground: Ground) -> NDArray[np.bool_]:
        """Let the families of entries come, as soon as the stream is not hushed.

        Args:
            entries: of a working context, above level 0.
            scores: how much each is wanted, `float64 [n]`; the families of the highest ones come.
            ground: knows who is whose child.

        Returns:
            Of which entries, among those whose families come, all children are resident: `bool [n]`.
        """
        step = self._stream.step
        nodes = Nodes.of(entries)
        best = np.argsort(-scores, kind="stable")[: self._most]
        chosen = nodes.take(best)
        addresses = chosen.addresses()
        fresh = []
        for i, node in enumerate(addresses):
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
        put_off = self._next is not None
        self._next = (chosen.take(np.array(fresh, np.int64)), scores[best[fresh]].tolist(), ground) if fresh else None
        if fresh and not put_off:
            self._stream.later(self._begin_next)
        ready = np.zeros(len(nodes), np.bool_)
        ready[best] = [self._is_ready(node) for node in addresses]
        return ready

    def look(self) -> None:
        """See what has arrived."""
        arrived, failed = [], []
        for node in self._coming:
            family = self._held[node]
            request = family.request
            if request is not None and not request.done():
                if request.left == family.left:
                    continue
                family.left = request.left
            missing = (family.slots == MISSING).nonzero()[0]
            some = family.children.take(missing)
            found = self._stream.find(some)
            family.slots[missing] = found
            self._stream.hold(some, found)
            if (found != MISSING).all():
                arrived.append(node)
            elif request is None or request.done():
                failed.append(node)
        self._coming.difference_update(arrived)
        # It is tried again in a while, if it is still wanted; until then there is room for others.
        step = self._stream.step
        if failed:
            self._resting = {node: until for node, until in self._resting.items() if until > step}
            self._resting.update((node, step + _REST) for node in failed)
        self._forget(failed)

    def ready(self, entries: Columns) -> NDArray[np.bool_]:
        """Which entries have all their children resident: `bool [n]`."""
        return np.array([self._is_ready(node) for node in Nodes.of(entries).addresses()], np.bool_)

    def forget(self) -> None:
        """Let go of all."""
        self._next = None
        self._forget(list(self._held))

    def _begin_next(self) -> None:
        """Begin what was wanted last."""
        wanted, self._next = self._next, None
        if wanted is not None:
            self._begin(*wanted)

    def _begin(self, nodes: Nodes, scores: Sequence[float], ground: Ground) -> None:
        """Begin families, the most wanted first, as far as there is room."""
        found = ground.children(nodes)
        looked, bounds = self._stream.look_up(found.nodes), found.bounds.tolist()
        children, slots = looked.nodes, looked.slots
        lacking = (slots == MISSING).nonzero()[0].tolist()
        room: dict[int, int] = {}
        taken = np.zeros(len(children), np.bool_)
        begun: list[_Family] = []
        asked: list[list[int]] = []
        wishes: list[float] = []
        for node, first, stop, score in zip(nodes.addresses(), bounds[:-1], bounds[1:], scores, strict=True):
            part = slice(first, stop)
            missing = lacking[bisect_left(lacking, first) : bisect_left(lacking, stop)]
            if missing:
                plane = plane_of(*looked.keys[first][:2])
                if plane not in room:
                    room[plane] = self._stream.room(plane, len(children), needed=False)
                if room[plane] < len(missing):
                    continue
                room[plane] -= len(missing)
                self._coming.add(node)
            taken[part] = True
            family = self._held[node] = _Family(children.take(part), slots[part], None, self._stream.step)
            if missing:
                begun.append(family)
                asked.append(missing)
                wishes.append(score)
        for family, request in zip(begun, self._stream.request_parts(looked, asked, wishes), strict=True):
            family.request, family.left = request, request.left
        self._stream.hold(children.take(taken), slots[taken])

    def _forget(self, nodes: list[Node]) -> None:
        for node in nodes:
            family = self._held.pop(node)
            self._coming.discard(node)
            self._stream.let_go(family.children, family.slots)
            if family.request is not None:
                family.request.cancel()

    def _is_ready(self, node: Node) -> bool:
        return node in self._held and node not in self._coming
