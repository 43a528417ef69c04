"""Who waits for which row, and what are they told?  A row is asked for once, and all who want it hear of it.

A row that a stream has left behind, because it follows another commit by now, is asked for anew at that one, whatever
became of it: its snapshot may have been closed.  A row of a commit that is only foreseen is not left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from mctree.errors import BusyError
from mctree.streaming.counters import Counters
from mctree.streaming.desk import Desk
from mctree.streaming.fetch import NO_ROW, Fetch
from mctree.streaming.nodes import Key, Nodes, keys_of, plane_of
from mctree.streaming.pool import Pool
from mctree.streaming.queue import Wanted
from mctree.streaming.requests import Request
from mctree.streaming.uploads import Fate, Landed

__all__ = ["Asking"]


class Asking:
    """What was asked for and has not arrived.  One thread uses it, but for `withdraw`.

    Args:
        desk: where rows wait.
        pools: what is resident, by plane.
        counters: are told what was asked for and not had.
        fetch: where rows are read from at the commit that is followed.

    Attributes:
        fetch: the same.
    """

    def __init__(self, desk: Desk, pools: Sequence[Pool], counters: Counters, fetch: Fetch) -> None:
        self.fetch = fetch
        self._desk = desk
        self._pools = pools
        self._counters = counters
        self._counting = threading.Lock()
        self._errors: dict[Key, BaseException] = {}
        self._asked = 0
        self._before = 0  # what was asked for before this commit was followed has a lower number, or this one
        self._quiet = False

    def hush(self) -> None:
        """Wake nobody who reads, until `wake`."""
        self._quiet = True

    def wake(self) -> None:
        """Let them begin to read what was asked for meanwhile."""
        if self._quiet:
            self._quiet = False
            with self._desk.lock:
                self._desk.changed.notify_all()

    def ask(
        self, keys: Sequence[Key], scores: Sequence[float], fetch: Fetch, request: Request, *, needed: bool
    ) -> None:
        """Let rows be read that are neither resident nor on their way.

        Raises:
            UsageError: more pinned rows wait than may.
        """
        asked = []
        for key, score in zip(keys, scores, strict=True):
            if key not in self._pool(key):
                self._asked += 1
                asked.append(Wanted(key, fetch, (not request.pinned, -key[1], -score, self._asked), needed))
        if not asked:
            return
        with self._desk.lock:
            fresh = self._desk.ask(asked, request)
            shed = self._desk.queue.shed()
            if not self._quiet:
                self._desk.changed.notify_all()
        self._counters.count("requested", fresh)
        self._counters.count("shed", shed)
        self._refuse(shed, "too many rows wait to be read: ask for fewer at a time")

    def withdraw(self, request: Request) -> None:
        """A request was cancelled, perhaps by another thread: what nobody else wants is not read."""
        with self._desk.lock:
            gone = self._desk.withdraw(request, request.keys)
        self._cancelled(gone)

    def error(self, keys: Sequence[Key]) -> BaseException | None:
        """Why a row of these could not be read when that was tried last, and forget it; None if none has failed."""
        found = [error for key in keys if (error := self._errors.pop(key, None)) is not None]
        return found[0] if found else None

    @property
    def quiet(self) -> bool:
        """Whether nobody is woken who reads."""
        return self._quiet

    @property
    def failed(self) -> bool:
        """Whether there is any error that was not asked about."""
        return bool(self._errors)

    def landed(self, rows: Iterable[Landed]) -> None:
        """Tell whoever has asked for rows what has become of them."""
        for row in rows:
            wanted = row.wanted
            if row.fate is Fate.RESIDENT:
                for request in wanted.requests:
                    request.arrived()
            elif row.error is not None:
                self._failed(wanted, row.error)
            elif not wanted.requests:
                self._cancelled([wanted])
            elif row.fate is Fate.REFUSED:
                self._counters.of(wanted.image).refused += 1
                self._refuse([wanted], "no slot of the residency pool is free: make it larger, or let go of more")
            else:
                # Somebody has asked for it since it was passed over.
                self._again([wanted])

    def follow(self, fetch: Fetch, pinned: Iterable[Request], step: int) -> None:
        """Another commit is followed from now on: what waits or is pinned, and is another row there, is asked for anew.

        Args:
            fetch: where it is read from.
            pinned: all requests whose rows are pinned; from now on, the rows of that commit are.
            step: the number of the turn.
        """
        self.fetch = fetch
        self._before = self._asked
        self._errors.clear()  # what could not be read there may well be here
        with self._desk.lock:
            waiting = self._desk.queue.clear()
        for request in pinned:
            keys = self._keys_now(request.keys)
            changed = [(old, new) for old, new in zip(request.keys, keys, strict=True) if old != new]
            for old, new in changed:
                self._pool(old).unpin(old, step)
                if new is not None:
                    self._pool(new).pin(new)
            request.keys = [key for key in keys if key is not None]
            fresh = [new for _, new in changed if new is not None]
            self.ask(fresh, [0.0] * len(fresh), fetch, request, needed=False)
        self._again(waiting)

    # Within

    def _pool(self, key: Key) -> Pool:
        return self._pools[plane_of(key[0], key[1])]

    def _keys_now(self, keys: Sequence[Key]) -> list[Key | None]:
        """What the same nodes are known by at the commit that is followed; None for those without a row."""
        space, level, index, _ = np.array(keys, np.int64).reshape(-1, 4).T
        nodes = Nodes(space, level, index, index)
        versions = self.fetch.versions(nodes)
        return [
            None if version == NO_ROW else key
            for key, version in zip(keys_of(nodes, versions), versions.tolist(), strict=True)
        ]

    def _left_behind(self, wanted: Wanted) -> bool:
        return wanted.fetch is not self.fetch and wanted.rank[-1] <= self._before

    def _again(self, rows: Sequence[Wanted]) -> None:
        """Ask anew for rows that were not read or not kept, at the commit that is followed if theirs was left."""
        left = [wanted.key for wanted in rows if self._left_behind(wanted)]
        now = dict(zip(left, self._keys_now(left), strict=True))
        for wanted in rows:
            key = now.get(wanted.key, wanted.key)
            fetch = self.fetch if wanted.key in now else wanted.fetch
            if key == wanted.key and self._desk.put_back(wanted, fetch):
                continue
            self._cancelled([wanted])
            for request in wanted.requests:
                # Where the version is another, `follow` has seen to what is pinned.
                if key is not None and (key == wanted.key or not request.pinned):
                    if key != wanted.key:
                        request.keys.append(key)
                    self.ask([key], [-wanted.rank[2]], fetch, request, needed=wanted.needed)
                request.arrived()

    def _failed(self, wanted: Wanted, error: Exception) -> None:
        if self._left_behind(wanted):
            self._again([wanted])
            return
        self._counters.of(wanted.image).failures += 1
        if wanted.needed:
            self._errors[wanted.key] = error
        for request in wanted.requests:
            request.failed(error)

    def _refuse(self, rows: Sequence[Wanted], why: str) -> None:
        for wanted in rows:
            for request in wanted.requests:
                request.failed(BusyError(why))

    def _cancelled(self, rows: Sequence[Wanted]) -> None:
        """Count rows that nobody wanted any more: the only count that other threads change too."""
        with self._counting:
            self._counters.count("cancelled", rows)
