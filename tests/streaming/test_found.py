"""What the machine has found, each by its name."""

from __future__ import annotations

import numpy as np

from mctree.focus import WorkingContext
from mctree.streaming import Delay, HostDevice, Residency, Stream, Timed, VirtualClock
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
