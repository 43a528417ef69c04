"""How does a process reach an LMDB index safely?  One guarded environment per process and file.

LMDB is fast because it trusts its caller; what it trusts is checked here.  Its two files are judged before it gets them
(see `mctree.storage.gate`); the process id is compared at every transaction (an environment that crossed a fork reads
and writes without complaint, and closing it there frees the parent's reader slot); the map grows when it is full, and
follows when another process grew it.

It does not know what the keys and values mean.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import lmdb

from mctree.errors import BusyError, CorruptError, MctreeError, NotAStoreError, UsageError, WriterFailedError
from mctree.storage.files import opened, telling
from mctree.storage.gate import MAX_READERS, check_index, preallocate_locks
from mctree.storage.pages import DATA_NAME, INDEX_NAME
from mctree.storage.place import check_place

__all__ = ["Environment", "MapFull", "WriteTransaction", "open_environment"]

MapFull = lmdb.MapFullError

_MAP_BYTES = 1 << 40
_SMALLEST_MAP = 1 << 30
_FORK_WAIT = 1.0
_MOST_OUTGROWN = 100
"""Times in a row that an index is larger than it said a moment before; a writer elsewhere does not commit so fast."""
_ALL_PLACES_TAKEN = (
    f"{MAX_READERS} readers look into it at this moment, or were killed while they did; retry when one of those that "
    "live has read"
)
_OPEN_ALREADY = "already open in this process"
"""LMDB's binding has no type of error for this."""
_NO_ADDRESSES = "this process may not have so many addresses; raise the limit on them (`ulimit -v`), or close stores"

_shared: dict[tuple[int, int], Environment] = {}
_inherited: set[tuple[int, int]] = set()
"""Those that were open in the parent when this process was forked: one that is not free by now stays so."""
_shared_lock = threading.RLock()
"""Reentrant: a store that the garbage collector finds gives its environment up wherever the collector was called."""


class Environment:
    """An open LMDB environment, shared by all of this process that use the same file.

    Made by `open_environment`; every use of it is one `reading` or `writing` block.

    Args:
        at: descriptor of the store's directory, which this environment closes.  By it the index is opened again
            where LMDB has given up: whoever opened the store first may have closed theirs by then.
        where: the store's path.
        identity: device and inode of the file.
        writable: whether transactions that write may be begun.

    Attributes:
        identity: as given.
        writable: as given.
        locked: whether its transactions have a place among LMDB's readers; else a writer elsewhere that commits twice
            while one lasts may take pages that it reads by.
    """

    def __init__(self, at: int, where: str, identity: tuple[int, int], writable: bool) -> None:
        self._at = at
        self._path = _path(at, where)
        self.identity = identity
        self.writable = writable
        self._users = 0
        self._pid = os.getpid()
        # Taken by its own name and never by that of the condition, whose methods are Python's: an interrupt between the
        # steps of these would leave it taken.  Reentrant: a generator that the garbage collector closes ends its look
        # wherever the collector was called.
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)
        self._readers = 0
        self._own = threading.local()
        self._paused = False
        self.locked = writable or may_lock(self._path)
        self._env = _open(self._path, writable, self.locked)
        if writable:
            self._env.reader_check()

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A read transaction: short, for it keeps every page that is freed meanwhile.

        One within another of the same thread may be that other one: where the map has to move for a new one, this
        would wait for itself.
        """
        mine: list[lmdb.Transaction] = self._own.__dict__.setdefault("open", [])
        counted = False
        try:
            with self._lock:
                self._check_process()
                # No call stands between these two, so that no interrupt can: what is counted is always taken off again.
                self._readers += 1
                counted = True
            with self._begin_read(mine) as txn:
                try:
                    mine.append(txn)
                    yield txn
                finally:
                    if txn in mine:
                        mine.remove(txn)
        except lmdb.Error as error:
            raise self._told(error) from error
        finally:
            if counted:
                with self._lock:
                    self._readers -= 1
                    self._ended.notify_all()

    def writing(self) -> WriteTransaction:
        """A write transaction for a `with` block: committed and durable when the block ends, undone when it raises.

        Raises:
            WriterFailedError: LMDB could not commit; only reopening the store tells whether it happened.
        """
        self._check_process()
        return WriteTransaction(self._begin_write())

    def settle(self) -> None:
        """Let a commit show that its writer did not live to announce, by taking the writer's turn and giving it back.

        LMDB's readers go by a number in shared memory that a writer raises after its commit is on disk.  Who takes the
        turn of a writer that was killed in between raises it first, and until then readers see the commit before.
        """
        self._check_process()
        self._begin_write().abort()

    def grow(self) -> None:
        """Double the map, once this process's own readers have finished.

        Raises:
            WriterFailedError: this process has no addresses for it; readers go on.
        """
        self._alone(self._double)

    def reader_check(self) -> None:
        """Free the reader slots of killed processes, whose pages would otherwise never be reused."""
        self._check_process()
        self._env.reader_check()

    def fill_out(self, at: int) -> None:
        """Make the data file as long as its header says, for who holds the writer's lock.

        LMDB leaves it shorter where a transaction gave its last pages back, and then whoever opens it has to look
        whether it was cut off.

        Args:
            at: descriptor of the store's directory.
        """
        with opened(DATA_NAME, os.O_RDWR, at) as fd:
            if os.fstat(fd).st_size < (wanted := (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]):
                os.ftruncate(fd, wanted)

    def size(self) -> int:
        """Bytes of the index in use, free pages included."""
        info, stat = self._env.info(), self._env.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def release(self) -> None:
        """Give up one use; the last one closes the environment."""
        with _shared_lock:
            self._users -= 1
            if self._users == 0 and self._pid == os.getpid():
                _shared.pop(self.identity, None)
                self._env.close()
                os.close(self._at)

    def pause(self) -> None:
        """Begin no transaction until `resume`, and give those that are open a second to end."""
        if self._lock.acquire(timeout=_FORK_WAIT):
            self._paused = True
            self._ended.wait_for(lambda: self._readers == 0, timeout=_FORK_WAIT)

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused:
            self._paused = False
            self._lock.release()

    def abandon(self) -> None:
        """Let go of an environment that was inherited by a forked child."""
        del self._env
        os.close(self._at)

    def _begin_read(self, mine: list[lmdb.Transaction]) -> AbstractContextManager[lmdb.Transaction]:
        """Begin a transaction, or, where that had to wait for this thread's own ones, go on with the last of these."""
        env = self._env
        try:
            return env.begin()
        except lmdb.PanicError:
            # A commit of this process could not be written, and LMDB takes no more calls: readers go on without it.
            if mine:
                return nullcontext(mine[-1])
            self._alone(lambda: self._open_again(env), counted=1)
            return self._env.begin()
        except lmdb.MapResizedError:
            # Another process grew the map; following it moves the map, which only this process's readers mind.
            if mine:
                return nullcontext(mine[-1])
            self._alone(self._follow, counted=1)
            return self._env.begin()
        except lmdb.ReadersFullError:
            self._env.reader_check()
            try:
                return self._env.begin()
            except lmdb.ReadersFullError:
                raise BusyError(f"the index cannot be read: {_ALL_PLACES_TAKEN}") from None

    def _alone(self, change: Callable[[], None], *, counted: int = 0) -> None:
        """Do what moves the map, once this process's own readers have finished.

        Args:
            change: what is done.
            counted: as how many readers the caller counts, who has no transaction yet.
        """
        with self._lock:
            self._readers -= counted
            try:
                self._ended.notify_all()
                self._ended.wait_for(lambda: self._readers == 0)
                change()
            finally:
                self._readers += counted

    def _double(self) -> None:
        try:
            self._env.set_mapsize(2 * self._env.info()["map_size"])
        except lmdb.Error as error:
            self._open_again(self._env)
            raise WriterFailedError(f"the index cannot grow ({error}): {_NO_ADDRESSES}") from error

    def _follow(self) -> None:
        """Have a map as large as others have by now, or, where there is no room for that, as large as there is."""
        try:
            self._env.set_mapsize(0)
        except lmdb.Error:
            self._open_again(self._env)  # LMDB has closed it

    def _told(self, error: lmdb.Error) -> MctreeError:
        """What an error of LMDB's means to a reader."""
        if not self._users:
            return UsageError("the store was closed while its index was read; open it again")
        if isinstance(error, lmdb.MemoryError):
            return BusyError(f"the index cannot be mapped ({error}): {_NO_ADDRESSES}")
        return CorruptError(f"the index cannot be read ({error}); restore the store from a copy")

    def _open_again(self, given_up: lmdb.Environment) -> None:
        """Have an environment anew instead of one that LMDB has given up, unless somebody has seen to it."""
        if self._env is given_up:
            given_up.close()
            self._env = _open(self._path, self.writable, self.locked)

    def _begin_write(self) -> lmdb.Transaction:
        env = self._env
        try:
            return env.begin(write=True)
        except lmdb.PanicError:
            self._alone(lambda: self._open_again(env))
            return self._env.begin(write=True)
        except lmdb.MapResizedError:
            self._alone(self._follow)
            return self._env.begin(write=True)
        except lmdb.Error as error:
            raise _told_to_a_writer(error) from error

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise BusyError("this handle crossed a fork; open the store again in the child")


class WriteTransaction:
    """Commits an LMDB transaction at the end of a `with` block, or aborts it if that raises."""

    __slots__ = ("_txn",)

    def __init__(self, txn: lmdb.Transaction) -> None:
        self._txn = txn

    def __enter__(self) -> lmdb.Transaction:
        return self._txn

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if kind is not None:
            self._txn.abort()
            if isinstance(error, lmdb.Error) and not isinstance(error, MapFull):
                raise _told_to_a_writer(error) from error
            return
        try:
            self._txn.commit()
        except MapFull:
            raise
        except (lmdb.Error, OSError) as failure:
            raise WriterFailedError(f"the index could not be committed ({failure}); reopen the store") from failure


def _told_to_a_writer(error: lmdb.Error) -> MctreeError:
    """What an error means that LMDB raised within a write transaction."""
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
        return CorruptError(f"the index cannot be read ({error}); restore the store from a copy")
    return WriterFailedError(f"the index could not be written ({error}); reopen the store")


def open_environment(at: int, where: str, *, writable: bool) -> Environment:
    """The environment of the store whose directory is open as `at`.

    Args:
        at: descriptor of the store's directory.
        where: its path, for messages.
        writable: whether its owner may ever write; a reader of a medium that cannot be written to needs False.

    Raises:
        NotAStoreError: there is no index.
        CorruptError: the index is no LMDB file, or shorter than its own header says.
        PlaceError: it is in a network file system.
        WriterFailedError: there is no room for LMDB's lock file.
        BusyError: the parent of this process was reading it in another thread while it forked, or this process has no
            addresses for it, or too many files open.
    """
    try:
        with opened(DATA_NAME, os.O_RDONLY, at) as fd:
            status = os.fstat(fd)
            identity = (status.st_dev, status.st_ino)
            with _shared_lock:
                shared = _shared.get(identity)
                if shared is None:
                    check_place(at, where)
                    check_index(fd, where)
                    with telling(f"opening the index of {where}"):
                        preallocate_locks(at)
                    own = os.dup(at)
                    try:
                        shared = _shared[identity] = Environment(own, where, identity, writable)
                    except BaseException:
                        os.close(own)
                        raise
                shared._users += 1
                return shared
    except (FileNotFoundError, NotADirectoryError):
        raise NotAStoreError(
            f"{where} holds no index, so it is no mctree store; name a folder made by mctree"
        ) from None
    except lmdb.MemoryError as error:
        raise BusyError(f"the index of {where} cannot be mapped: {_NO_ADDRESSES}") from error
    except lmdb.ReadersFullError as error:
        raise BusyError(f"the index of {where} cannot be opened: {_ALL_PLACES_TAKEN}") from error
    except lmdb.Error as error:
        if identity in _inherited and _OPEN_ALREADY in str(error):
            raise BusyError(
                f"this process was forked while another thread of its parent read {where}, and cannot open it: fork "
                "before, or let a spawned process do that"
            ) from error
        if any(os.strerror(code) in str(error) for code in (errno.EMFILE, errno.ENFILE)):
            raise BusyError(f"the index of {where} cannot be opened: too many files are open; close some") from error
        name = os.path.join(where, INDEX_NAME, "data.mdb")
        raise CorruptError(f"the index file {name} does not open ({error}); restore the store from a copy") from error


def _path(at: int, where: str) -> str:
    """Where LMDB, which takes no descriptors, finds the index of the store whose directory is open as `at`."""
    return f"/proc/self/fd/{at}/{INDEX_NAME}" if os.path.exists("/proc/self/fd") else os.path.join(where, INDEX_NAME)


def may_lock(path: str) -> bool:
    """Whether this process may take a place among LMDB's readers: its lock file is written to for that."""
    file = os.path.join(path, "lock.mdb")
    return os.access(file if os.path.exists(file) else path, os.W_OK)


def _open(path: str, writable: bool, locked: bool) -> lmdb.Environment:
    size, outgrown = _MAP_BYTES, 0
    while True:
        try:
            return lmdb.open(
                path,
                map_size=size,
                create=False,
                readonly=not writable,
                lock=locked,
                max_readers=MAX_READERS,
                max_dbs=0,
                readahead=False,
                sync=True,
                metasync=True,
                writemap=False,
            )
        except lmdb.MapResizedError:
            # It outgrew what its header had asked for a moment before; one that always does is damaged.
            outgrown += 1
            if outgrown == _MOST_OUTGROWN:
                raise
        except lmdb.MemoryError:
            size //= 4  # an address-space limit
            if size < _SMALLEST_MAP:
                raise


def _before_fork() -> None:
    # A transaction that is open in another thread would keep the child from ever opening the index: let it finish.
    for environment in list(_shared.values()):
        environment.pause()


def _after_fork_in_parent() -> None:
    for environment in list(_shared.values()):
        environment.resume()


def _after_fork_in_child() -> None:
    # Dropped and not closed: closing would free the reader slots of the parent.
    global _shared_lock  # noqa: PLW0603  # a child has one thread and needs a lock that nobody holds
    _inherited.update(_shared)
    for environment in _shared.values():
        environment.abandon()
    _shared.clear()
    _shared_lock = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
