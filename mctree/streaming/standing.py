"""What is seen of a working context while part of it is missing?  Ancestors that stand in, each for its whole subtree.

Entries lie in order, so what is below a node of the timeline, or of an image, is one run of them.  A run that misses
anything is replaced by the ancestor that stands in for it, and where one stand-in lies below another, by the outer one.
So what is seen is again a cut: nothing is left out, nothing is shown twice, and it costs no more than the context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.streaming.nodes import Nodes

__all__ = ["Seen", "replaced"]


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What can be looked at now, in the order of the working context.

    Attributes:
        nodes: entries, and ancestors that stand in for some.
        slots: where the row of each is within its plane; `device.slots[plane]`, a row of zeros, for one that has no
            row: `int64 [m]`.
        row: which entry of the working context each one is, -1 for one that stands in, `int64 [m]`.
        replaced: how many entries others stand in for.
    """

    nodes: Nodes
    slots: NDArray[np.int64]
    row: NDArray[np.int64]
    replaced: int

    def __len__(self) -> int:
        return len(self.row)

    @property
    def whole(self) -> bool:
        """Whether these are just the entries."""
        return self.replaced == 0


def replaced(nodes: Nodes, slots: NDArray[np.int64], stand_ins: Nodes, their_slots: NDArray[np.int64]) -> Seen:
    """Entries, with what lies below stand-ins replaced by them.

    Args:
        nodes: all entries, in order.
        slots: theirs.
        stand_ins: ancestors of some of them, in any order, perhaps one several times; all that is missing is below one.
        their_slots: the slots of these.
    """
    first, stop = below(nodes, stand_ins)
    # The widest first among those that begin together: whoever then begins before the end of the last is below it.
    order = np.lexsort((-stop, first))
    outer: list[int] = []
    end = 0
    for i in order.tolist():
        if first[i] >= end:
            outer.append(i)
            end = int(stop[i])
    chosen = np.array(outer, np.int64)
    kept = np.ones(len(nodes) + 1, np.int64)
    kept[-1] = 0
    for i in outer:
        kept[first[i] : stop[i]] = 0
    rows = np.flatnonzero(kept)
    every = Nodes.joined([nodes.take(rows), stand_ins.take(chosen)])
    place = np.argsort(np.concatenate((rows, first[chosen])), kind="stable")
    row = np.concatenate((rows, np.full(len(chosen), -1, np.int64)))
    where = np.concatenate((slots[rows], their_slots[chosen]))
    return Seen(every.take(place), where[place], row[place], len(nodes) - len(rows))


def below(nodes: Nodes, above: Nodes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The runs [first, stop) of entries that lie below each of some nodes: `int64 [k]` each."""
    first = np.searchsorted(nodes.slot, above.slot)
    stop = np.searchsorted(nodes.slot, above.slot + above.widths() * (above.space == 0), side="left")
    inside = np.flatnonzero(above.space > 0)
    if len(inside):
        # Within an image all stand at one slot, and ascend by where they start in the arena.
        start, begin = nodes.starts(), above.starts()
        wide = above.widths()
        for i in inside.tolist():
            behind = int(np.searchsorted(nodes.slot, above.slot[i], side="right"))
            entries = start[first[i] : behind]
            lower, upper = np.searchsorted(entries, (begin[i], begin[i] + wide[i]))
            first[i], stop[i] = first[i] + lower, first[i] + upper
    return first, stop
