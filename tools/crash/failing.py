"""How does a system call fail on demand?  The kernel asks a supervisor, who answers in its place.

A child has the kernel stop it at each system call that changes files (a seccomp filter, of Linux 5.5 and later), and
hands the means to answer to its parent.  The parent looks at which file is meant, and lets the call happen, or has it
return an error as if it had.  It sees every call of the process, also those that LMDB makes, and nothing of the child
has to be changed.

What a plan says is done to the calls on one folder: the first of them that it counts, or all from that one on.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mctree.testing.processes import forked
from tools.crash.stopped import CALLS, Stopped

__all__ = ["Call", "Ending", "Plan", "supervised"]

Work = Callable[[Callable[[str], None]], object]
"""Is given what says a line to the parent."""

_MACHINE = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), -1)
_NAMES = {number: name for name, numbers in CALLS.items() if (number := numbers[:2][_MACHINE or 0]) is not None}
_NO_NEW_PRIVS, _SET_FILTER, _NEW_LISTENER = 38, 1, 8
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_NOTICE = struct.Struct("<QIIiIQ6Q")  # id, thread, flags, call, architecture, instruction, six arguments
_ANSWER = struct.Struct("<QqiI")  # id, value, error, flags
_RECEIVE, _SEND, _GO_ON = 0xC0502100, 0xC0182101, 1


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that changes something in the folder.

    Attributes:
        name: which.
        does: what it does: `write`, `sync`, `start`, `truncate`, `rename`, `name` or `make`.
        file: on what, relative to the folder; of two names the first.
    """

    name: str
    does: str
    file: str

    def __str__(self) -> str:
        return f"{self.name} of {self.file}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which calls fail, and how.

    Attributes:
        when: the number of the first, counted from 1.
        error: the error that they return.
        for_ever: also all that follow.
        anyway: what they would have done happens all the same.
    """

    when: int
    error: int
    for_ever: bool = False
    anyway: bool = False

    def __str__(self) -> str:
        return f"{errno.errorcode[self.error]} {self.how}"

    @property
    def how(self) -> str:
        """In words: `once`, `for ever` or `although done`."""
        return "for ever" if self.for_ever else "although done" if self.anyway else "once"


@dataclass(slots=True)
class Ending:
    """How a supervised child ended.

    Attributes:
        calls: its calls on the folder, in order, up to a limit of what a plan needs.
        said: the lines that it said.
        failed: the first call that was made to fail.
        resynced: syncs of a file of which a sync had failed, before the child said anything.
        status: how it ended: 0, an exit status, or minus a signal.
    """

    calls: list[Call] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    failed: Call | None = None
    resynced: list[str] = field(default_factory=list)
    status: int = 0


def supervised(root: str, work: Work, plan: Plan | None = None) -> Ending:
    """Let a child do some work, and let its calls on a folder fail as planned.

    Args:
        root: the folder.
        work: what the child does; it is given what says a line to the parent.
        plan: which calls fail.

    Raises:
        OSError: the kernel does not offer this.
    """
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    child = forked(partial(_be_supervised, theirs, writing, work))
    theirs.close()
    os.close(writing)
    try:
        _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
    except ValueError:
        os.waitpid(child, 0)
        raise OSError(errno.ENOSYS, "system calls cannot be supervised here (seccomp user notification)") from None
    finally:
        ours.close()
    supervisor = _Supervisor(os.path.realpath(root), listener, plan)
    supervisor.run()
    os.close(listener)
    with os.fdopen(reading, "rb") as pipe:
        supervisor.ending.said = pipe.read().decode("utf-8", "replace").splitlines()
    supervisor.ending.status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return supervisor.ending


def _be_supervised(parent: socket.socket, saying: int, work: Work) -> None:
    """In the child: ask for supervision, and work."""
    listener = _install_filter()
    socket.send_fds(parent, [b"."], [listener])
    os.close(listener)
    parent.close()
    work(partial(_say, saying))


def _say(saying: int, line: str) -> None:
    os.write(saying, line.replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _install_filter() -> int:
    """Have the kernel ask about the calls; the descriptor through which it does."""
    numbers = sorted(_NAMES)
    steps = [(_LOAD, 0, 0, 0)]
    steps += [(_JUMP_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ASK)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    listener = libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)


class _Supervisor:
    """Answers for the kernel until the child has ended."""

    def __init__(self, root: str, listener: int, plan: Plan | None) -> None:
        self.ending = Ending()
        self._root = root
        self._listener = listener
        self._plan = plan
        self._unsynced: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Answer."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        notice = bytearray(_NOTICE.size)
        while True:
            if not any(events & select.POLLIN for _, events in poll.poll()):
                return  # nobody is left who could ask
            notice[:] = bytes(_NOTICE.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, notice)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue  # it was killed meanwhile
                raise
            asked, thread, _, number, _, _, *arguments = _NOTICE.unpack(notice)
            failing = self._judge(Stopped(thread, _NAMES[number], tuple(arguments)))
            answer = _ANSWER.pack(asked, 0, -failing if failing else 0, 0 if failing else _GO_ON)
            try:
                fcntl.ioctl(self._listener, _SEND, bytearray(answer))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def _judge(self, stopped: Stopped) -> int:
        """The error that a call has to return, 0 for none."""
        file = stopped.file()
        if file is None or not f"{file}/".startswith(f"{self._root}/"):
            if stopped.name == "write":
                self._unsynced.clear()  # it says something: what comes now is another attempt
            return 0
        call = Call(stopped.name, stopped.does, os.path.relpath(file, self._root))
        self.ending.calls.append(call)
        identity = stopped.identity() if call.does == "sync" else None
        if identity is not None and identity in self._unsynced:
            self.ending.resynced.append(str(call))
        plan, count = self._plan, len(self.ending.calls)
        if plan is None or count < plan.when or (count > plan.when and not plan.for_ever):
            return 0
        self.ending.failed = self.ending.failed or call
        if identity is not None:
            self._unsynced.add(identity)
        if plan.anyway:
            stopped.do()
        return plan.error
