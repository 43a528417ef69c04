"""How do rows come from the tree to a device, ahead of need?  Asked for, read by threads, copied turn by turn.

    request ──► queue ──► threads read runs into the ring ──► copies, so many bytes a turn ──► page table
                 pinned > coarse > score                        a slot for each row              found from here on

`request` returns at once.  All that is decided is decided by the thread that calls `turn`, once for each step of the
model: it copies what was read, as far as the budget of the step goes, and lets rows be found whose copies are done.
Nothing waits, save `wait`, and that is counted.

The stream follows one commit.  `follow` moves it on: rows that a refresh replaced are another version, and not found.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.errors import BusyError, UsageError
from mctree.streaming.counters import Counters
from mctree.streaming.desk import Desk, Job
from mctree.streaming.device import Device
from mctree.streaming.fetch import NO_ROW, Fetch
from mctree.streaming.loading import Loader, Threads
from mctree.streaming.nodes import PLANES, Columns, Key, Nodes, keys_of, plane_of
from mctree.streaming.pool import MISSING, Pool
from mctree.streaming.queue import Wanted
from mctree.streaming.requests import Request

__all__ = ["Stream"]

_NO_LIMIT = 1 << 62
_A_MOMENT, _LONGER = 0.0002, 0.05


class Stream:
    """Rows on their way, and those that have arrived; closed by `close` or a `with` block.

    One thread uses it.  Others may cancel requests, and look at them.

    Args:
        fetch: where rows come from.
        device: where they go.
        loader: who reads, given the desk where the jobs are.
        upload_bytes: the most bytes that a turn copies to the device; a row of each plane fits at least.
        waiting: the most rows that wait to be read; beyond that the least urgent are given up.
        high: the part of a pool's slots above which eviction begins; see `Pool`.
        low: the part to which it goes.
        linger: for so many turns, what is used no more stays.
        clock: seconds, by which stalls are measured.

    Attributes:
        fetch: where rows come from now.
        device: where they go.
        step: how many turns there were.
        counters: what has happened so far.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(
        self,
        fetch: Fetch,
        device: Device,
        *,
        loader: Callable[[Desk], Loader] = Threads,
        upload_bytes: int = 4 << 20,
        waiting: int = 1 << 16,
        high: float = 0.95,
        low: float = 0.80,
        linger: int = 15,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        largest = max(plane.row_bytes for plane in fetch.planes if plane is not None)
        if upload_bytes < largest:
            raise UsageError(f"with {upload_bytes} bytes a turn, a row of {largest} would never be copied")
        if waiting < 1:
            raise UsageError(f"{waiting} rows may wait: nothing would ever be read")
        self.fetch = fetch
        self.device = device
        self.step = 0
        self.counters = Counters()
        self._upload_bytes = upload_bytes
        self._clock = clock
        self._pools = [Pool(max(count, 1), high=high, low=low, linger=linger) for count in device.slots]
        self._pinned: list[Request] = []
        self._unpinned: deque[Request] = deque()
        self._staged: list[Job] = []
        self._copying: list[tuple[Job, int, NDArray[np.int64]]] = []
        self._errors: dict[Key, BaseException] = {}
        self._asked = 0
        self._quiet = False
        self._pid = os.getpid()
        self._desk = Desk(fetch.planes, device.ring, waiting)
        self._loader = loader(self._desk)
        self._finalizer = weakref.finalize(self, self._desk.close)

    def __repr__(self) -> str:
        resident = sum(map(len, self._pools))
        return f"<Stream: {resident} rows resident, {len(self._desk.queue)} waiting, {self.step} turns>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more, and cancel what is not done."""
        if self._finalizer.detach() is None:
            return
        left = self._desk.close()
        if os.getpid() == self._pid:
            self._loader.close()
        for request in {request for wanted in left for request in wanted.requests}:
            request.cancel()

    # Asking

    def request(
        self,
        nodes: Columns,
        score: ArrayLike = 0.0,
        *,
        pinned: bool = False,
        needed: bool = False,
        fetch: Fetch | None = None,
    ) -> Request:
        """Let the rows of nodes come; returns at once.

        Args:
            nodes: in any order; what is resident, or on its way, is not read again.
            score: the higher, the sooner, among rows of one level: one number, or one for each node.
            pinned: before all others, and never evicted, until the request is given to `unpin`, or cancelled before it
                is done.
            needed: where there is no slot, evict what was used until a moment ago.
            fetch: where to read them; from where the stream reads now, if not given.

        Raises:
            UsageError: more pinned rows wait than may, they are of another tree, the stream is closed, or this is a
                fork of its process.
        """
        self._check()
        asked = Nodes.of(nodes)
        source = self.fetch if fetch is None else fetch
        if source.identity != self.fetch.identity:
            raise UsageError("rows of another tree or gist set, or of one that was compacted since: make a new stream")
        versions = source.versions(asked)
        there = versions != NO_ROW
        keys = keys_of(asked.take(there), versions[there])
        scores = np.broadcast_to(np.asarray(score, np.float64), len(asked))[there].tolist()
        request = Request(asked, keys, self._withdraw, pinned=pinned)
        request.left = 1  # until all have been asked for
        if pinned:
            self._pinned.append(request)
            for key in keys:
                self._pool(key).pin(key)
        try:
            self._ask(keys, scores, source, request, needed=needed)
        except UsageError:
            request.cancel()
            self.unpin(request)
            raise
        request.arrived()
        return request

    @contextmanager
    def together(self) -> Iterator[None]:
        """Ask for several things before anybody begins to read: whoever is woken takes time from who asks."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before
            with self._desk.changed:
                self._desk.changed.notify_all()

    def unpin(self, request: Request) -> None:
        """Let what a request has pinned be evicted again, whether it has arrived or not."""
        if request in self._pinned:
            self._pinned.remove(request)
            for key in request.keys:
                self._pool(key).unpin(key, self.step)

    def wait(self, request: Request) -> None:
        """Wait until a request is done; this is a stall, and counted as one.

        Raises:
            BusyError: too many rows wait, or there is no slot for them.
            CorruptError: what is on disk is not what was committed.
            CancelledError: it was cancelled.
        """
        self._check()
        began = self._clock()
        stalled = False
        while not request.done():
            self._settle(_NO_LIMIT)
            if not request.done():
                assert any(map(self.on_its_way, range(PLANES))), "a request that is not done has rows on their way"
                stalled = True
                self._loader.rest(_A_MOMENT if self._copying else _LONGER)
        if stalled:
            for image in set((request.nodes.space > 0).tolist()):
                count = self.counters.of(image)
                count.stalls += 1
                count.stall_s += self._clock() - began
        request.result()

    # Finding

    def find(self, nodes: Columns) -> NDArray[np.int64]:
        """The slots of nodes' rows within their planes: `int64 [n]`.

        `MISSING` where a row is not resident; the device's row of zeros, `device.slots[plane]`, where there is none.
        """
        asked = Nodes.of(nodes)
        versions = self.fetch.versions(asked)
        found = np.empty(len(asked), np.int64)
        for plane, some in _by_plane(asked):
            found[some] = self._pools[plane].find(keys_of(asked.take(some), versions[some]))
            found[some[versions[some] == NO_ROW]] = self.device.slots[plane]
        return found

    def hold(self, nodes: Nodes, slots: NDArray[np.int64]) -> None:
        """Let rows stay that `find` has found; as often as this is done, it has to be undone."""
        for plane, some in _by_plane(nodes):
            self._pools[plane].hold(self._own(plane, slots[some]))

    def let_go(self, nodes: Nodes, slots: NDArray[np.int64]) -> None:
        """Undo `hold`."""
        for plane, some in _by_plane(nodes):
            self._pools[plane].let_go(self._own(plane, slots[some]), self.step)

    def room(self, plane: int, most: int, *, needed: bool) -> int:
        """For how many more rows of a plane, up to `most`, there are slots beside all that is on its way."""
        pool, coming = self._pools[plane], self._desk.on_its_way(plane)
        if pool.slots - pool.taken - coming >= most:
            return most
        return min(most, max(pool.room(self.step, needed=needed) - coming, 0))

    def on_its_way(self, plane: int) -> int:
        """How many rows of a plane wait to be read, or were and have not arrived."""
        return self._desk.on_its_way(plane)

    @property
    def pinned(self) -> list[Request]:
        """The requests whose rows are pinned."""
        return list(self._pinned)

    def pool(self, plane: int) -> Pool:
        """The residency pool of a plane."""
        return self._pools[plane]

    def error(self, nodes: Nodes) -> BaseException | None:
        """Why a row of these could not be read when that was tried last, and forget it; None if none has failed."""
        if not self._errors:
            return None
        keys = keys_of(nodes, self.fetch.versions(nodes))
        found = [error for key in keys if (error := self._errors.pop(key, None)) is not None]
        return found[0] if found else None

    # Turns

    def turn(self) -> int:
        """One step: copy what was read, as far as the budget goes; let rows be found whose copies are done.

        Returns:
            How many bytes were copied.
        """
        self._check()
        self.step += 1
        copied = self._settle(self._upload_bytes)
        for pool in self._pools:
            pool.trim(self.step)
        self._count_evictions()
        return copied

    def follow(self, fetch: Fetch) -> None:
        """Read from another commit from now on.

        What is on its way, or pinned, and has another version there, is asked for anew.

        Raises:
            UsageError: it is of another tree, of another gist set, or of one that was compacted since.
        """
        self._check()
        if fetch.identity != self.fetch.identity:
            raise UsageError("a stream cannot move to another tree or gist set, nor past a compaction: make a new one")
        self.fetch = fetch
        self._errors.clear()  # what could not be read there may well be here
        with self._desk.changed:
            waiting = self._desk.queue.clear()
        for request in self._pinned:
            keys = self._keys_now(request.keys)
            changed = [(old, new) for old, new in zip(request.keys, keys, strict=True) if old != new]
            for old, new in changed:
                self._pool(old).unpin(old, self.step)
                if new is not None:
                    self._pool(new).pin(new)
            request.keys = [key for key in keys if key is not None]
            fresh = [new for _, new in changed if new is not None]
            self._ask(fresh, [0.0] * len(fresh), fetch, request, needed=False)
        self._again(waiting)

    # Within

    def _check(self) -> None:
        if not self._finalizer.alive:
            raise UsageError("this stream was closed; make a new one")
        if os.getpid() != self._pid:
            raise UsageError("a stream does not go across a fork; make a new one in the child")

    def _pool(self, key: Key) -> Pool:
        return self._pools[plane_of(*key[:2])]

    def _own(self, plane: int, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some slots that are a pool's: neither missing, nor the row of zeros."""
        return slots[(slots >= 0) & (slots < self.device.slots[plane])]

    def _ask(self, keys: list[Key], scores: list[float], fetch: Fetch, request: Request, *, needed: bool) -> None:
        """Let rows be read that are neither resident nor on their way."""
        asked = [(key, score) for key, score in zip(keys, scores, strict=True) if key not in self._pool(key)]
        if not asked:
            return
        with self._desk.changed:
            for key, score in asked:
                self._asked += 1
                rank = (not request.pinned, -key[1], -score, self._asked)
                if self._desk.ask(Wanted(key, fetch, rank, needed), request):
                    self.counters.of(key[0] > 0).requested += 1
            shed = self._desk.queue.shed()
            if not self._quiet:
                self._desk.changed.notify_all()
        self._refuse(shed, "too many rows wait to be read: ask for fewer at a time")
        for wanted in shed:
            self.counters.of(wanted.image).shed += 1

    def _withdraw(self, request: Request) -> None:
        """A request was cancelled, perhaps by another thread."""
        with self._desk.changed:
            for wanted in self._desk.withdraw(request, request.keys):
                self.counters.of(wanted.image).cancelled += 1
        self._unpinned.append(request)

    def _settle(self, budget: int) -> int:
        """Copy as much of what was read as the budget allows, and publish what was copied; bytes copied."""
        while self._unpinned:
            self.unpin(self._unpinned.popleft())
        self._loader.pump()
        for job in self._desk.finished():
            self._staged.append(job)
            for wanted in job.batch.rows:
                self.counters.of(wanted.image).read += 1
            self.counters.of(job.batch.rows[0].image).runs += job.batch.runs()
        self._staged.sort(key=lambda job: job.batch.rank)
        left = budget
        while self._staged and (moved := self._copy(self._staged[0], left)):
            left -= moved
            if self._staged[0].copied == len(self._staged[0].batch.rows):
                del self._staged[0]
        self._publish()
        return budget - left

    def _copy(self, job: Job, budget: int) -> int:
        """Begin to copy the next rows of a job; how many bytes, 0 if the budget does not allow for one."""
        first, plane = job.copied, job.batch.plane
        size = int(job.rows[0].nbytes)
        rows = job.batch.rows[first : first + budget // size]
        if not rows:
            return 0
        slots = np.full(len(rows), MISSING, np.int64)
        good = [i for i, wanted in enumerate(rows) if wanted.requests and first + i not in job.errors]
        # What is needed has first choice of the slots.
        for needed in (True, False):
            some = [i for i in good if (rows[i].needed or rows[i].pinned) == needed]
            if some:
                slots[some] = self._pools[plane].take([rows[i].key for i in some], self.step, needed=needed)
        job.copied += len(rows)
        self._copying.append((job, first, slots))
        # The others go along, to where nobody looks: one copy of neighbours is cheaper than several.
        self.device.copy(job.buffer, plane, first, np.where(slots == MISSING, self.device.slots[plane] + 1, slots))
        for wanted in rows:
            self.counters.of(wanted.image).bytes += size
        return len(rows) * size

    def _publish(self) -> None:
        """Let rows be found whose copies are done."""
        there = [self.device.copied(job.buffer) for job, _, _ in self._copying]
        done = [one for one, copied in zip(self._copying, there, strict=True) if copied]
        self._copying = [one for one, copied in zip(self._copying, there, strict=True) if not copied]
        for job, first, slots in done:
            rows = job.batch.rows[first : first + len(slots)]
            self._pools[job.batch.plane].publish(slots[slots != MISSING], self.step)
            arrived = self._desk.arrived([wanted.key for wanted in rows])
            if first + len(rows) == len(job.batch.rows):
                self._desk.free(job.buffer)
            for i, wanted in enumerate(arrived):
                error = job.errors.get(first + i)
                if error is not None:
                    self._failed(wanted, error)
                elif slots[i] != MISSING:
                    for request in wanted.requests:
                        request.arrived()
                elif wanted.requests:
                    self.counters.of(wanted.image).refused += 1
                    self._refuse([wanted], "no slot of the residency pool is free: make it larger, or let go of more")
                else:
                    self.counters.of(wanted.image).cancelled += 1
        self._count_evictions()

    def _failed(self, wanted: Wanted, error: Exception) -> None:
        if wanted.fetch is not self.fetch:
            # The snapshot that it was to be read from may have been closed meanwhile.
            self._again([wanted])
            return
        self.counters.of(wanted.image).failures += 1
        if wanted.needed:
            self._errors[wanted.key] = error
        for request in wanted.requests:
            request.failed(error)

    def _refuse(self, rows: list[Wanted], why: str) -> None:
        for wanted in rows:
            for request in wanted.requests:
                request.failed(BusyError(why))

    def _keys_now(self, keys: list[Key]) -> list[Key | None]:
        """What the same nodes are known by at the commit that is followed; None for those without a row."""
        space, level, index, _ = np.array(keys, np.int64).reshape(-1, 4).T
        nodes = Nodes(space, level, index, index)
        versions = self.fetch.versions(nodes)
        return [
            None if version == NO_ROW else key
            for key, version in zip(keys_of(nodes, versions), versions.tolist(), strict=True)
        ]

    def _again(self, rows: list[Wanted]) -> None:
        """Ask anew, at the commit that is followed, for rows that were not read."""
        for wanted, key in zip(rows, self._keys_now([wanted.key for wanted in rows]), strict=True):
            if key == wanted.key and self._desk.put_back(wanted, self.fetch):
                continue
            self.counters.of(wanted.image).cancelled += 1
            for request in wanted.requests:
                if key is not None and not request.pinned:  # for what is pinned, `follow` sees to that
                    request.keys.append(key)
                    self._ask([key], [-wanted.rank[2]], self.fetch, request, needed=wanted.needed)
                request.arrived()

    def _count_evictions(self) -> None:
        for pool in self._pools:
            for key in pool.evictions():
                self.counters.of(key[0] > 0).evictions += 1


def _by_plane(nodes: Nodes) -> list[tuple[int, NDArray[np.int64]]]:
    """The planes of nodes, and which of them lie in each."""
    blocks = nodes.level == 0
    if not blocks.any():
        return [(0, np.arange(len(nodes)))]
    planes = np.where(blocks, np.where(nodes.space > 0, 2, 1), 0)
    return [(plane, some) for plane in range(PLANES) if len(some := np.flatnonzero(planes == plane))]
