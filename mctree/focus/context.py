"""What does a model read?  A working context: a small view of all there is, in mixed detail, within a budget.

It is a cut: every position that exists is under exactly one entry, and a gist stands for all that its node holds.  It
changes by expanding and collapsing nodes, by itself (`step`, which follows the scores of a lens) or by hand, and by
moving to a newer snapshot (`refocus`).  Each change happens as a whole or not at all, keeps to the budget, and says
what has entered and what has left.

All it knows is in flat arrays (`entries`), in which a step costs the same whatever the size of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import BudgetTooSmall, UsageError
from mctree.focus.allocator import Allocator, Blocked, wishes
from mctree.focus.arrivals import arrived, stay, touched
from mctree.focus.checking import Breach, first_breach
from mctree.focus.covers import around, newest, require, smallest
from mctree.focus.diff import Diff
from mctree.focus.draft import Draft
from mctree.focus.entries import Entries, Nodes
from mctree.focus.ground import BLOCK, Ground
from mctree.focus.history import History
from mctree.focus.lens import Lens, Look
from mctree.focus.siblings import Siblings, siblings
from mctree.focus.tally import Tally
from mctree.focus.timeline import SnapshotGround
from mctree.geometry import Address, Cut
from mctree.geometry.integers import whole
from mctree.tree.arguments import as_address

if TYPE_CHECKING:
    from mctree.tree import GistView, Snapshot

__all__ = ["Change", "Resident", "WorkingContext"]

_NONE = np.empty(0, np.int64)

Resident = Callable[[Entries, NDArray[np.float64]], NDArray[np.bool_]]
"""Of entries that a lens wants expanded, `[k]`, and their scores: which have all their children at hand, `bool [k]`."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one call has done to a working context.

    Attributes:
        diff: the rows that left and entered.
        expanded: nodes expanded.
        collapsed: nodes collapsed.
        forced: nodes collapsed to make room for what arrived, not among `collapsed`.
        blocked: what scores asked for and did not get.
    """

    diff: Diff
    expanded: int = 0
    collapsed: int = 0
    forced: int = 0
    blocked: Blocked = field(default_factory=Blocked)

    @property
    def edits(self) -> int:
        """Nodes expanded and collapsed."""
        return self.expanded + self.collapsed


class WorkingContext:
    """A cut with a budget; made by `smallest`, `recent`, `around` or `of`.

    Attributes:
        budget: what the entries may cost together.
        allocator: the rules of `step`.
        tally: what has happened so far.
    """

    def __init__(self, ground: Ground, nodes: Nodes, budget: int, allocator: Allocator | None = None) -> None:
        """Begin with nodes that make a cut of all that exists, in the order of `Entries`.

        Raises:
            BudgetTooSmall: they do not fit.
            UsageError: the budget is no integer.
        """
        whole(budget, "a budget")
        self.budget = budget
        self.allocator = allocator or Allocator()
        self.tally = Tally()
        self._ground = ground
        self._entries = Entries.of(ground, nodes)
        self._history = History.new(len(nodes), 0)
        self._step = 0
        if self.cost > budget:
            raise BudgetTooSmall(f"a budget of {budget} is too small for a view that costs {self.cost}", self.cost)

    @classmethod
    def smallest(cls, on: Snapshot | Ground, budget: int, allocator: Allocator | None = None) -> WorkingContext:
        """All there is, in as few entries as can be.

        Args:
            on: a snapshot, which stays open as long as the context is used; or another ground.
            budget: what the entries may cost together.
            allocator: the rules of `step`.

        Raises:
            BudgetTooSmall: even that costs more.
        """
        ground = _ground(on)
        require(ground, budget)
        return cls(ground, smallest(ground), budget, allocator)

    @classmethod
    def recent(cls, on: Snapshot | Ground, budget: int, allocator: Allocator | None = None) -> WorkingContext:
        """As many of the newest blocks at LOD0 as the budget allows; what is older gets coarser with its age.

        Raises:
            BudgetTooSmall: not even the smallest cover fits.
        """
        ground = _ground(on)
        return cls(ground, newest(ground, budget), budget, allocator)

    @classmethod
    def around(
        cls,
        on: Snapshot | Ground,
        spans: Iterable[tuple[int, int]],
        budget: int,
        allocator: Allocator | None = None,
    ) -> WorkingContext:
        """The blocks that meet spans of positions [start, stop) at LOD0, and the smallest cover of all else.

        Raises:
            BudgetTooSmall: they do not fit.
            UsageError: a span is none, or reaches beyond what was placed.
        """
        ground = _ground(on)
        return cls(ground, around(ground, spans, budget), budget, allocator)

    @classmethod
    def of(cls, on: Snapshot | Ground, cut: Cut, budget: int, allocator: Allocator | None = None) -> WorkingContext:
        """A cut of the timeline of one's own, with no nodes of level 0.

        Raises:
            BudgetTooSmall: it does not fit.
            UsageError: it is no cut of all that was placed.
        """
        ground = _ground(on)
        nodes = Nodes.joined([Nodes.of_timeline(cut.level, cut.index, cut.starts()), ground.tail_nodes()])
        if breach := first_breach(ground, nodes):
            raise UsageError(f"that is no cut of all there is: {breach}")
        return cls(ground, nodes, budget, allocator)

    def __repr__(self) -> str:
        return (
            f"<WorkingContext of commit {self.commit}: {len(self)} entries, {len(self.blocks)} blocks at LOD0, "
            f"cost {self.cost} of {self.budget}>"
        )

    # What it is

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ground(self) -> Ground:
        """What it stands on."""
        return self._ground

    @property
    def commit(self) -> int:
        """The commit that it shows."""
        return self._ground.commit

    @property
    def entries(self) -> Entries:
        """Its rows; they do not change: a changed context has others."""
        return self._entries

    @property
    def history(self) -> History:
        """What happened to its rows."""
        return self._history

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._step

    @property
    def cost(self) -> int:
        """What its entries cost together: at most the budget."""
        return int(self._entries.cost.sum())

    @property
    def blocks(self) -> NDArray[np.int64]:
        """The placed blocks that it shows at LOD0, ascending: indices of level 1, `int64 [k]`."""
        entries = self._entries
        shown = (entries.level == 0) & (entries.space == 0) & (entries.index < self._ground.end)
        blocks: NDArray[np.int64] = entries.index[shown] // BLOCK
        return blocks

    def without_gist(self, gists: GistView) -> NDArray[np.bool_]:
        """Which entries above LOD0 have no gist in a set, or none yet: `bool [n]`."""
        entries = self._entries
        missing = np.zeros(len(entries), np.bool_)
        for space, level in set(zip(entries.space.tolist(), entries.level.tolist(), strict=True)):
            if level:
                some = (entries.space == space) & (entries.level == level)
                missing[some] = gists.lacking(space, level, entries.index[some])
        return missing

    def lacking(self) -> list[Address]:
        """The leaves that the last scores wanted expanded, the most wanted first: nodes of images, roots for slots.

        What is below them has to be brought into the tree before they can be (`Writer.deepen_image`).
        """
        entries, heat = self._entries, self._history.heat
        # What came in the last step was not scored itself yet.
        scored = self._history.born < self._step
        wanted = np.flatnonzero(self.allocator.wanted(entries, self._history) & entries.leaves & scored)
        found = []
        for i in wanted[np.argsort(-heat[wanted], kind="stable")].tolist():
            address = entries.address(i)
            if not address.space:
                at = int(self._ground.grafts.at(np.array([address.index]))[0])
                space, level, index = self._ground.grafts.integers[1:, at].tolist()
                address = Address(space, level, index)
            found.append(address)
        return found

    def check(self) -> Breach | None:
        """The first invariant that is broken, with where and how; None, as always, if none is."""
        return first_breach(self._ground, self._entries.nodes, self._entries, self.budget)

    # How it changes

    def step(self, lens: Lens | NDArray[np.floating[Any]], resident: Resident | None = None) -> Change:
        """Follow a lens: expand what it wants more of, collapse what it wants less of, by the allocator's rules.

        Args:
            lens: asked for scores once in each of the allocator's rounds; or the scores themselves, one for each
                entry, for one round.
            resident: asked, once in each round, which of the entries that are wanted in more detail have that detail
                at hand; the others stay as they are.  Without it, all are expanded at once.

        Raises:
            UsageError: there is not one score for each entry.
        """
        draft = Draft(self._ground, self._entries, self._history, self._step + 1)
        blocked = Blocked()
        for _ in range(1 if isinstance(lens, np.ndarray) else self.allocator.rounds):
            scores = lens if isinstance(lens, np.ndarray) else lens.score(self._look(draft))
            draft.history = draft.history.scored(wishes(scores, len(draft.entries)))
            ready = None if resident is None else self._ready(draft, resident)
            plan = self.allocator.plan(draft.entries, draft.history, self.budget, draft.step, self._ground.end, ready)
            blocked += plan.blocked
            if not plan:
                break
            draft.edit(plan.expand, plan.collapse)
        change = Change(draft.done(), draft.expanded, draft.collapsed, 0, blocked)
        self._step += 1
        self._take(draft, change)
        tally = self.tally
        tally.steps += 1
        tally.blocked += blocked
        tally.entry_steps += len(self)
        tally.cost_steps += self.cost
        tally.room_steps += self.budget
        tally.entered_cost += int(change.diff.entered.cost.sum())
        return change

    def expand(self, node: Address | str | tuple[int, int]) -> Change:
        """Put all existing children of an entry in its place; the inverse of `collapse`.

        Raises:
            UsageError: it is no entry, one at LOD0, or one of which nothing finer is in the tree.
            BudgetTooSmall: there is no room for them.
        """
        i = self._row(as_address(node))
        entries = self._entries
        if entries.level[i] == 0:
            raise UsageError(f"entry {node} is at LOD0: there is no more detail")
        if entries.leaves[i]:
            raise UsageError(
                f"entry {node} lies where its image is coarse, and nothing below it is in the tree: let a writer "
                "deepen the image there, then refocus"
            )
        needed = self.cost + int(entries.growth[i])
        if needed > self.budget:
            raise BudgetTooSmall(
                f"expanding {node} would cost {entries.growth[i]} more, and {self.budget - self.cost} are left", needed
            )
        draft = self._draft()
        draft.edit(np.array([i]), Siblings.none())
        return self._take(draft, Change(draft.done(), expanded=1))

    def collapse(self, node: Address | str | tuple[int, int]) -> Change:
        """Put a node in the place of its children, all of which are entries; the inverse of `expand`.

        Raises:
            UsageError: not all of its children are entries, or it has none.
        """
        address = as_address(node)
        entries = self._entries
        groups = siblings(entries, self._ground.end)
        above = groups.nodes(entries, self._ground.grafts)
        is_it = (above.space == address.space) & (above.level == address.level) & (above.index == address.index)
        if not is_it.any():
            raise UsageError(f"node {node} cannot be collapsed: its children are not all entries")
        draft = self._draft()
        draft.edit(_NONE, groups.take(np.flatnonzero(is_it)))
        return self._take(draft, Change(draft.done(), collapsed=1))

    def refocus(self, on: Snapshot | Ground) -> Change:
        """Move to a newer snapshot of the same tree.

        What has died leaves, what was placed enters as its smallest cover, and unfinished blocks stand behind it.  If
        that breaks the budget, the coldest entries are collapsed at once.

        Args:
            on: the snapshot, which stays open as long as the context is used; or another ground.

        Raises:
            UsageError: it is an older one, or one of another tree, or of one that was compacted since: make a new
                context.
            BudgetTooSmall: not even the smallest cover fits.  Nothing has changed.
        """
        ground = _ground(on)
        if ground.identity != self._ground.identity:
            raise UsageError("a working context cannot move to another tree, nor past a compaction: make a new one")
        if ground.commit < self.commit:
            raise UsageError(f"a working context cannot move from commit {self.commit} back to {ground.commit}")
        require(ground, self.budget)
        draft = self._draft(ground)
        kept = stay(self._entries, self._ground, ground)
        draft.keep(kept)
        draft.look_again(touched(draft.entries, self._ground, ground))
        new = arrived(draft.entries, ground)
        draft.arrive(new)
        forced = draft.fit(self.budget, self.allocator)
        change = Change(draft.done(), forced=forced)
        self._ground = ground
        tally = self.tally
        tally.refocused += 1
        tally.forced += forced
        tally.arrived += len(new)
        tally.died += int(np.count_nonzero(~kept))
        return self._take(draft, change)

    # Within

    def _row(self, address: Address) -> int:
        entries = self._entries
        is_it = (entries.space == address.space) & (entries.level == address.level) & (entries.index == address.index)
        if not is_it.any():
            raise UsageError(f"node {address} is no entry of this working context")
        return int(np.argmax(is_it))

    def _ready(self, draft: Draft, resident: Resident) -> NDArray[np.bool_]:
        """Which entries may be expanded: `bool [n]`."""
        wanted = np.flatnonzero(self.allocator.wanted(draft.entries, draft.history) & ~draft.entries.leaves)
        ready = np.zeros(len(draft.entries), np.bool_)
        if len(wanted):
            ready[wanted] = resident(draft.entries.take(wanted), draft.history.heat[wanted])
        return ready

    def _look(self, draft: Draft) -> Look:
        return Look(draft.entries, draft.history, self.budget, draft.step, self._ground.world)

    def _draft(self, ground: Ground | None = None) -> Draft:
        return Draft(ground or self._ground, self._entries, self._history, self._step)

    def _take(self, draft: Draft, change: Change) -> Change:
        self._entries, self._history = draft.entries, draft.history
        self.tally.expanded += change.expanded
        self.tally.collapsed += change.collapsed
        self.tally.stays += draft.stays[0]
        self.tally.gone += draft.stays[1]
        return change


def _ground(on: Snapshot | Ground) -> Ground:
    return on if isinstance(on, Ground) else SnapshotGround(on)
