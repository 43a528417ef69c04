"""How does one do something that may crash, hang, or take all memory?  In a child with limits, and no code but ours.

The child is forked, so that it has everything loaded.  It may take so much more memory, so much of the processor and so
long; and whoever in it would run a program, load a library or unpickle something ends it instead (but for the one
program that mctree runs itself, which looks at an index before anybody believes it).  Memory that the child has not is
no reason to refuse an input: whatever becomes of an error that says so, a limit of ours should have come before.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from mctree.errors import MctreeError

__all__ = ["DONE", "REFUSED", "confined", "lacks_memory", "tells_of_memory"]

DONE = "done"
REFUSED = "refused"
"""How work ends well: to its end, or with a typed error in one printable line."""

_SECONDS = 60
_MORE_MEMORY = 1 << 30
_LONGEST_MESSAGE = 4000
_CODE = {
    *("os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn", "subprocess.Popen"),
    *("pickle.find_class", "ctypes.dlopen", "ctypes.dlsym"),
}
"""Events of the interpreter that say that foreign code runs, or is about to."""


def confined(work: Callable[[], object], *, seconds: int = _SECONDS, memory: int = _MORE_MEMORY) -> str:
    """Do some work in a child.

    Args:
        work: what to do there.
        seconds: how long it may take, and how much of the processor.
        memory: how many bytes more than this process it may take.

    Returns:
        `DONE`, `REFUSED`, or else what went wrong.
    """
    _ready()
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        try:
            _confine(seconds, memory, into)
            said = _outcome(work)
        except BaseException:
            said = traceback.format_exc()
        os.write(into, said.encode("utf-8", "backslashreplace")[-_LONGEST_MESSAGE:])
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as answer:
        said = answer.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        name = signal.Signals(-status).name
        return f"took longer than {seconds} s" if name in ("SIGALRM", "SIGXCPU") else f"ended by {name} {said}".strip()
    return said


def tells_of_memory(words: str) -> bool:
    """Whether words say that no memory was left, as those of NumPy, of decoders, of the system and of mctree do."""
    return re.search(r"MemoryError|\ballocate\b|out of memory", words) is not None


def lacks_memory(error: BaseException) -> bool:
    """Whether an error came, or says that it came, of there being no memory left."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or tells_of_memory(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except MctreeError as error:
        message = str(error)
        if lacks_memory(error):
            return f"{type(error).__name__} for want of memory: {message[:200]!r}"
        if message and message.isprintable() and len(message) < _LONGEST_MESSAGE:
            return REFUSED
        return f"{type(error).__name__} not in one printable line: {message[:200]!r}"
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/mctree/" in frame.filename]
        where = f"{frames[-1].filename.rpartition('/mctree/')[2]}:{frames[-1].lineno}" if frames else "outside"
        return f"{type(error).__name__} at {where}: {str(error)[:200]}"
    return DONE


def _confine(seconds: int, memory: int, into: int) -> None:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + memory,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)

    def no_code(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CODE and not _is_ours(event, arguments):
            os.write(into, f"runs code: {event} {arguments!r:.300}".encode("utf-8", "backslashreplace"))
            os.kill(os.getpid(), signal.SIGSYS)

    sys.addaudithook(no_code)


def _data_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmData")) << 10


def _is_ours(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether it is the program that looks at an index, by the way that Python has to start it."""
    if event == "subprocess.Popen":
        return arguments[0] == sys.executable and "mctree.storage.probe" in repr(arguments[1])
    # What starts it, and functions of the C library that the engine knows by name.
    return event in ("ctypes.dlsym", "ctypes.dlopen") and (
        arguments[0] is None or isinstance(arguments[0], ctypes.CDLL)
    )


def _ready() -> None:
    """Load what a child may need: it must not run anything, and importing does."""
    import pyarrow.parquet  # noqa: PLC0415, F401
    import tokenizers  # noqa: PLC0415, F401

    import mctree.cli.program  # noqa: PLC0415
    import mctree.ingest  # noqa: PLC0415
    import mctree.sources.images.archives  # noqa: PLC0415
    import mctree.sources.images.pictures  # noqa: PLC0415
    import mctree.sources.images.tiff  # noqa: PLC0415
    import mctree.sources.images.zarr_source  # noqa: PLC0415
    import mctree.storage.probe  # noqa: PLC0415, F401
