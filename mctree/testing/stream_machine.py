"""Is what is seen of a working context always there, right and enough, however rows arrive?

`StreamMachine` drives a context over a `PaperWorld`, and its residency on a device that takes its time, with reads that
take theirs on a clock of their own, fail, and are cancelled; with pools that are too small, refreshed gists, gists that
were never made, and a timeline that moves on.  What it compares with is simple: every row's content tells its node and
version, what is seen has to be a cut, what was pinned and has arrived has to be there, what was shown and stays has to
stay, and each count has to be what was done.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from mctree.errors import BusyError, CorruptError, UsageError
from mctree.focus import Allocator, Entries, WorkingContext
from mctree.focus import Nodes as FocusNodes
from mctree.focus.checking import first_breach
from mctree.focus.covers import least_cost
from mctree.focus.ground import BLOCK
from mctree.streaming import (
    GISTS,
    MISSING,
    NO_ROW,
    PATCHES,
    TOKENS,
    Counts,
    Delay,
    Nodes,
    Request,
    Residency,
    Stream,
    Timed,
    VirtualClock,
    roots,
)
from mctree.testing import strategies
from mctree.testing.paper import PaperGround, PaperImage, PaperWorld
from mctree.testing.paper_rows import LazyDevice, PaperRows

__all__ = ["StreamMachine"]

_MOST_BLOCKS = 2500
_PLANES = (GISTS, TOKENS, PATCHES)


class StreamMachine(RuleBasedStateMachine):
    """A working context, its residency, and a world on paper that they are of."""

    @initialize(
        blocks=st.sampled_from([1, 40, 70, 1030, 1100]),
        image=st.booleans(),
        slots=st.sampled_from([0, 3, 40, 400, 2000]),
        rows_a_turn=st.sampled_from([1, 3, 40, 1000]),
        buffer_rows=st.sampled_from([1, 5, 64]),
        waiting=st.sampled_from([4000, 4000, 200]),
        linger=st.sampled_from([15, 0, 3]),
        allocator=strategies.allocators(),
        data=st.data(),
    )
    def begin(
        self,
        blocks: int,
        image: bool,
        slots: int,
        rows_a_turn: int,
        buffer_rows: int,
        waiting: int,
        linger: int,
        allocator: Allocator,
        data: st.DataObject,
    ) -> None:
        """Make a world, a stream of its rows, and a context on it."""
        self.world = PaperWorld()
        self.documents = 0
        self.refreshed: dict[tuple[int, int, int], int] = {}
        self.no_gists_above = data.draw(st.sampled_from([99, 99, 99, 1, 0]))
        self._place(blocks, 5)
        if image:
            self._graft(data.draw(strategies.paper_images()))
        self.ground = self.world.ground()
        self.rows = self._rows(self.ground)
        self.older: list[PaperRows] = []
        self.clock = VirtualClock()
        # The roots always fit at first, and something beside them.
        self.slots = len(roots(self.ground)) + 1 + slots
        self.device = LazyDevice(self.rows.planes, self.slots, buffers=3, buffer_bytes=128 * buffer_rows)
        self.device.patience = data.draw(st.integers(0, 3))
        self.upload = 128 * rows_a_turn
        delay = Delay(data.draw(st.sampled_from([0.0, 0.01, 0.1])), data.draw(st.sampled_from([1e9, 1e5])), 4)
        self.stream = Stream(
            self.rows,
            self.device,
            loader=lambda desk: Timed(desk, self.clock, delay, workers=2),
            upload_bytes=self.upload,
            waiting=waiting,
            linger=linger,
            clock=self.clock,
        )
        self.requests: list[Request] = []
        self.stayed: set[Request] = set()
        """Requests whose rows were resident at this commit: those that are pinned have to stay."""
        self.entered = 0
        families = data.draw(st.sampled_from([64, 2, 1]))
        self.residency = Residency(self.stream, self.ground, families=families, patience=data.draw(st.integers(0, 4)))
        budget = least_cost(self.ground) + data.draw(st.integers(0, 600))
        self.context = WorkingContext.smallest(self.ground, budget, allocator)
        self._show_all()
        assert self.residency.missing == 0, "the coarsest view is waited for"

    def teardown(self) -> None:
        """Let go of everything: then nothing is kept that nobody has pinned."""
        if not hasattr(self, "residency"):
            return
        for request in self.requests:
            request.cancel()
            self.stream.unpin(request)
        self.residency.close()
        self.stream.turn()
        assert [self.stream.pool(plane).kept for plane in _PLANES] == [0, 0, 0], "something is still held"
        self.stream.close()
        assert all(request.done() for request in self.requests)

    # Steps

    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.005, 0.05, 1.0]))
    def step_when_ready(self, data: st.DataObject, seconds: float) -> None:
        """Take a step in which only that is expanded whose children are resident: nothing becomes missing by it."""
        self._turn(seconds)
        woken = data.draw(st.sampled_from(["never hushed", "after the step", "by the next turn"]))
        if woken != "never hushed":
            self.stream.hush()
        missing = self.residency.missing
        change = self.context.step(data.draw(strategies.scores(len(self.context))), self.residency.resident)
        self._update(change.diff.left_at, change.diff.entered_at)
        if not change.collapsed:
            assert self.residency.missing <= missing, "what was expanded was not ready"
        if woken == "after the step":
            self.stream.wake()

    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.05]))
    def step_at_once(self, data: st.DataObject, seconds: float) -> None:
        """Take a step without asking what is resident."""
        self._turn(seconds)
        change = self.context.step(data.draw(strategies.scores(len(self.context))))
        self._update(change.diff.left_at, change.diff.entered_at)

    @rule(data=st.data())
    def jump(self, data: st.DataObject) -> None:
        """Look somewhere else altogether."""
        spans = data.draw(st.lists(strategies.ranges(self.ground.end), max_size=2))
        try:
            self.context = WorkingContext.around(self.ground, spans, self.context.budget, self.context.allocator)
        except UsageError:
            return
        self._show_all()

    @rule(turns=st.integers(1, 60))
    def rest(self, turns: int) -> None:
        """Let turns go by in which nothing changes but what arrives."""
        for _ in range(turns):
            self._turn(0.05)
            self._update(np.empty(0, np.int64), np.empty(0, np.int64))

    @precondition(lambda self: not self.rows.failing)
    @rule()
    def come_to_rest(self) -> None:
        """Wait for as long as it takes: if there are enough slots for what is needed, nothing is missing."""
        for request in self.requests:
            self.stream.unpin(request)
        for _ in range(400):
            self._turn(1.0)
            self._update(np.empty(0, np.int64), np.empty(0, np.int64))
            if not self.residency.missing:
                break
        needed = np.bincount(self._planes(self.context.entries), minlength=3)
        needed[GISTS] += len(self._all_above()) + len(roots(self.ground))
        if (needed <= self.slots).all():
            assert not self.residency.missing, f"{self.residency.missing} entries never come, though there is room"

    # Requests of one's own

    @rule(data=st.data(), pinned=st.booleans(), score=st.floats(-1, 1))
    def ask(self, data: st.DataObject, pinned: bool, score: float) -> None:
        """Ask for some children of entries, or for entries."""
        entries = self.context.entries
        some = data.draw(st.lists(st.integers(0, len(entries) - 1), min_size=1, max_size=3, unique=True))
        nodes = Nodes.of(entries.take(np.array(some)))
        above = nodes.take(nodes.level > 0)
        if data.draw(st.booleans()) and len(above):
            nodes = Nodes.of(self.ground.children(FocusNodes.made(len(above), **_columns(above))).nodes)
        pinned = pinned and len(nodes) < self.slots // 4
        self.requests.append(self.stream.request(nodes, score, pinned=pinned))

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), unpin=st.booleans())
    def withdraw(self, data: st.DataObject, unpin: bool) -> None:
        """Cancel a request, or let what it pinned go."""
        request = self.requests.pop(data.draw(st.integers(0, len(self.requests) - 1)))
        self.stream.unpin(request)
        if not unpin:
            done = request.done()
            assert request.cancel() != done

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        """Wait for a request, however long that takes."""
        request = data.draw(st.sampled_from(self.requests))
        missing = bool((self.stream.find(request.nodes) == MISSING).any())
        before, now = self.stream.counters.total.stalls, self.clock.now
        done = request.done()
        try:
            self.stream.wait(request)
        except (BusyError, CorruptError):
            return
        assert self.stream.counters.total.stalls >= before
        if done:
            assert self.clock.now == now, "what is done need not be waited for"
        elif missing:
            assert (self.stream.find(request.nodes) != MISSING).all()

    # The world

    @rule(data=st.data(), stretches=st.integers(1, 4))
    def fail(self, data: st.DataObject, stretches: int) -> None:
        """Let some rows become unreadable, or let all be well again."""
        entries = self.context.entries
        if self.rows.failing:
            self.rows.failing.clear()
            return
        for _ in range(stretches):
            i = data.draw(st.integers(0, len(entries) - 1))
            level, index = int(entries.level[i]), int(entries.index[i])
            if level > 0 and entries.space[i] == 0:
                self.rows.failing.add((0, level - 1, index * BLOCK + data.draw(st.integers(0, 31)) * (level > 1)))

    @rule(data=st.data(), changes=st.integers(0, 3), foresee=st.booleans())
    def move_on(self, data: st.DataObject, changes: int, foresee: bool) -> None:
        """Let blocks and images come, gists be refreshed; then move to what there is now."""
        for _ in range(changes):
            what = data.draw(st.sampled_from(["place", "graft", "remove", "tails", "refresh", "refresh"]))
            if what == "place" and len(self.world.counts) < _MOST_BLOCKS:
                self._place(data.draw(st.sampled_from([1, 2, 31, 33, 200])), data.draw(st.integers(1, 32)))
            elif what == "graft":
                self._graft(data.draw(strategies.paper_images()))
            elif what == "remove" and self.documents > 1:
                self.world.remove(data.draw(st.integers(1, self.documents)))
            elif what == "tails":
                self.world.tails = [(900 + i, n) for i, n in enumerate(data.draw(st.lists(st.integers(1, 32))))]
            elif what == "refresh":
                space, level = data.draw(st.sampled_from([(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]))
                for stretch in range(data.draw(st.integers(1, 8))):
                    self.refreshed[space, level, stretch] = self.world.commit + 1
        ground = self.world.ground()
        rows = self._rows(ground)
        self.context.budget = max(self.context.budget, least_cost(ground))
        coming = self.residency.foresee(ground, rows) if foresee else None
        if coming is not None and data.draw(st.booleans()):
            self._turn(0.1)
            self._update(np.empty(0, np.int64), np.empty(0, np.int64))
        try:
            self.residency.follow(ground, rows, coming)
        except BusyError:
            # The coarsest view does not fit: all goes on where it was.
            if coming is None or coming.done():
                return
            raise
        if data.draw(st.booleans()):
            self.rows.closed = True
        self.older.append(self.rows)
        self.rows, self.ground = rows, ground
        self.stayed.clear()
        self.context.refocus(ground)
        self._show_all()

    # What always holds

    @invariant()
    def look_at_what_is_seen(self) -> None:
        """It is a cut of everything, within the budget, and each row says that it is of its node, as it is now."""
        if not hasattr(self, "context"):
            return
        fallbacks = self.stream.counters.total.fallbacks
        seen = self.residency.seen()
        assert self.stream.counters.total.fallbacks - fallbacks == self.residency.missing
        nodes = FocusNodes.made(len(seen), **_columns(seen.nodes))
        kept = np.flatnonzero(seen.row >= 0)
        assert self.context.entries.nodes.take(seen.row[kept]).same(nodes.take(kept)).all()
        assert seen.replaced == len(self.context) - len(kept)
        if len(kept) < len(seen) or len(kept) < len(self.context):
            breach = first_breach(self.ground, nodes)
            assert breach is None, f"what is seen is no cut: {breach}"
            cost = self.context.entries.cost[seen.row[kept]].sum() + len(seen) - len(kept)
            assert cost <= self.context.cost, "what stands in costs more than what it stands for"
            assert (seen.nodes.level[seen.row < 0] > 0).all()
        assert seen.whole == (self.residency.missing == 0)
        for node, slot in zip(seen.nodes.addresses(), seen.slots.tolist(), strict=True):
            plane = GISTS if node[1] else PATCHES if node[0] else TOKENS
            found = self.device.memory(plane)[slot]
            assert (found == self.rows.expected(*node)).all(), f"{node} shows {found.ravel()[:3]}, not its own row"
            assert (slot == self.slots) == (self.rows.version(*node) == NO_ROW)

    @invariant()
    def look_at_the_pools(self) -> None:
        """No more is resident than there are slots, and what is resident is right; pinned rows have stayed."""
        if not hasattr(self, "context"):
            return
        for plane in _PLANES:
            pool = self.stream.pool(plane)
            keys = pool.keys()
            assert len(keys) <= pool.taken <= self.slots and pool.kept <= len(keys)
            slots = pool.find(keys)
            assert len(set(slots.tolist())) == len(keys), "two rows are in one slot"
        for request in self.requests:
            if request not in self.stream.pinned:
                continue
            if (self._found(request) != MISSING).all():
                self.stayed.add(request)
            assert request not in self.stayed or (self._found(request) != MISSING).all(), "a pinned row was evicted"

    @invariant()
    def look_at_the_counters(self) -> None:
        """Everything that was asked for has arrived, is on its way, or was given up for one of four reasons."""
        if not hasattr(self, "context"):
            return
        total = self.stream.counters.total
        resident = sum(len(self.stream.pool(plane)) for plane in _PLANES)
        on_its_way = sum(self.stream.on_its_way(plane) for plane in _PLANES)
        given_up = total.cancelled + total.shed + total.refused + total.failures
        assert total.requested == resident + total.evictions + on_its_way + given_up, total
        assert total.hits + total.misses + total.absent == self.entered
        assert total.bytes == self.device.bytes
        assert total.runs <= total.read
        asked_of_image = self.stream.counters.image
        assert asked_of_image == Counts() or len(self.world.images), "nothing is of an image"

    # Within

    def _rows(self, ground: PaperGround) -> PaperRows:
        return PaperRows(ground.identity, ground.commit, ground.end, self.refreshed, self.no_gists_above)

    def _turn(self, seconds: float) -> None:
        self.clock.now += seconds
        before = self.device.bytes
        copied = self.stream.turn()
        assert copied == self.device.bytes - before <= self.upload, f"{copied} bytes in a turn"

    def _show_all(self) -> None:
        self.entered += len(self.context)
        self._settled(lambda: self.residency.update(self.context.entries))

    def _update(self, left_at: NDArray[np.int64], entered_at: NDArray[np.int64]) -> None:
        self.entered += len(entered_at)
        self._settled(lambda: self.residency.update(self.context.entries, left_at, entered_at))

    def _settled(self, call: Callable[[], None]) -> None:
        """What could not be read is said; all else is as it would have been."""
        try:
            call()
        except CorruptError:
            assert self.rows.failed, "nothing of this commit has failed"
        assert len(self.residency) == len(self.context)

    def _place(self, blocks: int, last: int) -> None:
        self.documents += 1
        self.world.place(self.documents, [32] * (blocks - 1) + [last])

    def _graft(self, image: PaperImage) -> None:
        self.documents += 1
        self.world.graft(self.documents, image)

    def _found(self, request: Request) -> NDArray[np.int64]:
        """Where the nodes of a request are that still exist."""
        exist = self.ground.exist(FocusNodes.made(len(request.nodes), **_columns(request.nodes)))
        return self.stream.find(request.nodes.take(exist))

    def _planes(self, entries: Entries) -> NDArray[np.int64]:
        return np.where(entries.level > 0, GISTS, np.where(entries.space > 0, PATCHES, TOKENS))

    def _all_above(self) -> set[tuple[int, int, int]]:
        """All ancestors of all entries, by division, one by one."""
        found = set()
        roots_at = {
            int(b): int(level) for b, level in zip(self.ground.grafts.block, self.ground.grafts.level, strict=True)
        }
        waiting = self.context.entries.nodes.integers.T.tolist()
        while waiting:
            space, level, index, slot = waiting.pop()
            above = (space, level + 1, index // (4 if level else 64) if space else index // BLOCK)
            if space and above[1] == roots_at[slot // BLOCK]:
                above = (0, 1, slot // BLOCK)
            if above[0] or (above[2] + 1) * BLOCK ** above[1] <= self.ground.end:
                found.add(above)
                waiting.append([*above, slot])
        return found


def _columns(nodes: Nodes) -> dict[str, NDArray[np.int64]]:
    return {"space": nodes.space, "level": nodes.level, "index": nodes.index, "slot": nodes.slot}
