"""How does work that holds the interpreter lock use all cores?  In processes that wait for it, and outlive no one.

Threads share one lock: where work is many short calls, two of them are hardly faster than one.  Processes share
nothing, so what they work on is sent to them and what they have made is sent back: it pays where that takes far less
time than the work, and where there is enough of it to make up for their start (about half a second each).

What is done again and again goes as `Work`, pickled once, and each process unpickles it once: so it may be something
that opens a file.

Each has a pipe of its own, through which a few bytes go: everything else lies in files in memory, which both open, so
that nobody waits for a pipe to be emptied.  All is done by the thread that has something to be done; there is none
beside it.  When a process dies its pipe ends, and what it was asked for is lost; whoever asked can do that work.  Where
no process can be begun, or reached through such files, all work is lost in this way.

They are begun afresh, not forked: so none has the locks or files of the process that began them, and its main module
must be one that can be imported, as `multiprocessing` asks for.  They leave Ctrl-C to that process, and end with it
however it ends.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import count as counting
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mctree.errors import UsageError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

__all__ = ["Job", "Processes", "Work"]

_SURROUNDINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What processes find in their environment: each keeps the memory of its arrays for the next ones (glibc would give it
back to the kernel, and be given it anew, with every call of NumPy), and uses one core."""
_SENT = 3
"""Jobs that a process has at most: the one that it works on, and others for as long as nobody hears it."""
_LARGEST_WORK = 1 << 20
"""Bytes of pickled work: with what is larger than that it is better to go by its parts."""

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)


class Work(Generic[Made_co]):
    """Some work that processes do again and again; see `Processes.share`.

    Args:
        function: what is to be called.
        pickled: the same, pickled.
    """

    def __init__(self, function: Callable[..., Made_co], pickled: bytes) -> None:
        self._function = function
        self._sent = next(_NUMBERS), pickled

    def __call__(self, *given: Any) -> Made_co:
        """Do it here."""
        return self._function(*given)

    def __reduce__(self) -> tuple[object, ...]:
        return _taken_up, self._sent


_NUMBERS = counting()


class Job(Generic[Made]):
    """Some work that one of several processes is to do.

    Args:
        processes: which.
        work: a function that pickles.
        given: what it is given.
    """

    def __init__(self, processes: Processes, work: Callable[..., Made], given: tuple[object, ...]) -> None:
        self.parcel = work, given
        self._processes = processes
        self._value: list[Made] = []
        self._error: Exception | None = None

    def cancel(self) -> bool:
        """Take it back if no process has it; whether that was so."""
        return self._processes.withdraw(self)

    def done(self) -> bool:
        """Whether it is known what has become of it."""
        self._processes.look(0)
        return self._known

    def result(self) -> Made:
        """What the work has made, once it is there.

        Raises:
            BrokenExecutor: the process that had it died, or there was none.
            Exception: what the work raised.
        """
        while not self._known:
            self._processes.look(None)
        if self._error is not None:
            raise self._error
        return self._value[0]

    def made(self, value: Made) -> None:
        """Let it be known what the work has made."""
        self._value.append(value)

    def failed(self, error: Exception) -> None:
        """Let it be known that nothing comes of it."""
        self._error = error

    @property
    def _known(self) -> bool:
        return bool(self._value) or self._error is not None


class Processes:
    """Some processes that work for this one, begun when there is something to do; for one thread at a time.

    A context manager: at its end they are gone, whatever they were at.

    Args:
        count: how many.
        spare: pieces of work that whoever has them does himself before a process is begun: for so few, it is not worth
            its start.
        modules: that each of them imports as it begins.

    Attributes:
        count: as given.
        spare: how many such pieces are left; who does one counts it.

    Raises:
        UsageError: there would be none.
    """

    def __init__(self, count: int, *, spare: int = 24, modules: Sequence[str] = ()) -> None:
        if count < 1:
            raise UsageError(f"somebody has to work: {count} processes cannot")
        self.count, self.spare = count, spare
        self._modules = tuple(modules)
        self._owner = os.getpid()
        self._workers: list[_Worker] | None = None
        self._waiting = deque[Job[Any]]()
        self._free = list[int]()  # files in memory that nobody uses

    def expect(self, pieces: int) -> None:
        """Begin now if so many pieces of work are to come soon that it is worth it."""
        if pieces > self.spare and os.getpid() == self._owner:
            self.spare = 0
            self._workers = self._begun() if self._workers is None else self._workers

    def share(self, function: Callable[..., Made]) -> Work[Made] | None:
        """Some work that these can do again and again; None if they cannot.

        Args:
            function: must pickle, into a megabyte at most, as must what it is given and gives.  A process unpickles it
                with the first job; if it has a `close`, that is called when other such work takes its place.
        """
        if os.getpid() != self._owner or self._workers == []:
            return None
        apart = list[pickle.PickleBuffer]()
        try:
            pickled = pickle.dumps(function, protocol=5, buffer_callback=apart.append)
            if len(pickled) + sum(buffer.raw().nbytes for buffer in apart) > _LARGEST_WORK:
                return None
            return Work(function, pickle.dumps(function) if apart else pickled)
        except Exception:  # what does not pickle says so by all kinds of errors
            return None

    def submit(self, work: Callable[..., Made], /, *given: object) -> Job[Made]:
        """Have some work done: a function that pickles, or `Work` that is shared."""
        job = Job(self, work, given)
        if os.getpid() != self._owner:
            job.failed(BrokenExecutor("these processes work for another one"))
            return job
        if self._workers is None:
            self._workers = self._begun()
        self._waiting.append(job)
        self.look(0)
        return job

    def withdraw(self, job: Job[Any]) -> bool:
        """Take back a job that no process has; whether that was so."""
        with suppress(ValueError):
            self._waiting.remove(job)
            return True
        return False

    def look(self, timeout: float | None) -> None:
        """See what processes have done, for so many seconds at most, and give them more to do."""
        if os.getpid() != self._owner:
            raise BrokenExecutor("these processes work for another one")
        workers = self._workers or []
        for pipe in _ready(workers, timeout) if workers else ():
            worker = next(worker for worker in workers if worker.pipe is pipe)
            try:
                worker.hear(self._free)
            except (EOFError, OSError):
                self._lose(worker)
            except BaseException:  # Ctrl-C: its next answer would be taken for that to something else
                self._lose(worker)
                raise
        for worker in list(workers):
            while self._waiting and worker.ready and len(worker.jobs) < _SENT:
                job = self._waiting.popleft()
                try:
                    worker.send(job, self._free)
                except OSError as error:  # it is gone, or there is no memory
                    job.failed(BrokenExecutor(str(error)))
                    self._lose(worker)
                    break
                except BaseException:  # as above
                    self._lose(worker)
                    raise
        if not workers:
            for job in self._waiting:
                job.failed(BrokenExecutor("no process is left"))
            self._waiting.clear()

    def close(self) -> None:
        """End them; what they were asked for is lost."""
        if os.getpid() == self._owner:
            for worker in list(self._workers or []):
                self._lose(worker)
            self.look(0)
        while self._free:
            os.close(self._free.pop())

    def _begun(self) -> list[_Worker]:
        """As many processes as can be begun."""
        workers = list[_Worker]()
        if hasattr(os, "memfd_create"):
            # An AssertionError: this process is one that may begin none.
            with suppress(OSError, AssertionError), _interrupts_held(), _surroundings():
                while len(workers) < self.count:
                    workers.append(_Worker(self._modules))
        return workers

    def _lose(self, worker: _Worker) -> None:
        """Let a process be gone, and what it was asked for be lost."""
        assert self._workers is not None, "it was one of them"
        self._workers.remove(worker)
        worker.end(self._free)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One process, and what it was asked for and has not answered.

    Attributes:
        pipe: to it; only this process has this end, so that it ends when either does.
        ready: whether it has said that it is there.
        jobs: what it was asked for, the first first, and the file in memory of each.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        import multiprocessing  # noqa: PLC0415  # who needs no processes does not wait for it

        self.pipe, other = multiprocessing.Pipe()
        self.ready = False
        self.jobs = deque[tuple[Job[Any], int]]()
        self._process: SpawnProcess = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(other, modules), name="mctree-worker", daemon=True
        )
        try:
            self._process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            other.close()

    def send(self, job: Job[Any], free: list[int]) -> None:
        """Ask it for a job.

        Raises:
            OSError: it is gone, or its file cannot be made.
        """
        fd = free.pop() if free else os.memfd_create("mctree")
        self.jobs.append((job, fd))
        try:
            sizes = _put(fd, job.parcel)
        except OSError:
            raise
        except Exception as error:  # what does not pickle says so by all kinds of errors
            self.jobs.pop()
            free.append(fd)
            job.failed(error)
            return
        self.pipe.send((f"/proc/{os.getpid()}/fd/{fd}", sizes))

    def hear(self, free: list[int]) -> None:
        """Hear what it has to say.

        Raises:
            EOFError: it is gone.
            OSError: so it is.
        """
        said = self.pipe.recv()
        if not self.ready:
            self.ready = True
            return
        well, sizes = said
        job, fd = self.jobs.popleft()
        free.append(fd)
        try:
            found = _got(fd, sizes)
        except Exception as error:  # of classes that are not the same here and there
            job.failed(BrokenExecutor(f"what a process has made cannot be read: {error}"))
            return
        if well:
            job.made(found)
        else:
            job.failed(found)

    def end(self, free: list[int]) -> None:
        """Let it be gone."""
        self.pipe.close()
        self._process.kill()
        self._process.join()
        for job, fd in self.jobs:
            free.append(fd)
            job.failed(BrokenExecutor("a process died that had work to do"))
        self.jobs.clear()


def _ready(workers: Sequence[_Worker], timeout: float | None) -> list[Any]:
    """The pipes through which something has come, after so many seconds at most."""
    from multiprocessing.connection import wait  # noqa: PLC0415  # as below

    return wait([worker.pipe for worker in workers], timeout)


def _serve(pipe: Connection, modules: Sequence[str]) -> None:
    """Be a process that works for another one, until that closes the pipe or is gone."""
    for module in modules:
        import_module(module)
    with suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            path, sizes = pipe.recv()
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                pipe.send(_worked(fd, sizes))
            finally:
                os.close(fd)


def _worked(fd: int, sizes: Sequence[int]) -> tuple[bool, list[int]]:
    """Do what a file asks for, and put there what has come of it: whether all is well, and the sizes of its parts."""
    try:
        work, given = _got(fd, sizes)
    except Exception as error:  # of a class or function, or a file, that is not to be found here
        return False, _put(fd, BrokenExecutor(f"a process cannot take this up: {error}"))
    try:
        return True, _put(fd, work(*given))
    except Exception as error:
        return False, _put(fd, error)


_last: tuple[int, Callable[..., Any] | Exception | None] = -1, None
"""The work that this process was last sent, by its number, or why there is none."""


def _taken_up(number: int, pickled: bytes) -> Callable[..., Any]:
    """Work that another process shares with this one.

    Raises:
        Exception: it cannot be unpickled.
    """
    global _last  # noqa: PLW0603  # a process does one thing at a time
    if _last[0] != number:
        if close := getattr(_last[1], "close", None):
            close()
        _last = number, None
        try:
            _last = number, pickle.loads(pickled)  # noqa: S301  # of the process that began this one
        except Exception as error:  # as above; it would not be found the next time either
            _last = number, error
    if isinstance(_last[1], Exception) or _last[1] is None:
        raise _last[1] or EOFError("this work was broken off")
    return _last[1]


def _put(fd: int, what: object) -> list[int]:
    """Pickle something into a file, its arrays behind it: the sizes of all of these."""
    buffers = list[pickle.PickleBuffer]()
    parts = [memoryview(pickle.dumps(what, protocol=5, buffer_callback=buffers.append))]
    parts += [buffer.raw() for buffer in buffers]
    end, sizes = 0, [len(part) for part in parts]
    for part in parts:
        stop = end + len(part)
        while end < stop:
            end += os.pwrite(fd, part[end - stop :], end)
    return sizes


def _got(fd: int, sizes: Sequence[int]) -> Any:
    """What a file holds; its arrays are the caller's own."""
    start, parts = 0, []
    for size in sizes:
        part = bytearray(size)
        rest = memoryview(part)
        while rest:
            count = os.preadv(fd, [rest], start)
            if not count:
                raise EOFError("a file in memory ends before what was put there")
            rest, start = rest[count:], start + count
        parts.append(part)
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  # of a process that this one began, or that began it


@contextmanager
def _surroundings() -> Iterator[None]:
    """Let processes that are begun find what they should in their environment, where nobody has said otherwise."""
    mine = {name: value for name, value in _SURROUNDINGS.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait; a process that is begun meanwhile never hears of it."""
    from multiprocessing import resource_tracker  # noqa: PLC0415  # as above

    resource_tracker.ensure_running()  # which, when it is begun with the first process, lets Ctrl-C strike again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
