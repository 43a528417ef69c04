"""Who may write?  One process at a time, by a lock that dies with it and a note that names it.

The lock is an advisory `flock` on the store's folder and on the file `lock` in it: the kernel drops both when the
process ends, however it ends.  The folder is what counts: a file can be removed, or moved aside and put back, and then
two would hold a lock on it.  The file's content is a courtesy, which names the holder to whoever is refused.  LMDB's
own writer lock would wait for ever and ignore interrupts, so it is never contended for.  A forked child closes the
descriptors it inherited and so neither holds nor uses the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import weakref

from mctree.errors import LockedError, ReadOnlyError
from mctree.storage.files import open_directory, open_file, pwrite_all

__all__ = ["LOCK_NAME", "WriterLock"]

LOCK_NAME = "lock"
_NOTE_BYTES = 256


class WriterLock:
    """The right to write to a store, held from construction to `release`.

    Args:
        at: descriptor of the store's directory.
        where: the store's path, for messages.

    Attributes:
        held: whether this process still holds it.

    Raises:
        LockedError: another process, or another writer of this process, holds it; the message names the holder.
        ReadOnlyError: the lock file cannot be opened for writing.
    """

    def __init__(self, at: int, where: str) -> None:
        self._pid = os.getpid()
        self.held = False
        try:
            fd = open_file(LOCK_NAME, os.O_RDWR | os.O_CREAT, at)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise ReadOnlyError(f"{where} cannot be written to: {error.strerror}") from error
            raise
        self._fds = [fd]
        try:
            self._fds.append(open_directory(".", at))  # anew: the store's own descriptor is shared with forked children
            for mine in self._fds:
                fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _noted(os.pread(fd, _NOTE_BYTES, 0)) or "an unknown process"
            self.release()
            raise LockedError(f"{where} is being written to by {holder}; wait for it, or stop it") from None
        except OSError:
            self.release()
            raise
        note = f"process {self._pid} on {socket.gethostname()}".encode("ascii", "replace")[:_NOTE_BYTES]
        pwrite_all(fd, note.ljust(_NOTE_BYTES), 0)
        self.held = True
        _held.add(self)

    def __del__(self) -> None:
        # A writer that was forgotten must not keep the store locked for as long as the process lives.
        for fd in getattr(self, "_fds", []):
            os.close(fd)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        fds, self._fds = self._fds, []
        self.held = False
        _held.discard(self)
        for fd in fds:
            if self._pid == os.getpid():
                # Closing is not enough: a child that was forked a moment ago may not have closed its own yet.
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def _noted(note: bytes) -> str:
    """What stands in the lock, which may be what somebody else once left there, as one printable line."""
    said = note.rstrip(b"\0 \n").decode("ascii", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in said)


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    # Closing a duplicate of an open file description does not unlock it while the parent has it open; keeping it would
    # keep the store locked for as long as the child lives.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
