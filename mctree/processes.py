"""How does work that holds the interpreter lock use all cores?  In processes that wait for it, and outlive no one.

Threads share one lock: where work is many short calls, two of them are hardly faster than one.  Processes share
nothing, so what they work on is sent to them and what they have made is sent back: it pays where that takes far less
time than the work, and where there is enough of it to make up for their start (about half a second each).

They are begun afresh, not forked: so none has the locks or files of the process that began them, and its main module
must be one that can be imported, as `multiprocessing` asks for.  They leave Ctrl-C to that process, and end with it
however it ends.  Of a process that dies nothing is lost: whoever gave it work can do that work.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from mctree.errors import UsageError

__all__ = ["Processes"]

Made = TypeVar("Made")


class Processes:
    """Some processes that work for this one, each begun when there is something to do; a context manager.

    Args:
        count: how many.

    Attributes:
        count: as given.
        spared: how much of their work their caller has done so far, since it was not worth their start; it counts that.

    Raises:
        UsageError: there would be none.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise UsageError(f"somebody has to work: {count} processes cannot")
        self.count = count
        self.spared = 0
        self._pool: ProcessPoolExecutor | None = None
        self._free = list[int]()  # files in memory that nobody reads

    def take(self, work: Callable[..., object]) -> bool:
        """Whether these can do some work: a function that pickles, as must what it is given and gives."""
        try:
            pickle.dumps(work)
        except Exception:  # what does not pickle says so by all kinds of errors
            return False
        return True

    def submit(self, work: Callable[..., Made], *given: object) -> Future[Made]:
        """Have some work done.

        Returns:
            Its result, once it is there; `BrokenExecutor` if a process died, of which nobody knows at what.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count, mp_context=multiprocessing.get_context("spawn"), initializer=_serve
            )
        parcel, fd = self._packed((work, given))
        try:
            future: Future[Made] = self._pool.submit(_work, parcel)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        if fd is not None:
            future.add_done_callback(lambda _: self._free.append(fd))
        return future

    def _packed(self, what: object) -> tuple[_Parcel, int | None]:
        """Something to be sent, and the file that its arrays lie in until it has come back, if there is one."""
        if not hasattr(os, "memfd_create"):
            return _Parcel(pickle.dumps(what, protocol=5)), None
        buffers = list[pickle.PickleBuffer]()
        data = pickle.dumps(what, protocol=5, buffer_callback=buffers.append)
        if not buffers:
            return _Parcel(data), None
        fd = self._free.pop() if self._free else os.memfd_create("mctree")
        end, sizes = 0, []
        for buffer in buffers:
            rest = buffer.raw()
            sizes.append(len(rest))
            while rest:
                written = os.pwrite(fd, rest, end)
                rest, end = rest[written:], end + written
        return _Parcel(data, f"/proc/{os.getpid()}/fd/{fd}", tuple(sizes)), fd

    def close(self) -> None:
        """Let them end, when they have done what they have begun."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        while self._free:
            os.close(self._free.pop())

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Parcel:
    """Something pickled, whose arrays lie in a file: through a pipe they would take as long as some of the work.

    Attributes:
        data: what is pickled.
        path: of the file; empty if there are no arrays.
        sizes: bytes of each array, one behind the other.
    """

    data: bytes
    path: str = ""
    sizes: tuple[int, ...] = ()

    def unpacked(self) -> Any:
        """What was sent."""
        buffers = [bytearray(size) for size in self.sizes]
        if buffers:
            with open(self.path, "rb") as file:
                for buffer in buffers:
                    file.readinto(buffer)
        return pickle.loads(self.data, buffers=buffers)  # noqa: S301  # of the process that began this one


def _work(parcel: _Parcel) -> Any:
    work, given = parcel.unpacked()
    return work(*given)


def _serve() -> None:
    """Be a process that works for another one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="mctree-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was begun by one"
    parent.join()
    os._exit(1)  # nobody is left to tell
