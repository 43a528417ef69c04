"""May LMDB be let loose on a file?  It maps what it is given without looking, so both of its headers are judged here.

A file is let in if it is regular, if both headers are LMDB's and agree on the size of a page, if each is of a
transaction that LMDB would have written there, and if the file holds every page that the newer of them, which is the
one in use, needs.  So a file that was cut off, or of which a header is stale, torn or forged, is refused before it is
mapped: it would end the process with SIGBUS.  So is one of which a page is damaged that opening a store comes upon.

This costs a few reads, whatever the size of the file.  What stands in its other pages is not looked at: that is
`mctree.storage.pages`, and takes as long as there are pages in use.
"""

from __future__ import annotations

import errno
import os
import stat

from mctree.errors import CorruptError
from mctree.storage.files import opened
from mctree.storage.pages import DATA_NAME, FREE_FLAGS, INDEX_NAME, Meta, damaged_below, damaged_way, read_meta

__all__ = ["MAX_READERS", "check_index", "preallocate_locks"]

MAX_READERS = 1024
"""How many may read an index at the same moment: so many places its lock file has."""

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META_KIND = 8
_SMALLEST_PAGE, _LARGEST_PAGE = 1 << 9, 1 << 16
_DEEPEST = 32
_LARGEST_LOCK_FILE = 1 << 20
_NOTHING = (1 << 64) - 1
_MOST_BYTES = 1 << 46
"""No process has room for more, so no file was ever meant to be as long."""


def check_index(fd: int, where: str) -> None:
    """Make sure that an index file is LMDB's and holds all its pages.

    It may end before the last page that was ever taken, for what a transaction takes and gives back is never written.
    Then, which is seldom, all pages in use are looked at.

    Args:
        fd: the file.
        where: the store's path, for messages.

    Raises:
        CorruptError: it is not; the message names the file.
    """
    name = os.path.join(where, DATA_NAME)

    def refused(what: str) -> CorruptError:
        return CorruptError(f"the index file {name} {what}; restore the store from a copy")

    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise refused("is no regular file")
    while True:
        head = os.pread(fd, 2 * _LARGEST_PAGE, 0)
        # In this order, for a writer elsewhere makes the file longer before its header says so.
        size = os.fstat(fd).st_size
        cut_off = f"is cut off: it has {size} bytes"
        if len(head) < _SMALLEST_PAGE:
            raise refused(cut_off)
        page = read_meta(head).page_bytes
        if read_meta(head).magic != _MAGIC:
            raise refused("is damaged: it does not begin as LMDB's files do")
        if not _SMALLEST_PAGE <= page <= _LARGEST_PAGE or page & (page - 1):
            raise refused(f"is damaged: it says that its pages have {page} bytes")
        if len(head) < 2 * page:
            raise refused(f"{cut_off}, and its header alone needs {2 * page}")
        metas = [read_meta(head[number * page :]) for number in range(2)]
        newest = max(range(2), key=lambda number: metas[number].number)
        for number, meta in enumerate(metas):
            if fault := _fault(number, meta, page, in_use=number == newest):
                raise refused(f"is damaged: its page {number} {fault}")
        needed = (metas[newest].last + 1) * page
        if size < needed:
            # A missing page of the tree of free ones ends a writer just as well.
            damaged = next(damaged_below(fd, page, metas[newest]), None)
            what = f"{cut_off} where its header needs {needed}"
        else:
            damaged = damaged_way(fd, page, metas[newest])
            what = "" if damaged is None else f"is damaged: its page {damaged.page} {damaged.what}"
        if damaged is None:
            return
        # Unless somebody went on writing meanwhile, and used those pages for something else.
        if read_meta(os.pread(fd, page, (1 - newest) * page)).number <= metas[newest].number:
            raise refused(what)


def _fault(number: int, meta: Meta, page: int, *, in_use: bool) -> str:
    """What is wrong with a header; nothing if LMDB may build on it.

    Where the one that is not in use leads to does not matter: after a write of it that failed, LMDB has put the numbers
    of the older one back, and left the rest as it was.
    """
    if (meta.page, meta.kind, meta.magic, meta.version) != (number, _META_KIND, _MAGIC, _VERSION):
        return "is not as LMDB's headers are"
    if meta.page_bytes != page or meta.flags != (FREE_FLAGS, 0):
        return "is the header of another kind of file"
    # Transactions write to the two in turns, and readers take the one that is due: a forged number would lead LMDB
    # to another header than the one that was judged.  A file that is just made has two of transaction 0.
    if meta.number and meta.number % 2 != number:
        return "is of a transaction that would not have written there"
    if in_use and meta.last >= _MOST_BYTES // page:
        return "says that there are more pages than can be"
    for root, depth in zip(meta.roots, meta.depths, strict=True) if in_use else ():
        if depth > _DEEPEST or (root == _NOTHING) != (depth == 0) or (depth and not 2 <= root <= meta.last):
            return "leads to pages that cannot be"
    return ""


def preallocate_locks(at: int) -> None:
    """Let LMDB's lock file have its room: on a full disk its first use would end the process with SIGBUS.

    Args:
        at: descriptor of the store's directory.

    Raises:
        CorruptError: what stands there is no such file.
        OSError: there is no room.
    """
    name = f"{INDEX_NAME}/lock.mdb"
    # Must come before LMDB opens the file: closing any descriptor of it drops this process's LMDB locks.
    size = 64 * (MAX_READERS + 2)
    try:
        with opened(name, os.O_RDWR | os.O_CREAT, at) as fd:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_LOCK_FILE:
                raise CorruptError(f"{name!r} in the store is no lock file of LMDB; remove it while nobody reads")
            if status.st_blocks * 512 < max(size, status.st_size) and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, max(size, status.st_size))
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL):
            raise
