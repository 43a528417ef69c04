"""What does `mctree` acknowledge, as a user starts it?  It is a process of its own, and notes what has returned.

    python -m tools.crash.commanded NOTES PLANT ARGUMENT…

All arguments but the first two are the command's.  A line for each commit is appended to the file NOTES, which outlives
the process if it is killed.  PLANT names a function of `tools.crash.planted`, or `sound`.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable

import mctree
from tools.crash import planted
from tools.crash.victims import sound

__all__ = ["acknowledge_commits", "command"]


def acknowledge_commits(say: Callable[[str], object]) -> None:
    """Let every commit of this process be told when it has returned."""
    real = mctree.Writer.commit

    def commit(self: mctree.Writer, *, gists: bool | None = None) -> int:
        number = real(self, gists=gists)
        say(str(number))
        return number

    mctree.Writer.commit = commit  # type: ignore[method-assign]  # this process ends with it


def command(notes: str, plant: Callable[[], None], *arguments: str) -> list[str]:
    """What starts it."""
    return [sys.executable, "-m", __spec__.name, notes, plant.__name__, *arguments]


def main(notes: str, plant: str, *arguments: str) -> None:
    """Be `mctree`."""
    getattr(planted, plant, sound)()
    into = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    acknowledge_commits(lambda number: os.write(into, f"{number}\n".encode()))
    sys.argv[1:] = arguments
    runpy.run_module("mctree", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
