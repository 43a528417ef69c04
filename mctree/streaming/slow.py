"""What if the store were slow?  Latency and bandwidth, put between a stream and where its rows come from.

A read of several stretches of rows asks for up to `depth` of them at a time, and each round of these takes `latency`;
the bytes of all who read share one `bandwidth`.  So a small read of scattered rows costs latency, and a large one
bandwidth, as on a disk or over a network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.streaming.fetch import Fetch, Plane
from mctree.streaming.nodes import STEPS, Nodes, plane_of

__all__ = ["Delay", "Pipe", "SlowRows", "VirtualClock"]


@dataclass(slots=True)
class VirtualClock:
    """A clock that moves when it is told to.

    Attributes:
        now: seconds.
    """

    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        """Be so much later at once."""
        self.now += seconds

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@dataclass(frozen=True, slots=True)
class Delay:
    """How long reading takes.

    Attributes:
        latency: seconds from asking to the first byte.
        bandwidth: bytes per second, of all who read together.
        depth: stretches of rows that are asked for at a time.

    Raises:
        UsageError: a number is out of range.
    """

    latency: float
    bandwidth: float
    depth: int = 32

    def __post_init__(self) -> None:
        if self.latency < 0 or not self.bandwidth > 0 or self.depth < 1:
            raise UsageError(f"nothing is read with {self}")


class Pipe:
    """What all who read share.

    Args:
        delay: how long it takes.
    """

    def __init__(self, delay: Delay) -> None:
        self.delay = delay
        self._lock = threading.Lock()
        self._free_at = 0.0

    def due(self, now: float, runs: int, size: int) -> float:
        """When a read is done that begins now: so many stretches of rows, so many bytes in all."""
        delay = self.delay
        with self._lock:
            self._free_at = max(self._free_at, now) + size / delay.bandwidth
            return self._free_at + delay.latency * -(-runs // delay.depth)


class SlowRows:
    """Rows that take longer; a `Fetch`.

    Args:
        fetch: where they come from.
        delay: how much longer.
        sleep: lets time go by; `VirtualClock.sleep` in a simulation of one thread.
        clock: says how late it is, in seconds.

    Attributes:
        slept: seconds that all who read have waited, in sum.
    """

    def __init__(
        self,
        fetch: Fetch,
        delay: Delay,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._pipe = Pipe(delay)
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self.slept = 0.0

    @property
    def identity(self) -> Hashable:
        """That of what it reads from."""
        return self._fetch.identity

    @property
    def planes(self) -> Sequence[Plane | None]:
        """Those of what it reads from."""
        return self._fetch.planes

    def versions(self, nodes: Nodes) -> NDArray[np.int64]:
        """See `Fetch.versions`; what exists is known without delay."""
        return self._fetch.versions(nodes)

    def read(self, space: int, level: int, index: NDArray[np.int64], out: NDArray[Any]) -> None:
        """See `Fetch.read`."""
        step = STEPS[plane_of(space, level)]
        runs = 1 + int(np.count_nonzero(np.diff(index) != step))
        now = self._clock()
        seconds = max(0.0, self._pipe.due(now, runs, out.nbytes) - now)
        self._sleep(seconds)
        with self._lock:
            self.slept += seconds
        self._fetch.read(space, level, index, out)

    def advise(self, space: int, level: int, index: NDArray[np.int64]) -> None:
        """Nothing: read-ahead is what such a store does not have."""
