"""How does a process die at a chosen system call, and who looks at what it leaves?  Forked children, and strace.

A victim is forked from a process that has imported everything, so that nothing but its work is traced and a death
costs some hundredths of a second.  It waits until strace has it, and acknowledges through a pipe, which outlives it.
strace counts its system calls of a name from then on, and kills it on entering the one that was chosen: what that call
would have done has not happened.

A judge is a child too: a damaged store that brings it down, or holds it up for ever, is a finding like any other.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mctree.testing.processes import UNFIT, forked

__all__ = [
    "CHANGING",
    "MISFIT",
    "Ending",
    "counted",
    "in_judgement",
    "killed_after",
    "killed_at",
    "recorded",
    "sound",
    "strace",
]

CHANGING = frozenset(
    {
        *("open", "openat", "openat2", "creat", "flock"),
        *("write", "writev", "pwrite64", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate"),
        *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
        *("mkdir", "mkdirat", "rmdir"),
    }
)
"""System calls that change what other processes find: killed between two of them, a process leaves the same."""

MISFIT = "a type, an attribute or a name does not fit"
"""What is said of a process that ended so.  A fault that was planted has not been found by it: nothing was planted."""

_PATIENCE = 120
_LONGEST = 1 << 22
_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)
_LINE = re.compile(r"(?:\d+ +)?(\w+)\(")

Work = Callable[[Callable[[str], None]], object]
"""Is given what it has to acknowledge to."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a victim ended.

    Attributes:
        acknowledged: what it acknowledged before.
        killed: whether it was killed; else it came to its end.
        failure: what went wrong, if it did neither.
    """

    acknowledged: tuple[str, ...]
    killed: bool
    failure: str = ""


def sound() -> None:
    """Plant no fault: the engine is as it is."""


def strace() -> str:
    """The path of strace.

    Raises:
        RuntimeError: it is not installed; the message says how to.
    """
    found = shutil.which("strace")
    if found is None:
        raise RuntimeError("strace is missing, and without it crashes cannot be tested: apt-get install strace")
    return found


def killed_at(work: Work, call: str, when: int) -> Ending:
    """Let a child do some work, and kill it on entering its `when`-th system call of that name."""
    return _traced(work, ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}", "-o", os.devnull])


def counted(work: Work, log: Path) -> list[str]:
    """Let a child do some work; the names of the system calls that it makes, in order.

    Raises:
        RuntimeError: the work failed.
    """
    ending = _traced(work, ["-e", "signal=none", "-o", str(log)])
    if ending.failure:
        raise RuntimeError(ending.failure)
    matches = (_LINE.match(line) for line in log.read_text(errors="replace").splitlines())
    return [match[1] for match in matches if match]


def recorded(work: Work, calls: str, log: Path) -> Ending:
    """Let a child do some work, and write its system calls of a set down, with every byte that it writes."""
    return _traced(work, ["-xx", "-s", str(_LONGEST), "-e", f"trace={calls}", "-e", "signal=none", "-o", str(log)])


def killed_after(work: Work, seconds: float) -> Ending:
    """Let a child do some work, and kill it after some time, unless it is done by then."""
    victim = _Victim(work)
    victim.go()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not victim.over():
        time.sleep(min(0.002, left))
    victim.kill()
    return victim.ending()


def in_judgement(judgement: Callable[[], Sequence[str]], patience: int = _PATIENCE) -> list[str]:
    """What a child finds wrong; that it dies, raises, or takes more than so many seconds is something wrong."""
    reading, writing = os.pipe()

    def judge() -> None:
        signal.alarm(patience)
        os.write(writing, "\0".join(judgement()).encode("utf-8", "backslashreplace")[: 1 << 16])

    child = forked(judge)
    os.close(writing)
    said = _all_of(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        return [f"looking at it {_ended(status)}"]
    return said.decode().split("\0") if said else []


class _Victim:
    """A child that waits for `go`, works, acknowledges and ends."""

    def __init__(self, work: Work) -> None:
        self._acknowledged, writing = os.pipe()
        waiting, self._go = os.pipe()

        def suffer() -> None:
            os.close(self._go)
            os.close(self._acknowledged)
            signal.alarm(_PATIENCE)
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY)  # where only parents may trace otherwise
            os.write(writing, b".")
            if os.read(waiting, 1):  # nothing, if whoever started it is gone
                work(lambda name: _say(writing, name))

        self.pid = forked(suffer)
        os.close(writing)
        os.close(waiting)
        os.read(self._acknowledged, 1)  # so that what it did up to here is not counted
        self._status: int | None = None

    def go(self) -> None:
        """Let it begin, unless it was killed while it waited."""
        with suppress(BrokenPipeError):
            os.write(self._go, b".")
        os.close(self._go)

    def over(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def kill(self) -> None:
        """End it now."""
        if not self.over():
            os.kill(self.pid, signal.SIGKILL)

    def ending(self) -> Ending:
        """Wait for its end."""
        acknowledged = tuple(_all_of(self._acknowledged).decode().splitlines())
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        status = os.waitstatus_to_exitcode(self._status)
        killed = status == -signal.SIGKILL
        return Ending(acknowledged, killed, "" if killed or not status else f"the victim {_ended(status)}")


def _say(to: int, name: str) -> None:
    os.write(to, name.encode() + b"\n")


def _traced(work: Work, options: list[str]) -> Ending:
    victim = _Victim(work)
    command = [strace(), "-f", "-p", str(victim.pid), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" in said:  # from here on no call escapes it
            victim.go()
            return victim.ending()
        victim.kill()
        victim.ending()
        raise RuntimeError(f"strace could not attach: {said}{tracer.stderr.read()}")


def _ended(status: int) -> str:
    if status == -signal.SIGALRM:
        return f"did not end within {_PATIENCE} s"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    if status == UNFIT:
        return f"ended with an error of the code itself: {MISFIT} (see its traceback)"
    return f"ended with status {status} (see its traceback)"


def _all_of(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as stream:
        return stream.read()
