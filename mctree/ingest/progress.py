"""How far is a run, how fast, and how long will it take?  Told to whoever asks, at most ten times a second.

What counts is bytes of text and of the files of images, ingested or found unchanged; of an image that is being read, as
large a part as of its pixels.  How many bytes there are in all is found by a walk of its own in the background, which
looks at sizes only; whatever turns out to be neither is taken off that, so that a run ends with all of it.  The rate is
that of the last seconds, so that it follows when a stretch of unchanged files ends, and of nothing but ingesting: while
a tokenizer is trained there is none.  Until the walk ends, and with standard input for ever, the time left is unknown.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mctree.errors import MctreeError
from mctree.ingest.report import Tally
from mctree.sources import Item, Source

__all__ = ["Phase", "Progress", "SizeScan", "Tracker"]

Phase = Literal["sampling", "training", "fitting", "ingesting", "removing", "finishing"]

_BETWEEN = 0.1
_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        phase: what it is doing.
        documents: how many were dealt with, unchanged ones included.
        tokens: how many were written.
        bytes: of input that are dealt with, unchanged ones included.
        total_bytes: of all input but for what was found to be neither text nor image; None if that is not known, or not
            yet.
        rate: bytes per second over the last seconds; 0 unless the phase is `ingesting`.
        seconds_left: until all is ingested; None if that cannot be told.
        images: how many were written.
    """

    phase: Phase
    documents: int
    tokens: int
    bytes: int
    total_bytes: int | None
    rate: float
    seconds_left: float | None
    images: int = 0


class SizeScan(threading.Thread):
    """Adds up the sizes of a source's inputs in the background.

    Args:
        source: one of its own: iterating it must not disturb anybody.

    Attributes:
        total: bytes of all inputs; None until it is known.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(name="mctree-scan", daemon=True)
        self.total: int | None = None
        self._source = source
        self._stopped = threading.Event()

    def run(self) -> None:
        """Walk to the end, or until `stop`."""
        total = 0
        try:
            for found in self._source:
                if self._stopped.is_set():
                    return
                if isinstance(found, Item):
                    if found.stamp is None:
                        return
                    total += found.stamp.size
        except (MctreeError, OSError):
            return  # the run itself will say what is wrong
        self.total = total

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        if self.is_alive():
            self.join()


class Tracker:
    """Adds up what is done and tells it.

    Args:
        tally: the run's counts.
        tell: called in the thread of the run; None for nobody.
        clock: seconds.

    Attributes:
        total: gives the bytes of all input, or None; None while nobody finds out.
    """

    def __init__(
        self, tally: Tally, tell: Callable[[Progress], None] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total: Callable[[], int | None] | None = None
        self._tally = tally
        self._tell = tell
        self._clock = clock
        self._phase: Phase = "ingesting"
        self._bytes = 0
        self._passed = 0
        self._told = clock()
        self._history: deque[tuple[float, int]] = deque([(self._told, 0)], _REMEMBERED)

    def enter(self, phase: Phase) -> None:
        """Begin another phase; the rate is one of this phase alone."""
        self._phase = phase
        now = self._clock()
        self._history.clear()
        self._history.append((now, self._bytes))
        self._say(now)

    def advance(self, size: int) -> None:
        """So many more bytes of text or of images are dealt with."""
        self._bytes += size
        self._tick()

    def pass_over(self, size: int) -> None:
        """So many more bytes of input are neither."""
        self._passed += size
        self._tick()

    def _tick(self) -> None:
        now = self._clock()
        if now - self._told >= _BETWEEN:
            self._say(now)

    def _say(self, now: float) -> None:
        self._told = now
        if self._tell is None:
            return
        then, before = self._history[0]
        self._history.append((now, self._bytes))
        rate = (self._bytes - before) / (now - then) if now > then else 0.0
        total = None if self.total is None else self.total()
        if total is not None:
            # What grew after it was counted is counted now.
            total = max(total - self._passed, self._bytes)
        left = (total - self._bytes) / rate if total is not None and rate > 0 else None
        tally = self._tally
        self._tell(Progress(self._phase, tally.documents, tally.tokens, self._bytes, total, rate, left, tally.images))
