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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.errors import UsageError
from mctree.streaming.asking import Asking
from mctree.streaming.counters import Counters
from mctree.streaming.desk import Desk
from mctree.streaming.device import Device
from mctree.streaming.fetch import NO_ROW, Fetch
from mctree.streaming.loading import Loader, Threads
from mctree.streaming.nodes import PLANES, Columns, Key, Nodes, by_plane, keys_of, plane_of
from mctree.streaming.pool import Pool
from mctree.streaming.requests import Request
from mctree.streaming.uploads import Uploads

__all__ = ["Looked", "Stream"]

_NO_LIMIT = 1 << 62
_A_MOMENT, _LONGER = 0.0002, 0.05


@dataclass(frozen=True, eq=False, slots=True)
class Looked:
    """Nodes that were looked up; good until the next turn.

    Attributes:
        nodes: which.
        keys: what their rows are known by.
        slots: where these are: `int64 [n]`; see `Stream.find`.
    """

    nodes: Nodes
    keys: list[Key]
    slots: NDArray[np.int64]


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
        self._pinned: dict[Request, None] = {}
        self._unpinned: deque[Request] = deque()
        self._put_off: list[Callable[[], None]] = []
        self._pid = os.getpid()
        self._desk = Desk(fetch.planes, device.ring, waiting)
        self._asking = Asking(self._desk, self._pools, self.counters, fetch)
        self._uploads = Uploads(self._desk, device, self._pools, self.counters)
        self._loader = loader(self._desk)
        self._on_cancel = _withdrawing(self)
        self._finalizer = weakref.finalize(self, _closed, self._desk, self._pid)

    def __repr__(self) -> str:
        resident = sum(map(len, self._pools))
        return f"<Stream: {resident} rows resident, {len(self._desk.queue)} waiting, {self.step} turns>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more, and cancel what is not done; in a fork of its process, nothing is left to be done."""
        if self._finalizer.detach() is None or os.getpid() != self._pid:
            return
        self._put_off.clear()
        left = self._desk.close()
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
        return self._request(asked, keys, scores, source, pinned=pinned, needed=needed)

    def request_parts(self, looked: Looked, parts: Sequence[Sequence[int]], scores: Sequence[float]) -> list[Request]:
        """Let rows come that were looked up in this turn, a request for each part of them.

        Args:
            looked: what `look_up` gave.
            parts: which of its nodes, for each request; they have rows.
            scores: one for each request.
        """
        self._check()
        return [
            self._request(
                looked.nodes.take(np.array(part, np.int64)),
                [looked.keys[i] for i in part],
                [score] * len(part),
                self.fetch,
                pinned=False,
                needed=False,
            )
            for part, score in zip(parts, scores, strict=True)
        ]

    def _request(
        self, nodes: Nodes, keys: list[Key], scores: list[float], source: Fetch, *, pinned: bool, needed: bool
    ) -> Request:
        request = Request(nodes, keys, self._on_cancel, pinned=pinned)
        request.left = 1  # until all have been asked for
        if pinned:
            self._pinned[request] = None
            for key in keys:
                self._pool(key).pin(key)
        try:
            self._asking.ask(keys, scores, source, request, needed=needed)
        except UsageError:
            request.cancel()
            self.unpin(request)
            raise
        request.arrived()
        return request

    def hush(self) -> None:
        """Let nobody who sleeps begin to read before `wake`, or the next turn, and put off what `later` is given.

        Reading takes turns with Python code of this thread.  What is asked for within a step of the model cannot arrive
        before the next one, so it is best asked for, and read, while the model is busy.
        """
        self._asking.hush()

    def later(self, work: Callable[[], None]) -> None:
        """Do at `wake` what need not be done before; at once, if nothing was hushed."""
        if self._asking.quiet:
            self._put_off.append(work)
        else:
            work()

    def wake(self) -> None:
        """Do what was put off since `hush`, and let what was asked for be read."""
        try:
            while self._put_off:
                self._put_off.pop(0)()  # the others stay if it raises
        finally:
            self._asking.wake()

    def unpin(self, request: Request) -> None:
        """Let what a request has pinned be evicted again, whether it has arrived or not."""
        if request in self._pinned:
            del self._pinned[request]
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
        self.wake()
        began = self._clock()
        stalled = False
        while not request.done():
            self._settle(_NO_LIMIT)
            if not request.done():
                assert any(map(self.on_its_way, range(PLANES))), "a request that is not done has rows on their way"
                stalled = True
                self._loader.rest(_A_MOMENT if self._uploads.copying else _LONGER)
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
        return self.look_up(nodes).slots

    def look_up(self, nodes: Columns) -> Looked:
        """What nodes' rows are known by, and their slots; see `find`."""
        asked = Nodes.of(nodes)
        versions = self.fetch.versions(asked)
        keys = keys_of(asked, versions)
        parts = by_plane(asked)
        if len(parts) == 1:
            found = self._pools[parts[0][0]].find(keys)
        else:
            found = np.empty(len(asked), np.int64)
            for plane, some in parts:
                found[some] = self._pools[plane].find([keys[i] for i in some.tolist()])
        none = (versions == NO_ROW).nonzero()[0]
        if len(none):
            for plane, some in parts:
                found[np.intersect1d(some, none, assume_unique=True)] = self.device.slots[plane]
        return Looked(asked, keys, found)

    def hold(self, nodes: Nodes, slots: NDArray[np.int64]) -> None:
        """Let rows stay that `find` has found; as often as this is done, it has to be undone."""
        for plane, some in by_plane(nodes):
            self._pools[plane].hold(self._own(plane, slots[some]))

    def let_go(self, nodes: Nodes, slots: NDArray[np.int64]) -> None:
        """Undo `hold`."""
        for plane, some in by_plane(nodes):
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
        return self._asking.error(keys_of(nodes, self.fetch.versions(nodes))) if self._asking.failed else None

    # Turns

    def turn(self) -> int:
        """One step: copy what was read, as far as the budget goes; let rows be found whose copies are done.

        Returns:
            How many bytes were copied.
        """
        self._check()
        self.wake()
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
        self._asking.follow(fetch, list(self._pinned), self.step)

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

    def _withdraw(self, request: Request) -> None:
        """A request was cancelled, perhaps by another thread."""
        if os.getpid() == self._pid:  # in a fork, whoever held the desk's lock never lets go of it
            self._asking.withdraw(request)
            self._unpinned.append(request)

    def _settle(self, budget: int) -> int:
        """Copy as much of what was read as the budget allows, and publish what was copied; bytes copied."""
        while self._unpinned:
            self.unpin(self._unpinned.popleft())
        self._loader.pump()
        copied, landed = self._uploads.settle(self.step, budget)
        self._asking.landed(landed)
        self._count_evictions()
        return copied

    def _count_evictions(self) -> None:
        for pool in self._pools:
            for key in pool.evictions():
                self.counters.of(key[0] > 0).evictions += 1


def _withdrawing(stream: Stream) -> Callable[[Request], None]:
    """What a request calls that is cancelled: it knows the stream weakly.

    Rows that wait know their requests, and whoever reads knows the rows; none of them must keep a stream alive that was
    forgotten.
    """
    weak = weakref.ref(stream)

    def withdraw(request: Request) -> None:
        there = weak()
        if there is not None:
            there._withdraw(request)

    return withdraw


def _closed(desk: Desk, pid: int) -> None:
    """A stream was forgotten, or the interpreter ends; not so if that is in a fork."""
    if os.getpid() == pid:
        desk.abandon()
