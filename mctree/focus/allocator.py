"""Which entries become finer, and which coarser?  Greedily by their scores, and slowly: a choice is not undone at once.

Scores are wishes from -1 (less detail) to 1 (more).  The allocator expands what is wanted most and collapses what is
wanted least, a few edits at a time.  An expand for which there is no room is paid for by collapses of what nobody
wants, or not done; nothing is ever left out.  What was just expanded is not collapsed again for some steps, nor the
reverse, and the newest stretch of the timeline may be kept as it is.

`Allocator.plan` is a pure function of arrays: no I/O, no clock, nothing random.  Ties go to what is newer where
something is expanded, and to what is older where it is collapsed, so that the front of a context changes least.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus.entries import Entries
from mctree.focus.history import COLLAPSED, History
from mctree.focus.siblings import Siblings, siblings

__all__ = ["Allocator", "Blocked", "Plan", "coldest", "wishes"]

_LOOKED_AT = 64
"""Of the entries that could be expanded, a step looks at this many of the most wanted ones."""

_MANY = 256
"""From so many numbers on, the least of them are set apart before they are sorted."""

_CLOSER = 4
"""How often, at most, the colder ones of too many are passed over by a bound half as far from 1 as the last one."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """How many wishes a step could not fulfil, and why.

    Attributes:
        budget: expands for which there was no room, and no collapse to pay for them.
        cooldown: edits that would have undone one made a moment ago.
        protected: collapses within the protected end of the timeline.
        limit: edits beyond the most that a step makes.
        waiting: expands of what has children that are not there yet: not at hand, or not in the tree.
    """

    budget: int = 0
    cooldown: int = 0
    protected: int = 0
    limit: int = 0
    waiting: int = 0

    def __add__(self, other: Blocked) -> Blocked:
        return Blocked(
            self.budget + other.budget,
            self.cooldown + other.cooldown,
            self.protected + other.protected,
            self.limit + other.limit,
            self.waiting + other.waiting,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.budget + self.cooldown + self.protected + self.limit + self.waiting


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round changes.  No entry is in two edits.

    Attributes:
        expand: entries, ascending, `int64 [e]`.
        collapse: runs of entries, ascending.
        blocked: what was wanted as well.
    """

    expand: NDArray[np.int64]
    collapse: Siblings
    blocked: Blocked

    def __bool__(self) -> bool:
        return bool(len(self.expand) or len(self.collapse))


@dataclass(frozen=True, slots=True)
class Allocator:
    """The rules by which a working context follows its scores.

    Attributes:
        threshold: an entry is expanded if its score is above this, and siblings are collapsed if the score of each is
            below minus this.
        max_edits: the most expands and collapses of one round, those that pay for others included.
        cooldown: so many whole steps lie between two edits of a node at least.
        protect: so many LOD0 positions at the end of the timeline are not collapsed, but where the budget forces it.
        rounds: how often a step asks for scores and edits.

    Raises:
        UsageError: a number is out of range, or no integer where one is meant.
    """

    threshold: float = 0.2
    max_edits: int = 4
    cooldown: int = 2
    protect: int = 0
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise UsageError(f"the threshold of an allocator is at least 0 and below 1, not {self.threshold}")
        for name, least in (("max_edits", 1), ("cooldown", 0), ("protect", 0), ("rounds", 1)):
            number = getattr(self, name)
            if not isinstance(number, Integral) or number < least:
                raise UsageError(f"{name} of an allocator must be an integer from {least} on, not {number!r}")

    def wanted(self, entries: Entries, history: History) -> NDArray[np.bool_]:
        """Which entries the scores want expanded: `bool [n]`; leaves among them, which cannot be."""
        return (history.heat > self.threshold) & (entries.level > 0)

    def plan(
        self,
        entries: Entries,
        history: History,
        budget: int,
        step: int,
        end: int,
        ready: NDArray[np.bool_] | None = None,
    ) -> Plan:
        """What to change, given the scores in `history.heat`.

        Args:
            entries: a cut of all that exists, within the budget.
            history: of the same entries.
            budget: what they may cost together.
            step: the number of this step.
            end: the position behind all that was placed on the timeline.
            ready: which entries may be expanded, since all that comes in their place is at hand; all, if not given.
        """
        hot, cooling = self._wanted(entries, history, step)
        unable = entries.leaves if ready is None else entries.leaves | ~ready
        unable &= hot
        waiting = int(np.count_nonzero(unable))
        if waiting:
            hot ^= unable
        cold, order, held = self._unwanted(entries, history, step, end)
        gains = cold.gain(entries)[order].tolist()
        free = budget - int(entries.cost.sum())
        # What could not be afforded even with all that may be collapsed for it need not be looked at.
        most = free + sum(sorted(gains, reverse=True)[: self.max_edits - 1])
        payable = hot & (entries.growth <= most)
        best = _hottest(history.heat, payable, max(_LOOKED_AT, self.max_edits), (self.threshold + 1) / 2)
        expand: list[int] = []
        edits = paid = unpaid = 0
        room = free + sum(gains[: self.max_edits - 1])
        for i, growth in enumerate(entries.growth[best].tolist()):
            if growth > room:
                unpaid += 1
                continue
            expand.append(i)
            free, edits = free - growth, edits + 1
            while free < 0:
                free, edits, paid = free + gains[paid], edits + 1, paid + 1
            if edits == self.max_edits:
                break
            room = free + sum(gains[paid : paid + self.max_edits - edits - 1])
        done = min(len(gains), paid + self.max_edits - edits)
        affordable = int(np.count_nonzero(payable))
        blocked = Blocked(
            budget=int(np.count_nonzero(hot)) - affordable + unpaid,
            cooldown=cooling + held.cooldown,
            protected=held.protected,
            limit=affordable - unpaid - len(expand) + held.limit + len(gains) - done,
            waiting=waiting,
        )
        return Plan(np.sort(best[expand]), cold if done == len(gains) else cold.take(np.sort(order[:done])), blocked)

    def _wanted(self, entries: Entries, history: History, step: int) -> tuple[NDArray[np.bool_], int]:
        """Which entries to expand, and how many more are cooling down."""
        hot = self.wanted(entries, history)
        recent = (history.born >= step - self.cooldown).nonzero()[0]
        cooling = recent[(history.edit[recent] == COLLAPSED) & hot[recent]]
        hot[cooling] = False
        return hot, len(cooling)

    def _unwanted(
        self, entries: Entries, history: History, step: int, end: int
    ) -> tuple[Siblings, NDArray[np.int64], Blocked]:
        """The coldest siblings to collapse, in which order from the coldest on, and how many more there are."""
        groups = siblings(entries, end)
        heat = groups.most(history.heat)
        cold = (heat < -self.threshold).nonzero()[0]
        groups, heat = groups.take(cold), heat[cold]
        cooling = groups.most(history.opened) >= step - self.cooldown
        protected = np.zeros(len(groups), np.bool_)
        if self.protect:
            protected = groups.reach(entries) > end - self.protect
            cooling &= ~protected
        ready = (~(protected | cooling)).nonzero()[0]
        chosen = ready[_least(heat[ready], self.max_edits)]
        held = Blocked(
            cooldown=int(np.count_nonzero(cooling)),
            protected=int(np.count_nonzero(protected)),
            limit=len(ready) - len(chosen),
        )
        ascending = np.sort(chosen)
        return groups.take(ascending), ascending.searchsorted(chosen), held


def coldest(entries: Entries, history: History, excess: int, end: int, protect: int) -> Siblings:
    """What to collapse at once so that the cost falls by `excess`, or as far as one round of collapses goes.

    Args:
        entries: a cut of all that exists.
        history: of the same entries.
        excess: by how much the cost is too high.
        end: the position behind all that was placed on the timeline.
        protect: so many positions at the end come last.
    """
    groups = siblings(entries, end)
    protected = groups.reach(entries) > end - protect
    order = np.lexsort((np.arange(len(groups)), groups.most(history.heat), protected))
    saved = np.cumsum(groups.gain(entries)[order])
    enough = int(np.searchsorted(saved, excess)) + 1
    return groups.take(np.sort(order[:enough]))


def wishes(scores: NDArray[np.floating[Any]], n: int) -> NDArray[np.float64]:
    """Scores as the allocator takes them: clipped to [-1, 1]; what is no number is no wish: `float64 [n]`.

    Raises:
        UsageError: they are not one number for each entry.
    """
    given = np.asarray(scores)
    if given.shape != (n,) or given.dtype.kind not in "fiu":
        raise UsageError(f"a lens scores each of {n} entries by a number, not as {given.dtype} {list(given.shape)}")
    # Clipped before it is converted: a wider type holds numbers for which `float64` is too narrow.
    wished: NDArray[np.float64] = np.clip(given, -1.0, 1.0).astype(np.float64, copy=False)
    missing = np.isnan(wished)
    if missing.any():
        wished[missing] = 0.0
    return wished


def _least(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Where the least so many values stand, in ascending order; of equal ones the first come first."""
    if len(values) <= max(count, _MANY):
        return values.argsort(kind="stable")[:count]
    some = (values <= np.partition(values, count - 1)[count - 1]).nonzero()[0]
    least: NDArray[np.int64] = some[values[some].argsort(kind="stable")[:count]]
    return least


def _hottest(heat: NDArray[np.float64], marked: NDArray[np.bool_], count: int, likely: float) -> NDArray[np.int64]:
    """So many of the marked entries, the hottest first; of equal ones the last come first.

    Args:
        heat: of all entries.
        marked: which of them are meant.
        count: how many are wanted.
        likely: where so many are hotter than this, the others need no look.
    """
    above = marked & (heat > likely)
    many = np.count_nonzero(above)
    if many < count:
        above = marked
    for _ in range(_CLOSER):  # to the hottest, as long as enough are left
        if many <= _MANY:
            break
        likely = (likely + 1) / 2
        closer = above & (heat > likely)
        if (many := np.count_nonzero(closer)) < count:
            break
        above = closer
    rows = above.nonzero()[0][::-1]
    return rows[_least(-heat[rows], count)]
