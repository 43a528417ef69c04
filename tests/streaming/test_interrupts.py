"""An interrupt at any moment of a call at the desk leaves its lock free: the next turn would wait for ever."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mctree.streaming.desk import Desk
from mctree.streaming.fetch import Plane
from tests.interrupting import interrupted

CALLS: dict[str, Callable[[Desk], object]] = {
    "what was read": Desk.finished,
    "what has arrived": lambda desk: desk.arrived([]),
    "a buffer that is free": lambda desk: desk.free(0),
    "a job to do": lambda desk: desk.take(wait=False),
    "the end": Desk.close,
}


@pytest.mark.parametrize("what", CALLS)
def test_a_call_at_the_desk(what: str) -> None:
    desk = Desk([Plane((4,), np.dtype(np.float16))], [np.empty(64, np.uint8)], most=8)

    def assert_free() -> None:
        assert desk.lock.acquire(blocking=False), "the lock is held"
        desk.lock.release()

    assert interrupted(lambda: CALLS[what](desk), assert_free) > 1
