"""Which rows are resident, and where?  A page table over a fixed number of slots.

A row is known by its key, so a row of another version is another row, and nothing stale is ever found.  What is held
(a working context shows it, or something below it) or pinned is never evicted.  Of the rest, eviction is slow, so that
what was let go of a moment ago can be taken up again: it begins when more than `high` of the slots are taken, and takes
rows that nobody has used for `linger` steps, the longest unused first, the finer ones first among equals, until no more
than `low` are taken.  Only a row that a context needs at once may have one that was used more recently evicted.

A pool is plain bookkeeping over integers: it has no idea what its slots hold, and where.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.streaming.nodes import Key

__all__ = ["FREE", "MISSING", "Pool"]

MISSING = -1
"""The slot of a row that is not resident."""

FREE = -1
"""The step in which a free slot was used last."""

_FILLING = np.iinfo(np.int64).max
"""The step in which a slot was used last whose row is on its way: nothing evicts it."""


class Pool:
    """Slots for rows of one plane.

    Args:
        slots: how many.
        high: the part of them above which eviction begins.
        low: the part of them to which it goes.
        linger: for so many steps, what is used no more stays.

    Attributes:
        evicted: keys that were evicted and have not been asked for yet by `evictions`.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(self, slots: int, *, high: float = 0.95, low: float = 0.80, linger: int = 15) -> None:
        if slots < 1:
            raise UsageError(f"a residency pool has at least 1 slot, not {slots}")
        if not 0 <= low <= high <= 1:
            raise UsageError(f"eviction goes from a higher part of the slots to a lower one, not from {high} to {low}")
        if linger < 0:
            raise UsageError(f"rows linger for 0 steps at least, not {linger}")
        self.slots = slots
        self.linger = linger
        self._high, self._low = int(high * slots), int(low * slots)
        self._table: dict[Key, int] = {}
        self._keys: list[Key | None] = [None] * slots
        self._free = list(range(slots - 1, -1, -1))
        self._last = np.full(slots, FREE, np.int64)
        self._kept = np.zeros(slots, np.int64)
        self._level = np.zeros(slots, np.int64)
        self._pins: dict[Key, int] = {}
        self.evicted: list[Key] = []

    def __repr__(self) -> str:
        return f"<Pool: {self.taken} of {self.slots} slots taken, {int(np.count_nonzero(self._kept))} kept>"

    def __len__(self) -> int:
        return len(self._table)

    @property
    def taken(self) -> int:
        """Slots that are not free."""
        return self.slots - len(self._free)

    @property
    def kept(self) -> int:
        """Slots of rows that are held or pinned."""
        return int(np.count_nonzero(self._kept))

    def __contains__(self, key: Key) -> bool:
        return key in self._table

    def find(self, keys: Sequence[Key]) -> NDArray[np.int64]:
        """The slots of rows, `MISSING` where one is not resident: `int64 [n]`."""
        get = self._table.get
        return np.array([get(key, MISSING) for key in keys], np.int64)

    def keys(self) -> list[Key]:
        """All rows that are resident."""
        return list(self._table)

    def room(self, step: int, *, needed: bool) -> int:
        """How many slots could be had in a step.

        Args:
            step: the number of the step.
            needed: for rows that a context needs at once.
        """
        return len(self._free) + int(np.count_nonzero(self._evictable(step, 1 if needed else self.linger)))

    def take(self, keys: Sequence[Key], step: int, *, needed: bool) -> NDArray[np.int64]:
        """Slots for rows that are about to arrive, which are not resident and have none: `int64 [n]`.

        As many get one as there is room for, the first ones first; the others get `MISSING`.
        """
        found = np.full(len(keys), MISSING, np.int64)
        lacking = len(keys) - len(self._free)
        if lacking > 0:
            self._evict(lacking, step, 1 if needed else self.linger)
        for i, key in enumerate(keys[: len(self._free)]):
            found[i] = slot = self._free.pop()
            self._keys[slot] = key
            self._last[slot] = _FILLING
            self._level[slot] = key[1]
        return found

    def publish(self, slots: NDArray[np.int64], step: int) -> None:
        """The rows of slots that were taken have arrived; each slot once."""
        for slot in slots.tolist():
            key = self._keys[slot]
            assert key is not None and key not in self._table
            self._table[key] = slot
            self._kept[slot] += self._pins.get(key, 0)
        self._last[slots] = step

    def pin(self, key: Key) -> None:
        """Let a row stay, from when it arrives if it is not resident yet; as often as this is done, undo it."""
        self._pins[key] = self._pins.get(key, 0) + 1
        if (slot := self._table.get(key)) is not None:
            self._kept[slot] += 1

    def unpin(self, key: Key, step: int) -> None:
        """Undo `pin`; it was used until this step."""
        self._pins[key] -= 1
        if not self._pins[key]:
            del self._pins[key]
        if (slot := self._table.get(key)) is not None:
            self.let_go(np.array([slot]), step)

    def hold(self, slots: NDArray[np.int64]) -> None:
        """Let rows stay that are resident; as often as this is done, undo it."""
        np.add.at(self._kept, slots, 1)

    def let_go(self, slots: NDArray[np.int64], step: int) -> None:
        """Undo `hold`; they were used until this step."""
        np.subtract.at(self._kept, slots, 1)
        self._last[slots] = step

    def trim(self, step: int) -> None:
        """Evict what nobody has used for long, if the pool is too full."""
        if self.taken > self._high:
            self._evict(self.taken - self._low, step, self.linger)

    def evictions(self) -> list[Key]:
        """What was evicted since this was asked last."""
        gone, self.evicted = self.evicted, []
        return gone

    def _evictable(self, step: int, unused: int) -> NDArray[np.bool_]:
        """The rows that nobody holds and that were last used so many steps ago, or before: `bool [slots]`."""
        marked: NDArray[np.bool_] = (self._kept == 0) & (self._last != FREE) & (self._last <= step - unused)
        return marked

    def _evict(self, count: int, step: int, unused: int) -> None:
        """Evict so many rows, if there are so many that can be."""
        some = np.flatnonzero(self._evictable(step, unused))
        order = np.lexsort((some, self._level[some], self._last[some]))
        for slot in some[order[:count]].tolist():
            key = self._keys[slot]
            assert key is not None
            del self._table[key]
            self._keys[slot] = None
            self._last[slot] = FREE
            self._free.append(slot)
            self.evicted.append(key)
