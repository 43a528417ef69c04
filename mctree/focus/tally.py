"""How does a working context behave over time?  A few counters, and the rates that follow from them.

Counting is all that is done here; nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from mctree.focus.allocator import Blocked

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """What has happened to a working context since it was made.

    Attributes:
        steps: steps taken.
        expanded: nodes expanded, by steps or by hand.
        collapsed: nodes collapsed likewise.
        forced: nodes collapsed at once to make room for what arrived; not among `collapsed`.
        refocused: how often it moved to a newer snapshot.
        arrived: entries that came with newer snapshots.
        died: entries that newer snapshots no longer have.
        blocked: what scores asked for and did not get.
        entry_steps: entries at the end of each step, added up.
        cost_steps: their cost, added up.
        room_steps: the budget, added up.
        entered_cost: the cost of all that entered in steps.
        stays: for how many steps those entries were there that an edit took away, added up.
        gone: how many these were.
    """

    steps: int = 0
    expanded: int = 0
    collapsed: int = 0
    forced: int = 0
    refocused: int = 0
    arrived: int = 0
    died: int = 0
    blocked: Blocked = field(default_factory=Blocked)
    entry_steps: int = 0
    cost_steps: int = 0
    room_steps: int = 0
    entered_cost: int = 0
    stays: int = 0
    gone: int = 0

    @property
    def swap_rate(self) -> float:
        """Edits for each entry and step."""
        return (self.expanded + self.collapsed) / self.entry_steps if self.entry_steps else 0.0

    @property
    def residency(self) -> float | None:
        """For how many steps an entry stays, on average over those that an edit took away; None if none was."""
        return self.stays / self.gone if self.gone else None

    @property
    def utilisation(self) -> float:
        """How much of the budget is used, on average over steps."""
        return self.cost_steps / self.room_steps if self.room_steps else 0.0

    @property
    def churn(self) -> float:
        """Which part of the cost is new in a step, on average over steps."""
        return self.entered_cost / self.cost_steps if self.cost_steps else 0.0

    def json(self) -> dict[str, object]:
        """Counters and rates, as JSON."""
        return {
            "steps": self.steps,
            "expanded": self.expanded,
            "collapsed": self.collapsed,
            "forced": self.forced,
            "blocked": asdict(self.blocked),
            "swap_rate": self.swap_rate,
            "residency": self.residency,
            "utilisation": self.utilisation,
            "churn": self.churn,
        }
