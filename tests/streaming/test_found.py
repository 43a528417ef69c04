"""What the machine has found, or would not notice, each by its name."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from itertools import count

import numpy as np
import pytest

from mctree.errors import CorruptError, UsageError
from mctree.focus import WorkingContext
from mctree.streaming import GISTS, MISSING, Delay, HostDevice, Nodes, Residency, Stream, Timed, VirtualClock, roots
from mctree.streaming.queue import Queue, Wanted
from mctree.testing import LazyDevice, PaperGround, PaperRows, PaperWorld
from mctree.testing.processes import in_child


def test_an_error_at_an_older_commit_is_not_one_at_a_newer() -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    ground = world.ground()
    rows = PaperRows(ground.identity, ground.commit, ground.end)
    rows.failing.add((0, 1, 5))
    clock = VirtualClock()
    with Stream(rows, HostDevice(rows.planes, 200), loader=lambda desk: Timed(desk, clock, Delay(0.01, 1e9))) as stream:
        residency = Residency(stream, ground)
        context = WorkingContext.around(ground, [(0, 32)], 400)
        residency.update(context.entries)
        for _ in range(5):
            clock.sleep(1.0)
            stream.turn()
        assert stream.counters.text.failures == 1
        newer = world.ground()
        whole = PaperRows(newer.identity, newer.commit, newer.end)
        residency.follow(newer, whole)
        context.refocus(newer)
        residency.update(context.entries)
        for _ in range(5):
            clock.sleep(1.0)
            stream.turn()
            residency.update(context.entries, np.empty(0, np.int64), np.empty(0, np.int64))
        assert residency.seen().whole


def test_what_is_pinned_or_waits_is_had_as_it_is_at_the_commit_that_is_followed() -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    older, newer = world.ground(), world.ground()
    rows = PaperRows(older.identity, older.commit, older.end)
    fresh = PaperRows(newer.identity, newer.commit, newer.end, {(0, 1, 0): 2, (0, 1, 1): 2})
    clock = VirtualClock()
    device = HostDevice(rows.planes, 200)
    with Stream(rows, device, loader=lambda desk: Timed(desk, clock, Delay(0.01, 1e9), workers=1)) as stream:
        index = np.arange(12, dtype=np.int64)
        resident = Nodes(index * 0, index * 0 + 1, index, index * 32)
        waiting = Nodes(index * 0, index * 0 + 1, index + 10, index * 32 + 320)
        pinned = stream.request(resident, pinned=True)
        stream.wait(pinned)
        late = stream.request(waiting)
        stream.follow(fresh)
        rows.closed = True
        assert (stream.find(resident)[:12] == MISSING).all(), "both stretches were refreshed"
        assert not late.done()
        while not late.done():
            clock.sleep(1.0)
            stream.turn()
        for nodes in (resident, waiting):
            slots = stream.find(nodes)
            assert (slots != MISSING).all()
            for node, slot in zip(nodes.addresses(), slots.tolist(), strict=True):
                assert (device.memory(0)[slot] == fresh.expected(*node)).all()
        assert stream.pool(0).kept == 12, "the refreshed rows are pinned now, and the old ones are not"
        stream.unpin(pinned)
        assert stream.pool(0).kept == 0


def placed(blocks: int = 70) -> PaperGround:
    world = PaperWorld()
    world.place(1, [32] * blocks)
    return world.ground()


def rows_of(ground: PaperGround) -> PaperRows:
    return PaperRows(ground.identity, ground.commit, ground.end)


def level_one(first: int, stop: int) -> Nodes:
    index = np.arange(first, stop, dtype=np.int64)
    return Nodes(index * 0, index * 0 + 1, index, index * 32)


def test_what_was_foreseen_and_cannot_be_read_is_not_said_to_have_come() -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    older = world.ground()
    world.place(2, [32] * 40)
    newer = world.ground()
    rows, fresh = rows_of(older), rows_of(newer)
    clock = VirtualClock()
    with Stream(rows, HostDevice(rows.planes, 200), loader=lambda desk: Timed(desk, clock, Delay(0.01, 1e9))) as stream:
        residency = Residency(stream, older)
        context = WorkingContext.smallest(older, 400)
        residency.update(context.entries)
        fresh.failing.add((0, 2, 2))
        coming = residency.foresee(newer, fresh)
        for _ in range(5):
            clock.sleep(1.0)
            stream.turn()
        assert isinstance(coming.exception(timeout=0), CorruptError)
        with pytest.raises(CorruptError):
            residency.follow(newer, fresh, coming)
        assert residency.seen().whole and stream.fetch is rows, "all goes on where it was"
        fresh.failing.clear()
        residency.follow(newer, fresh)
        context.refocus(newer)
        residency.update(context.entries)
        assert (0, 2, 2) in residency.seen().nodes.addresses(), "it stands in for what is below it"


def test_the_coarsest_view_of_another_snapshot_was_not_foreseen() -> None:
    world = PaperWorld()
    world.place(1, [32] * 70)
    older = world.ground()
    rows = rows_of(older)
    with Stream(rows, HostDevice(rows.planes, 400)) as stream:
        residency = Residency(stream, older)
        other = residency.foresee(older, rows)
        world.place(2, [32] * 40)
        newer = world.ground()
        with pytest.raises(UsageError, match="foreseen"):
            residency.follow(newer, rows_of(newer), other)
        assert stream.fetch is rows


def test_a_row_that_is_wanted_again_while_it_is_passed_over_is_not_refused() -> None:
    rows = rows_of(placed())
    clock = VirtualClock()
    device = LazyDevice(rows.planes, 200)
    device.patience = 2
    with Stream(rows, device, loader=lambda desk: Timed(desk, clock, Delay(0.01, 1e9), workers=1)) as stream:
        first = stream.request(level_one(0, 4))
        stream.turn()  # begins to read
        first.cancel()
        clock.sleep(1.0)
        stream.turn()  # copies, to nowhere, for nobody wants these rows
        again = stream.request(level_one(0, 4))
        for _ in range(8):
            clock.sleep(1.0)
            stream.turn()
        assert again.exception(timeout=0) is None, "there were slots all the time"
        assert (stream.find(level_one(0, 4)) != MISSING).all()
        assert stream.counters.text.refused == 0


def test_who_is_gone_wants_nothing_any_more() -> None:
    ground = placed()
    rows = rows_of(ground)
    clock = VirtualClock()
    with Stream(rows, HostDevice(rows.planes, 400), loader=lambda desk: Timed(desk, clock, Delay(1.0, 1e9))) as stream:
        residency = Residency(stream, ground)
        residency.update(WorkingContext.around(ground, [(0, 640)], 2000).entries)
        clock.sleep(0.0)
        assert sum(map(stream.on_its_way, range(3))) > 20
        residency.close()
        waiting = len(stream._desk.queue)
        assert waiting == 0, f"{waiting} rows would still be read"


def test_what_was_withdrawn_leaves_nothing_behind() -> None:
    rows = rows_of(placed())
    queue = Queue(1000)
    number = count()
    queue.add(Wanted((0, 3, 0, 1), rows, (False, -3, 0.0, next(number)), needed=False))
    for _ in range(2000):
        queue.add(Wanted((0, 1, 7, 1), rows, (True, -1, 0.0, next(number)), needed=False))
        queue.remove((0, 1, 7, 1))
    assert sum(map(len, queue._heaps)) < 200, "rows that nobody waits for still stand in the heap"
    batch = queue.pop((10, 10, 10))
    assert batch is not None and [wanted.key for wanted in batch.rows] == [(0, 3, 0, 1)]


def test_a_stream_that_was_forgotten_goes_whatever_waits() -> None:
    rows = rows_of(placed())
    before = set(threading.enumerate())
    stream = Stream(rows, HostDevice(rows.planes, 200))
    readers = set(threading.enumerate()) - before
    left = stream.request(level_one(0, 70))
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None, "rows that wait keep it alive"
    for reader in readers:
        reader.join(10)
        assert not reader.is_alive(), "it reads for nobody"
    assert left.cancel()
    with pytest.raises(CancelledError):
        left.result(timeout=0)


def test_a_fork_neither_waits_for_a_lock_nor_for_threads_of_its_parent() -> None:
    rows = rows_of(placed())
    stream = Stream(rows, HostDevice(rows.planes, 200))
    request = stream.request(level_one(0, 4))

    def end() -> None:
        signal.alarm(30)
        request.cancel()
        stream.close()

    with stream._desk.changed:  # as one who reads may have it at that moment
        assert in_child(end) == 0, "the child waits for ever, or fails"
    stream.wait(request)
    stream.close()


def test_who_sleeps_is_not_woken_within_a_step_and_is_after_it() -> None:
    rows = rows_of(placed())
    with Stream(rows, HostDevice(rows.planes, 200)) as stream:

        def asleep() -> None:
            # Only the condition knows who sleeps; its stub does not tell of what it keeps.
            while len(stream._desk.changed._waiters) < 2:  # type: ignore[attr-defined]
                time.sleep(0.001)

        for number in range(3):
            asleep()
            stream.hush()
            request = stream.request(level_one(4 * number, 4 * number + 4))
            asleep()
            assert len(rows.reads) == 4 * number
            if number < 2:  # otherwise, waiting does
                (stream.wake, stream.turn)[number]()
            stream.wait(request)
            assert len(rows.reads) == 4 * number + 4


@pytest.mark.parametrize("ends", [Stream.wake, Stream.turn])
def test_what_is_wanted_next_is_asked_for_when_the_step_is_over(ends: Callable[[Stream], object]) -> None:
    """Asking takes time, and what is asked for within a step comes after it in any case."""
    ground = placed()
    rows = rows_of(ground)
    with Stream(rows, HostDevice(rows.planes, 400)) as stream, Residency(stream, ground) as residency:
        top = roots(ground).take(np.array([0]))
        children = Nodes.of(ground.children(top).nodes)
        before = stream.counters.total.requested
        stream.hush()
        for _ in range(2):  # it is one family, however often it is wanted
            assert not residency.resident(top, np.ones(1)).any()
        assert stream.counters.total.requested == before
        ends(stream)
        assert stream.counters.total.requested == before + len(children)
        stream.wait(stream.request(children))
        residency.update(Nodes.none())
        assert residency.resident(top, np.ones(1)).all()
        residency.close()
        assert stream.pool(GISTS).kept == 0


def test_what_was_wanted_and_is_not_any_more_when_the_step_is_over_is_not_asked_for() -> None:
    ground = placed(100)
    rows = rows_of(ground)
    with Stream(rows, HostDevice(rows.planes, 400)) as stream, Residency(stream, ground) as residency:
        one, other = (roots(ground).take(np.array([i])) for i in (0, 1))
        stream.hush()
        residency.resident(one, np.ones(1))
        residency.resident(other, np.ones(1))
        before = stream.counters.total.requested
        stream.wake()
        assert stream.counters.total.requested == before + len(ground.children(other).nodes.index)
        stream.hush()
        residency.resident(one, np.ones(1))
        residency.close()
        asked = stream.counters.total.requested
        stream.wake()
        assert stream.counters.total.requested == asked


def test_what_is_put_off_stays_so_if_something_before_it_fails() -> None:
    """Found by review: what came behind was forgotten, and the next families with it."""
    done: list[str] = []

    def fail() -> None:
        raise CorruptError("damaged")

    rows = rows_of(placed(100))
    with Stream(rows, HostDevice(rows.planes, 400)) as stream:
        stream.later(lambda: done.append("at once"))
        stream.hush()
        stream.later(fail)
        stream.later(lambda: done.append("later"))
        assert done == ["at once"]
        with pytest.raises(CorruptError):
            stream.wake()
        stream.wake()
        assert done == ["at once", "later"]
