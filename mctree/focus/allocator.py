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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.focus.entries import Entries
from mctree.focus.ground import Grafts
from mctree.focus.rows import Integer, Real, Rows
from mctree.focus.siblings import Siblings, siblings

__all__ = ["ARRIVED", "COLLAPSED", "EXPANDED", "NEW", "Allocator", "Blocked", "History", "Plan", "coldest", "wishes"]

ARRIVED, EXPANDED, COLLAPSED = 0, 1, -1
"""How an entry came to be one: it was there at first or is new, its parent was expanded, its children collapsed."""

NEW = -1
"""The origin of an entry that was none before."""

_LOOKED_AT = 64
"""Of the entries that could be expanded, a step looks at this many of the most wanted ones."""


class History(Rows):
    """What happened to entries, one row each.

    Attributes:
        born: the step in which the entry came to be one, `int64 [n]`.
        edit: `ARRIVED`, `EXPANDED` or `COLLAPSED`, `int64 [n]`.
        origin: which entry it was when the present change began, `NEW` if none, `int64 [n]`.
        heat: the last score, in [-1, 1]; of what was expanded or collapsed since, that of where it came from; 0 for
            what has just arrived, `float64 [n]`.
    """

    __slots__ = ()

    born = Integer()
    edit = Integer()
    origin = Integer()
    heat = Real()

    def begun(self) -> History:
        """The same at the beginning of a change."""
        integers = self.integers.copy()
        integers[History.INTEGERS.index("origin")] = np.arange(len(self))
        return History(integers, self.reals)

    def renewed(self) -> History:
        """The same of entries that are no longer what they were."""
        integers = self.integers.copy()
        integers[History.INTEGERS.index("origin")] = NEW
        return History(integers, self.reals)

    def scored(self, heat: NDArray[np.float64]) -> History:
        """The same with other scores."""
        return History(self.integers, heat[None, :])


@dataclass(frozen=True, slots=True)
class Blocked:
    """How many wishes a step could not fulfil, and why.

    Attributes:
        budget: expands for which there was no room, and no collapse to pay for them.
        cooldown: edits that would have undone one made a moment ago.
        protected: collapses within the protected end of the timeline.
        limit: edits beyond the most that a step makes.
        waiting: expands of what has children that are not there yet.
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
        UsageError: a number is out of range.
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
            if getattr(self, name) < least:
                raise UsageError(f"{name} of an allocator must be at least {least}, not {getattr(self, name)}")

    def wanted(self, entries: Entries, history: History) -> NDArray[np.int64]:
        """The entries that scores want expanded, ascending: `int64 [k]`."""
        return np.flatnonzero((history.heat > self.threshold) & (entries.level > 0))

    def plan(
        self,
        entries: Entries,
        history: History,
        budget: int,
        step: int,
        end: int,
        grafts: Grafts,
        ready: NDArray[np.bool_] | None = None,
    ) -> Plan:
        """What to change, given the scores in `history.heat`.

        Args:
            entries: a cut of all that exists, within the budget.
            history: of the same entries.
            budget: what they may cost together.
            step: the number of this step.
            end: the position behind all that was placed on the timeline.
            grafts: the images of the timeline.
            ready: which entries may be expanded, since all that comes in their place is at hand; all, if not given.
        """
        hot, cooling = self._wanted(entries, history, step)
        wanted = len(hot)
        if ready is not None:
            hot = hot[ready[hot]]
        cold, gains, held = self._unwanted(entries, history, step, end, grafts)
        free = budget - int(entries.cost.sum())
        # What could not be afforded even with all that may be collapsed for it need not be looked at.
        most = free + sum(sorted(gains, reverse=True)[: self.max_edits - 1])
        payable = hot[entries.growth[hot] <= most]
        best = payable[::-1][_least(-history.heat[payable[::-1]], max(_LOOKED_AT, self.max_edits))]
        expand: list[int] = []
        edits = paid = unpaid = 0
        for entry, growth in zip(best.tolist(), entries.growth[best].tolist(), strict=True):
            if edits == self.max_edits:
                break
            room, last = free, paid
            while room < growth and last < len(gains) and edits + 1 + last - paid < self.max_edits:
                room += gains[last]
                last += 1
            if room < growth:
                unpaid += 1
                continue
            expand.append(entry)
            edits += 1 + last - paid
            free, paid = room - growth, last
        done = min(len(gains), paid + self.max_edits - edits)
        blocked = Blocked(
            budget=len(hot) - len(payable) + unpaid,
            cooldown=cooling + held.cooldown,
            protected=held.protected,
            limit=len(payable) - unpaid - len(expand) + held.limit + len(gains) - done,
            waiting=wanted - len(hot),
        )
        return Plan(np.sort(np.array(expand, np.int64)), cold.take(np.argsort(cold.first[:done])), blocked)

    def _wanted(self, entries: Entries, history: History, step: int) -> tuple[NDArray[np.int64], int]:
        """The entries to expand, ascending, and how many more are cooling down."""
        hot = self.wanted(entries, history)
        cooling = (history.edit[hot] == COLLAPSED) & (history.born[hot] >= step - self.cooldown)
        return hot[~cooling], int(np.count_nonzero(cooling))

    def _unwanted(
        self, entries: Entries, history: History, step: int, end: int, grafts: Grafts
    ) -> tuple[Siblings, list[int], Blocked]:
        """The coldest siblings to collapse, coldest first, the gain of each, and how many more there are."""
        if not (history.heat < -self.threshold).any():
            return Siblings.none(), [], Blocked()
        groups = siblings(entries, end, grafts)
        heat = groups.warmest(history.heat)
        cold = np.flatnonzero(heat < -self.threshold)
        groups, heat = groups.take(cold), heat[cold]
        young = (history.edit == EXPANDED) & (history.born >= step - self.cooldown)
        protected = groups.reach(entries) > end - self.protect
        cooling = groups.any(young) & ~protected
        ready = np.flatnonzero(~(protected | cooling))
        chosen = ready[_least(heat[ready], self.max_edits)]
        held = Blocked(
            cooldown=int(np.count_nonzero(cooling)),
            protected=int(np.count_nonzero(protected)),
            limit=len(ready) - len(chosen),
        )
        return groups.take(chosen), groups.gain(entries)[chosen].tolist(), held


def coldest(entries: Entries, history: History, excess: int, end: int, grafts: Grafts, protect: int) -> Siblings:
    """What to collapse at once so that the cost falls by `excess`, or as far as one round of collapses goes.

    Args:
        entries: a cut of all that exists.
        history: of the same entries.
        excess: by how much the cost is too high.
        end: the position behind all that was placed on the timeline.
        grafts: the images of the timeline.
        protect: so many positions at the end come last.
    """
    groups = siblings(entries, end, grafts)
    protected = groups.reach(entries) > end - protect
    order = np.lexsort((np.arange(len(groups)), groups.warmest(history.heat), protected))
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
    wished = given.astype(np.float64)
    return np.where(np.isnan(wished), 0.0, np.clip(wished, -1.0, 1.0))


def _least(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Where the least so many values stand, in ascending order; of equal ones the first come first."""
    if len(values) > count:
        bound = np.partition(values, count - 1)[count - 1]
        below = np.flatnonzero(values < bound)
        some = np.concatenate((below, np.flatnonzero(values == bound)[: count - len(below)]))
    else:
        some = np.arange(len(values))
    return some[np.argsort(values[some], kind="stable")]
