"""Which commits do living processes hold?  A file per process, locked while it lives, listing them.

A reader that takes a snapshot first writes the commit's number into its lease file and then checks that the commit may
still be opened.  A writer that collects a commit first makes it unopenable, and frees what it needs only after it has
looked at the leases.  Whichever comes first, a commit in use is never freed.

The file is locked with `flock`, so the lease of a process that was killed is free at once: its file is found unlocked
and removed.  A forked child has a lease of its own for all that its parent held.  It is made before there is a child,
as the parent may let go of everything before that runs; where it cannot be, the child takes one as soon as it does.
Who may not write to the folder of leases, or finds no room there, takes none from then on, and must look whether the
commit is still there at every look-up.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
import weakref
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from mctree.errors import CorruptError, MctreeError
from mctree.format.values import crc32c
from mctree.storage.files import list_names, make_directory, opened, pwrite_all

__all__ = ["LEASES_NAME", "Leases", "held_commits"]

LEASES_NAME = "leases"
_MAX_BYTES = 1 << 20
_FORK_WAIT = 1.0
_NO_LEASE = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
)
"""What a medium says that takes no lease, but can be read."""


class Leases:
    """The commits that this process holds of one store.

    Args:
        at: descriptor of the store's directory; it must outlive this object.

    Attributes:
        writable: whether leases can be taken at all.
        closed: whether `close` was called.
    """

    def __init__(self, at: int) -> None:
        self._at = at
        self._pid = os.getpid()
        self._counts: Counter[int] = Counter()
        self._fd: int | None = None
        self._name = ""
        self._for_child: tuple[int, str] | None = None
        # Reentrant: a snapshot that the garbage collector finds gives its lease up wherever the collector was called.
        self._lock = threading.RLock()
        self.writable = True
        self.closed = False
        _open.add(self)

    def acquire(self, *commits: int) -> None:
        """Hold each of some commits once more; the caller then checks that they are still there."""
        with self._lock:
            is_new = any(commit not in self._counts for commit in commits)
            self._counts.update(commits)
            if is_new:
                try:
                    self._publish()
                except BaseException:
                    self._drop(commits)
                    raise

    def release(self, *commits: int) -> None:
        """Hold each of some commits once less."""
        with self._lock:
            if self._drop(commits):
                self._publish()

    def close(self) -> None:
        """Hold nothing any more."""
        self.closed = True
        with self._lock:
            self._counts.clear()
            fd, self._fd = self._fd, None
            if fd is not None:
                if os.getpid() == self._pid:
                    with suppress(OSError):
                        os.unlink(f"{LEASES_NAME}/{self._name}", dir_fd=self._at)
                os.close(fd)

    def begin_fork(self) -> None:
        """Make a lease of all that is held for the child; with the lock held, so that all it stays."""
        if self._counts and self.writable and self._pid == os.getpid():
            with suppress(OSError, MctreeError):  # the child tries once more
                self._for_child = self._create()
                self._list(self._for_child[0])

    def end_fork(self) -> None:
        """In the parent: leave the child's lease to it."""
        prepared, self._for_child = self._for_child, None
        if prepared is not None:
            os.close(prepared[0])

    def renew(self, *, prepared: bool) -> None:
        """In a forked child: hold in a file of its own what the parent held.

        Args:
            prepared: whether the lease that was made for a child, if there is one, is for this one: another thread of
                the parent may be about to fork, too.
        """
        self._lock = threading.RLock()
        inherited, self._fd = self._fd, None
        made, self._for_child = self._for_child, None
        self._pid = os.getpid()
        if made is not None and prepared and not self.closed:
            self._fd, self._name = made
        elif made is not None:
            os.close(made[0])
        try:
            if self._fd is not None or (inherited is not None and self._counts):
                self._publish()
        except OSError:
            # Better the parent's file, which counts for as long as this process has it open, than none.
            if self._fd is None and inherited is not None:
                self._fd = os.dup(inherited)
        if inherited is not None:
            os.close(inherited)

    def _drop(self, commits: Iterable[int]) -> bool:
        """Count each of some commits once less; whether one is held no more."""
        gone = False
        for commit in commits:
            self._counts[commit] -= 1
            if self._counts[commit] <= 0:
                del self._counts[commit]
                gone = True
        return gone

    def _publish(self) -> None:
        if not self.writable:
            return
        try:
            if self._fd is None:
                self._fd, self._name = self._create()
            self._list(self._fd)
        except OSError as error:
            if error.errno not in _NO_LEASE:
                raise
            # For good: a lease taken later would speak for commits that were collected in between.
            self.writable = False

    def _list(self, fd: int) -> None:
        # One copy: a snapshot that the garbage collector finds meanwhile takes its commit out of the counts.
        commits = sorted(self._counts)
        body = b"".join(number.to_bytes(8, "little") for number in (len(commits), *commits))
        # The checksum shows a half-written list to whoever reads it at that moment, or for as long as it stays one.
        pwrite_all(fd, body + crc32c(body).to_bytes(4, "little"), 0)

    def _create(self) -> tuple[int, str]:
        make_directory(LEASES_NAME, self._at)  # some ways of copying a store leave empty folders out
        while True:
            name = f"{self._pid}-{secrets.token_hex(6)}"
            path = f"{LEASES_NAME}/{name}"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._at)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Between creation and lock the file looked abandoned: a writer may have swept it away.
            if os.fstat(fd).st_nlink:
                return fd, name
            os.close(fd)


_open: weakref.WeakSet[Leases] = weakref.WeakSet()


_locked: dict[int, list[Leases]] = {}
"""By threads that fork just now: the leases whose locks they have taken, which must outlive the fork."""


def _all_open() -> list[Leases]:
    while True:
        try:
            return list(_open)
        except RuntimeError:
            pass  # another thread has opened a store meanwhile


def _before_fork() -> None:
    locked = _locked[threading.get_ident()] = []
    for leases in _all_open():
        if leases._lock.acquire(timeout=_FORK_WAIT):
            locked.append(leases)
            leases.begin_fork()


def _after_fork_in_parent() -> None:
    for leases in _locked.pop(threading.get_ident(), []):
        try:
            leases.end_fork()
        finally:
            leases._lock.release()


def _after_fork_in_child() -> None:
    locked = _locked.pop(threading.get_ident(), [])
    _locked.clear()
    for leases in _all_open():
        leases.renew(prepared=leases in locked)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def held_commits(at: int) -> set[int] | None:
    """The commits that living processes hold, after sweeping away the leases of dead ones.

    Returns:
        The commits, or None if a lease could not be read, so that everything must be taken as held.
    """
    held: set[int] = set()
    for name in list_names(LEASES_NAME, at):
        path = f"{LEASES_NAME}/{name}"
        try:
            with opened(path, os.O_RDONLY | os.O_NONBLOCK, at) as fd:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found = _parse(os.pread(fd, _MAX_BYTES, 0))
                    if found is None:
                        return None
                    held |= found
                else:
                    with suppress(OSError):
                        os.unlink(path, dir_fd=at)
        except (FileNotFoundError, CorruptError):
            continue  # gone, or nothing that a process of ours has put there
        except OSError:
            return None  # somebody's lease, which this user may not look into
    return held


def _parse(data: bytes) -> set[int] | None:
    if not data:
        return set()  # made and locked, nothing held yet
    body = data[: 8 + 8 * int.from_bytes(data[:8], "little")]
    if len(data) < len(body) + 4 or crc32c(body) != int.from_bytes(data[len(body) : len(body) + 4], "little"):
        return None
    return {int.from_bytes(body[i : i + 8], "little") for i in range(8, len(body), 8)}
