"""What does a process see whose disk fails?  It lives through acts of a life, and then looks at the store.

While the disk is still as bad as it is, a snapshot that was taken before has to read what it read; the store has to
open for readers, to verify, and to stand at what was acknowledged or at the step in flight; a writer that failed must
have said so clearly, and refuse further work.

It says a line for each step that is acknowledged (`=`), for the error that ended it (`!`), and for each thing that is
wrong (`?`).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator

import mctree
from mctree.errors import MctreeError, UsageError, WriterFailedError
from mctree.testing.dump import dump
from mctree.testing.processes import forked
from mctree.tree.writer import Writer
from tools.crash.holding import read_again
from tools.crash.life import Life

__all__ = ["attempt_within", "suffer"]


def suffer(life: Life, path: str, act: str, say: Callable[[str], object]) -> None:
    """In a child whose disk fails: run an act, or all if none is named, and look at the store from there."""
    acknowledged = life.steps_before(act) if act else []
    close = Writer.close

    def close_after_all(writer: Writer) -> None:
        # What failed in a compaction is the writer of the new epoch; that of the old one may well go on.
        around = any(frame.name == "compact" for frame in traceback.extract_stack()) and not _is_new(writer)
        if isinstance(sys.exc_info()[1], WriterFailedError) and not around and _goes_on(writer):
            say("?the writer goes on working")
        close(writer)

    def acknowledge(name: str) -> None:
        acknowledged.append(name)
        say(f"={name}")

    Writer.close = close_after_all  # type: ignore[assignment,method-assign]
    reader = _Reader(life, path) if acknowledged else None
    try:
        life.live(path, acknowledge, [act] if act else life.acts)
    except Exception as error:
        say(f"!{type(error).__name__}: {error}")
        if not isinstance(error, MctreeError) or not str(error) or "\n" in str(error):
            say(f"?the error is not a clear one: {type(error).__name__}: {error}")
    if reader is None and acknowledged:
        reader = _Reader(life, path)
    if reader is not None:
        for problem in reader.problems(acknowledged):
            say(f"?{problem}")


def attempt_within(
    life: Life, path: str, before: Callable[[], None] = lambda: None, *, may_die: bool = False
) -> tuple[list[str], list[str]]:
    """Let a store live from its creation on in a child, until something fails.

    Args:
        life: which life.
        path: where.
        before: done in the child first.
        may_die: whether a signal may end the child.

    Returns:
        What was acknowledged, and what is wrong.
    """
    reading, writing = os.pipe()

    def work() -> None:
        before()
        suffer(life, path, "", lambda line: os.write(writing, line.replace("\n", " ").encode() + b"\n"))

    child = forked(work)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().decode("utf-8", "replace").splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    died = [] if status == 0 or (may_die and status < 0) else [f"the process ended with {status}"]
    return [line[1:] for line in lines if line[0] == "="], [*(line[1:] for line in lines if line[0] == "?"), *died]


class _Reader:
    """Somebody who reads in the same process."""

    def __init__(self, life: Life, path: str) -> None:
        self._life = life
        self._path = path
        self._tree = mctree.open(path, writable=False, encoders=life.encoders)
        self._held = self._tree.snapshot()
        self._read = [*dump(self._held)]

    def problems(self, acknowledged: list[str]) -> Iterator[str]:
        """What a reader finds wrong now."""
        try:
            read_again(self._held, self._read)
            self._life.settle(self._path, acknowledged)
        except (AssertionError, MctreeError, OSError) as error:
            yield f"a reader meanwhile: {type(error).__name__}: {error}"


def _is_new(writer: Writer) -> bool:
    """Whether it is the writer of an epoch that has not come to its place yet."""
    return writer.next.session.store.path.endswith(".compacting")


def _goes_on(writer: Writer) -> bool:
    """Whether a writer that has failed still commits."""
    try:
        writer.add("more", b"more")
        writer.commit()
    except (WriterFailedError, UsageError):
        return False
    return True
