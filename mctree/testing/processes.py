"""What if a process dies?  A child that does some work and breaks off in the middle of it, at a chosen system call.

Needs `os.fork`.  The child ends without cleaning anything up, as one does that was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from mctree.storage.environment import WriteTransaction

__all__ = ["FAILED", "KILLED", "UNFIT", "forked", "in_child", "kill_after", "kill_after_transaction"]

KILLED, FAILED, UNFIT = 71, 72, 73
"""How a child ends that was broken off, one in which something was raised, and one in which that was an error of the
code itself: of a type, an attribute or a name."""

_CALLS = ("open", "pwrite", "ftruncate", "fdatasync", "fsync", "rename", "link", "unlink", "mkdir", "rmdir")


def in_child(work: Callable[[], object]) -> int:
    """Do some work in a forked child.

    Args:
        work: what to do there; what it raises is printed.

    Returns:
        The child's exit status: 0, `KILLED`, `FAILED` or `UNFIT`.
    """
    _, ended = os.waitpid(forked(work), 0)
    return os.waitstatus_to_exitcode(ended)


def forked(work: Callable[[], object]) -> int:
    """Begin some work in a forked child, which ends with it, without cleaning anything up that is its parent's.

    Args:
        work: what to do there; what it raises is printed.

    Returns:
        The child's process number.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Newer releases of Python warn of threads; those here are of libraries that the child does not enter.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = FAILED
        try:
            # Whoever sets an alarm here means to die of it; what a test runner does at alarms is the parent's business.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            work()
            status = 0
        except BaseException as error:
            status = UNFIT if isinstance(error, TypeError | AttributeError | NameError) else FAILED
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return child


def kill_after(calls: int) -> None:
    """Let this process, a child, die at the `calls`-th change to the file system from now on.

    A write that it dies in has been done by half.
    """
    left = calls

    def burning(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if name == "pwrite":
                    fd, data, offset = args
                    real(fd, memoryview(data)[: len(data) // 2], offset)
                os._exit(KILLED)
            return real(*args, **options)

        return call

    for name in _CALLS:
        setattr(os, name, burning(name, getattr(os, name)))


def kill_after_transaction(calls: int) -> None:
    """Let this process, a child, die at the `calls`-th change to the file system after its next index transaction."""
    real = WriteTransaction.__exit__

    def leave(
        self: WriteTransaction, kind: type[BaseException] | None, error: BaseException | None, *rest: object
    ) -> None:
        real(self, kind, error, *rest)
        if kind is None:
            kill_after(calls)

    WriteTransaction.__exit__ = leave  # type: ignore[method-assign]  # this process ends with it
