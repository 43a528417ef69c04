"""Ctrl-C at every moment of something, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def interrupted(work: Callable[[], object], after: Callable[[], object]) -> int:
    """Do something again and again, interrupted at one moment later each time, until it is not; how often it was.

    The interpreter looks for signals when it enters a function, and when one that is written in C has returned.
    """
    times = 0
    while True:
        left = times

        def look(frame: FrameType, event: str, _: Any) -> None:
            nonlocal left
            if event in ("call", "c_return") and frame.f_globals.get("__name__") != __name__:
                left -= 1
                if left < 0:
                    sys.setprofile(None)
                    raise KeyboardInterrupt

        try:
            sys.setprofile(look)
            work()
        except KeyboardInterrupt:
            pass
        else:
            return times
        finally:
            sys.setprofile(None)
        after()
        times += 1
