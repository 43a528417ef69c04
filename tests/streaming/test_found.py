"""What the machine has found, or would not notice, each by its name."""

from __future__ import annotations

import numpy as np

from mctree.focus import WorkingContext
from mctree.streaming import MISSING, Delay, HostDevice, Nodes, Residency, Stream, Timed, VirtualClock
from mctree.testing import PaperRows, PaperWorld


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
