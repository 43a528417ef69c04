"""How is a level read that has more chunks than can be mapped?  Through a pool of slots that its chunks share.

A table says which chunk lies in which slot, and the chunk that was not used for longest makes room.  Nothing grows with
the number of chunks or with their numbers, so a sparse level of 2^40 chunks costs no more than a small one.

It assumes, as `mctree.storage.mapped` does, that files keep their size.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.arrays import ArrayLayout
from mctree.storage.mapped import RegionLevel
from mctree.storage.rows import OpenChunk, distinct

__all__ = ["PooledLevel"]

_PATIENCE = 1.0  # seconds: who was to wake others may have been interrupted
_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads neighbouring chunk numbers


class _Claim:
    """What a call holds while it reads: its ticket, once it has one."""

    __slots__ = ("ticket",)

    def __init__(self) -> None:
        self.ticket = 0


class PooledLevel(RegionLevel):
    """A level whose chunks share slots: a table says which chunk lies where, and idle chunks make room.

    A call takes a *ticket*, and stamps the slots that it uses with it.  The stamps are the order of use, and they pin:
    a slot is replaced only if its stamp is older than every ticket that is still out.  A call that finds no such slot
    waits in line, holding none.

    Tickets are given back without the lock, and by no function of Python's, at whose entry an interrupt could come: one
    that stays out would pin its slots, and keep whoever waits for them waiting for ever.
    """

    def __init__(
        self, layout: ArrayLayout, open_chunk: OpenChunk, capacity_rows: int, slots: int, *, resident: bool
    ) -> None:
        super().__init__(layout, open_chunk, capacity_rows, slots, resident=resident)
        self._most_hinted = min(self._most_hinted, max(1, slots // 2))  # others shall not lose their slots to a hint
        self._owner = np.full(slots, -1, np.int64)  # slot → the chunk that is mapped there
        self._table: dict[int, int] = {}  # chunk → its slot: the inverse of `_owner`
        # Hash of a chunk → the slot it was last seen in.  Only a guess: `_owner` tells whether it still holds.
        bits = max(slots * 8 - 1, 1).bit_length()
        self._guess = np.zeros(1 << bits, np.int64)
        self._shift = np.uint64(64 - bits)
        self._stamp = np.zeros(slots, np.int64)
        self._ticket = 0
        self._out: set[int] = set()
        self._line: deque[object] = deque()

    def _gather(self, rows: NDArray[np.int64], out: NDArray[Any], limit: int) -> None:
        chunks = rows // self._rows_per_chunk
        claim = _Claim()
        try:
            places = self._claim(claim, chunks, limit)
            if places is not None:
                places -= chunks
                places *= self._rows_per_chunk
                places += rows
                self._take(self._array(), places, out)
        finally:
            self._out.discard(claim.ticket)
            if self._line:
                self._wake()
        if places is None:
            self._gather_in_parts(rows, chunks, out, limit)

    def _gather_in_parts(
        self, rows: NDArray[np.int64], chunks: NDArray[np.int64], out: NDArray[Any], limit: int
    ) -> None:
        order = np.argsort(chunks, kind="stable")
        chunks = chunks[order]
        ends = np.searchsorted(chunks, distinct(chunks)[self._slots :: self._slots])
        for part in np.split(order, ends):
            found = np.empty((part.size, *self._row), self._dtype)
            self._gather(rows[part], found, limit)
            out[part] = found

    def _runs(self, starts: NDArray[np.int64], length: int, out: NDArray[Any], limit: int) -> None:
        chunks = starts // self._rows_per_chunk
        single = (starts + (length - 1)) // self._rows_per_chunk != chunks  # those that lie in several chunks
        claim = _Claim()
        try:
            slots = self._claim(claim, chunks, limit) if length <= self._rows_per_chunk else None
            if slots is None:
                single[:] = True
            else:
                places = starts + (slots - chunks) * self._rows_per_chunk
                # What would run over into the next slot copies other rows of its own, until it is put right below.
                np.minimum(places, (slots + 1) * self._rows_per_chunk - length, out=places)
                self._take_runs(self._array(), places, length, out)
        finally:
            self._out.discard(claim.ticket)
            if self._line:
                self._wake()
        for i in np.flatnonzero(single).tolist():
            start = int(starts[i])
            self._read(start, start + length, out[i], limit)

    def _read(self, start: int, stop: int, out: NDArray[Any], limit: int) -> None:
        for chunk in range(start // self._rows_per_chunk, self.layout.chunks(stop)):
            first, last = max(start, self._end(chunk - 1)), min(stop, self._end(chunk))
            claim = _Claim()
            try:
                slots = self._claim(claim, np.array([chunk]), limit)
                assert slots is not None  # one chunk has room in any pool
                place = first + (int(slots[0]) - chunk) * self._rows_per_chunk
                self._copy(self._array(), place, out[first - start : last - start])
            finally:
                self._out.discard(claim.ticket)
                if self._line:
                    self._wake()

    def _view(self, start: int, stop: int, limit: int) -> NDArray[Any]:
        rows = np.empty((stop - start, *self._row), self._dtype)
        self._read(start, stop, rows, limit)
        rows.flags.writeable = False
        return rows

    def _hint(self, rows: NDArray[np.int64], limit: int) -> None:
        chunks = rows // self._rows_per_chunk
        claim = _Claim()
        try:
            slots = self._claim(claim, chunks, limit, wait=False)
            if slots is not None and not self._huge:  # else those who use the slots now need them more
                self._advise(rows + (slots - chunks) * self._rows_per_chunk, 1)
        finally:
            self._out.discard(claim.ticket)
            if self._line:
                self._wake()

    def _unready(self, chunk: int) -> None:
        slot = self._table.get(chunk)
        if slot is not None:
            self._owner[slot] = -1  # its stamp stays: somebody may be reading there
            del self._table[chunk]

    def _forget_threads(self) -> None:
        self._out.clear()
        self._line.clear()
        self._table = {chunk: slot for slot, chunk in enumerate(self._owner.tolist()) if chunk >= 0}

    def _claim(
        self, claim: _Claim, chunks: NDArray[np.int64], limit: int, *, wait: bool = True
    ) -> NDArray[np.int64] | None:
        """Map chunks, and pin them until the ticket is out no more.

        Args:
            claim: is told the ticket.
            chunks: numbers `int64 [n]`, duplicates allowed.
            limit: how many rows the caller may see.
            wait: whether to wait for slots that others use.

        Returns:
            The slot of each chunk, `int64 [n]`.  None if there are more different chunks than slots, or if it would
            have to wait and shall not.
        """
        turn: object | None = None
        lock = self._guarded()
        with lock:
            try:
                while True:
                    if not self._line or self._line[0] is turn:
                        self._ticket += 1
                        slots = self._place(chunks, limit, self._ticket)
                        if slots is not None:
                            claim.ticket = self._ticket
                            self._out.add(claim.ticket)
                            return slots
                    if not wait or (turn is None and distinct(chunks).size > self._slots):
                        return None
                    if turn is None:
                        turn = object()
                        self._line.append(turn)
                    self._changed.wait(_PATIENCE)
            finally:
                if turn is not None:
                    self._line.remove(turn)
                    self._changed.notify_all()

    def _wake(self) -> None:
        """Have those who wait look again."""
        with self._guarded():
            self._changed.notify_all()

    def _place(self, chunks: NDArray[np.int64], limit: int, ticket: int) -> NDArray[np.int64] | None:
        """The slot of each chunk, all mapped and stamped; None if too few slots are free.  With the lock held."""
        self._doubt(limit)
        slots = self._guess.take(self._hashes(chunks))
        wrong = self._owner.take(slots) != chunks
        if np.count_nonzero(wrong):
            asked = distinct(chunks[wrong])
            found = np.array([self._table.get(chunk, -1) for chunk in asked.tolist()])
            self._stamp[slots[~wrong]] = ticket
            self._stamp[found[found >= 0]] = ticket
            missing = np.flatnonzero(found < 0)
            if missing.size > self._slots:
                return None
            if missing.size:
                oldest = np.argpartition(self._stamp, missing.size - 1)[: missing.size]
                if self._stamp[oldest].max() >= min(tuple(self._out), default=ticket):
                    return None
                for slot, chunk in zip(oldest.tolist(), asked[missing].tolist(), strict=True):
                    self._replace(slot, chunk, limit)
                found[missing] = oldest
            self._guess[self._hashes(asked)] = found
            slots[wrong] = found[np.searchsorted(asked, chunks[wrong])]
        self._stamp[slots] = ticket
        return slots

    def _replace(self, slot: int, chunk: int, limit: int) -> None:
        # In this order, so that at every moment (a fork may come at any) `_owner` names only what is mapped.
        old = int(self._owner[slot])
        if old >= 0:
            self._owner[slot] = -1
            del self._table[old]
            self._absent.pop(old, None)
        self._install(slot, chunk, limit)
        self._owner[slot] = chunk
        self._table[chunk] = slot

    def _hashes(self, chunks: NDArray[np.int64]) -> NDArray[np.int64]:
        hashes = chunks.view(np.uint64) * _HASH
        hashes >>= self._shift
        return hashes.view(np.int64)
