"""What is different for a working context on a newer ground?  What is gone, what says something else, what has come.

What was placed on the timeline never moves and what is dead stays dead, so there only deaths and the new end matter.
An image may have grown within its slot: its entries are asked again, and what nobody covers yet has come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mctree.focus.covers import holes
from mctree.focus.entries import IMAGE_MODALITY, Entries, Nodes
from mctree.focus.ground import BLOCK, Ground, widths
from mctree.geometry import intervals

__all__ = ["arrived", "stay", "touched"]


def stay(entries: Entries, old: Ground, new: Ground) -> NDArray[np.bool_]:
    """Which entries are still there: `bool [n]`; unfinished blocks always come anew."""
    kept = (entries.slot < old.end) & new.exist(entries.nodes)
    inside = np.flatnonzero(entries.space > 0)
    if len(inside):
        block = entries.slot[inside] // BLOCK
        before, after = old.grafts.at(block), new.grafts.at(block)
        same = after >= 0
        same[same] = old.grafts.take(before[same]).same(new.grafts.take(after[same]))
        kept[inside] &= same
    return kept


def touched(entries: Entries, old: Ground, new: Ground) -> NDArray[np.bool_]:
    """Of which entries the new ground may say something else than the old one: `bool [n]`."""
    marked: NDArray[np.bool_] = entries.modality == IMAGE_MODALITY
    if not np.array_equal(old.world.dead, new.world.dead):
        spans = np.column_stack((entries.start, entries.stop))
        died = intervals.overlap(new.world.dead, spans) != intervals.overlap(old.world.dead, spans)
        marked |= died & (entries.space == 0)
    return marked


def arrived(entries: Entries, new: Ground) -> Nodes:
    """What the new ground has and no entry stands for, as its smallest cover, unfinished blocks last."""
    image = entries.space > 0
    start, stop = np.where(image, entries.slot, entries.start), np.where(image, entries.slot + BLOCK, entries.stop)
    parts = [holes(new.world, np.column_stack((start, stop)), 0, new.end, 0, 0)]
    for slot in np.unique(entries.slot[image]).tolist():
        some = np.flatnonzero(image & (entries.slot == slot))
        graft = new.grafts.take(new.grafts.at(np.array([slot // BLOCK])))
        space, root = int(graft.space[0]), int(graft.index[0])
        wide = int(widths(graft.space, graft.level)[0])
        spans = np.column_stack((entries.start[some], entries.stop[some]))
        parts.append(holes(new.arena(space), spans, root * wide, (root + 1) * wide, space, slot))
    return Nodes.joined([*parts, new.tail_nodes()])
