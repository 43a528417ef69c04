"""The plain way to keep a working context: one Python object for each entry, in a list.

It follows the same rules as `mctree.focus` (threshold, at most so many edits, cooldown, collapses that pay, ties),
looks at each entry in a loop, and splices a list: what somebody would write who had only the description of the
allocator.  What is known of nodes comes from the same ground, asked about all nodes of an edit at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mctree.focus import Entries, Nodes, SnapshotGround
from mctree.geometry import TEXT

__all__ = ["NAME", "PlainContext", "PlainEntry"]

NAME = "one object per entry"
_BLOCK = TEXT.block
_COOLDOWN = 2


@dataclass(slots=True)
class PlainEntry:
    """One entry."""

    level: int
    index: int
    start: int
    stop: int
    cost: int
    growth: int
    document: int
    position: float
    sigma: float
    heat: float = 0.0
    born: int = 0
    edit: int = 0


class PlainContext:
    """A list of entries of the timeline."""

    def __init__(self, ground: SnapshotGround, nodes: list[tuple[int, int]], budget: int) -> None:
        self.ground = ground
        self.budget = budget
        levels, indices = zip(*nodes, strict=True)
        self.entries = self._made(list(levels), list(indices))
        self.step_number = 0

    def _made(
        self, level: list[int], index: list[int], heat: float = 0.0, born: int = 0, edit: int = 0
    ) -> list[PlainEntry]:
        """Entries for nodes, of which all is asked at once: how facts are found is not what is compared."""
        slot = [at * TEXT.width(one) for one, at in zip(level, index, strict=True)]
        rows = Entries.of(self.ground, Nodes.made(len(level), space=0, level=level, index=index, slot=slot))
        whole, real = rows.integers[:9].T.tolist(), rows.reals[:2].T.tolist()
        return [
            PlainEntry(one[1], one[2], one[4], one[5], one[6], one[7], one[8], place[0], place[1], heat, born, edit)
            for one, place in zip(whole, real, strict=True)
        ]

    def step(self, scores: list[float], threshold: float = 0.2, max_edits: int = 4) -> int:
        """Take one step; how many edits it made."""
        self.step_number += 1
        now = self.step_number
        used = 0
        hot: list[tuple[float, int]] = []
        for i, (entry, score) in enumerate(zip(self.entries, scores, strict=True)):
            entry.heat = min(max(score, -1.0), 1.0) if score == score else 0.0
            used += entry.cost
            if entry.heat > threshold and entry.level and not (entry.edit == -1 and entry.born >= now - _COOLDOWN):
                hot.append((-entry.heat, -i))
        cold = self._cold(threshold, now)[:max_edits]
        free = self.budget - used
        most = free + sum(sorted((gain for _, _, _, gain in cold), reverse=True)[: max_edits - 1])
        hot = sorted(pair for pair in hot if self.entries[-pair[1]].growth <= most)[:64]
        expand, edits, paid = [], 0, 0
        for _, place in hot:
            if edits == max_edits:
                break
            growth, room, last = self.entries[-place].growth, free, paid
            while room < growth and last < len(cold) and edits + 1 + last - paid < max_edits:
                room += cold[last][3]
                last += 1
            if room < growth:
                continue
            expand.append(-place)
            edits += 1 + last - paid
            free, paid = room - growth, last
        done = min(len(cold), paid + max_edits - edits)
        changes = [(i, i + 1) for i in expand] + [(first, stop) for _, first, stop, _ in cold[:done]]
        for first, stop in sorted(changes, reverse=True):
            if stop == first + 1 and first in expand:
                self.entries[first:stop] = self._children(self.entries[first], now)
            else:
                self.entries[first:stop] = self._parent(self.entries[first:stop], now)
        return len(changes)

    def _cold(self, threshold: float, now: int) -> list[tuple[float, int, int, int]]:
        """(heat, first, stop, gain) of the siblings that may be collapsed, coldest first."""
        found, entries, i = [], self.entries, 0
        while i < len(entries):
            entry = entries[i]
            wide = TEXT.width(entry.level + 1)
            start = entry.start // wide * wide
            j = i
            while j < len(entries) and entries[j].level == entry.level and entries[j].start // wide * wide == start:
                j += 1
            whole = start + wide <= self.ground.end
            whole = whole and (i == 0 or entries[i - 1].start < start)
            whole = whole and (j == len(entries) or entries[j].start >= start + wide)
            heat = max(one.heat for one in entries[i:j])
            young = any(one.edit == 1 and one.born >= now - _COOLDOWN for one in entries[i:j])
            if whole and heat < -threshold and not young:
                found.append((heat, i, j, sum(one.cost for one in entries[i:j]) - 1))
            i = j
        return sorted(found)

    def _children(self, entry: PlainEntry, now: int) -> list[PlainEntry]:
        if entry.level == 1:
            return self._made([0], [entry.index * _BLOCK], entry.heat, now, 1)
        children = np.arange(entry.index * _BLOCK, (entry.index + 1) * _BLOCK)
        alive = children[self.ground.world.exists(TEXT, entry.level - 1, children)].tolist()
        return self._made([entry.level - 1] * len(alive), alive, entry.heat, now, 1)

    def _parent(self, entries: list[PlainEntry], now: int) -> list[PlainEntry]:
        level = entries[0].level + 1
        return self._made([level], [entries[0].start // TEXT.width(level)], max(one.heat for one in entries), now, -1)
