"""How does a level become one array?  By mapping its chunk files side by side into one reserved piece of address space.

A `Region` reserves room for a fixed number of *slots*, each as long as a chunk file, and maps a file (or pages of the
fill value) into a slot when it is told to.  NumPy sees the whole as one read-only array; slots that hold nothing are
inaccessible, so whoever reads must have mapped them first.  The base is aligned to 2 MiB, so that chunks of a multiple
of 2 MiB can be mapped with huge pages.

The region is unmapped when the last array over it is gone, never before: arrays hold it alive.

It does not know what a chunk is, which slot holds which, or who reads what: that is `mctree.storage.mapped`.  It
assumes that files keep their size while they are mapped (reading past a file's new end would kill the process).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import BusyError, UsageError
from mctree.format.arrays import HUGE_PAGE

__all__ = ["Region", "maps_to_spare", "page_runs"]

_PROT_NONE, _PROT_READ = 0, 1
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS, _MAP_NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
_MADV_RANDOM, _MADV_WILLNEED, _MADV_HUGEPAGE = 1, 3, 14
_SYS_PROCESS_MADVISE = 440
_FAILED = ctypes.c_void_p(-1).value
_MOST_RANGES = 1024  # IOV_MAX: ranges in one process_madvise
_FILL_TILE = HUGE_PAGE  # pages of a fill value other than 0 exist once, in a file of at most this size

_maps_by_region: dict[int, int] = {}
"""Base address of each living region → kernel mappings it may come to hold."""


class _Libc:
    """The few calls that Python's own `mmap` lacks: mapping at a fixed address, and advice on ranges.

    `brief` calls keep the interpreter lock: they last about a microsecond, and giving the lock up for each would let a
    busy thread delay every one of a thousand calls by a whole switching interval.  `long` calls release it.
    """

    def __init__(self) -> None:
        self.brief = ctypes.PyDLL(None, use_errno=True)
        self.long = ctypes.CDLL(None, use_errno=True)
        self.brief.mmap.restype = ctypes.c_void_p
        self.brief.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self.brief.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.long.madvise.argtypes = self.brief.madvise.argtypes
        self.long.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.long.syscall.restype = ctypes.c_long
        self.long.syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, *[ctypes.c_size_t] * 3]


@functools.cache
def _libc() -> _Libc:
    return _Libc()


@functools.cache
def _page() -> int:
    return int(os.sysconf("SC_PAGESIZE"))


def maps_to_spare() -> int:
    """How many more kernel mappings regions may reserve: three quarters of the system's limit, less what they hold."""
    try:
        with open("/proc/sys/vm/max_map_count", encoding="ascii") as file:
            most = int(file.read())
    except (OSError, ValueError):
        most = 65530
    return max(0, most * 3 // 4 - sum(list(_maps_by_region.values())))


def page_runs(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The pages that pieces of `length` bytes at the offsets `starts` lie in, neighbours joined.

    Args:
        starts: byte offsets `int64 [n]`, in any order, duplicates allowed.
        length: bytes of every piece.

    Returns:
        `int64 [m, 2]`: offset and length of each run of pages, in bytes, ascending and apart from each other.
    """
    if not starts.size:
        return np.empty((0, 2), np.int64)
    starts = np.sort(starts)
    first = starts // _page()
    stop = (starts + (length - 1)) // _page() + 1
    opens = np.ones(starts.size + 1, np.bool_)
    np.greater(first[1:], stop[:-1], out=opens[1:-1])
    first, stop = first[opens[:-1]], stop[opens[1:]]
    return np.stack([first, stop - first], axis=1) * _page()


class _Span:
    """What NumPy sees of a region.  Arrays keep it as their base, and it keeps the region."""

    __slots__ = ("__array_interface__", "region")

    def __init__(self, region: Region, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
        self.region = region
        self.__array_interface__ = {
            "version": 3,
            "typestr": dtype.str,
            "shape": shape,
            "data": (region.address, True),
        }


def _release(base: int, size: int, owned: list[int]) -> None:
    _libc().long.munmap(base, size)
    _maps_by_region.pop(base, None)
    while owned:
        os.close(owned.pop())


class Region:
    """A reserved piece of address space, cut into slots of one chunk each.

    Not safe to change from several threads at once; reading mapped slots while others change is.

    Attributes:
        slots: how many chunks fit.
        chunk_bytes: bytes of each slot.
        address: where the first slot begins; a multiple of 2 MiB.
        huge: whether a first touch reads 2 MiB at once.  Pages that `will_need` reads are small ones, and stay so.
    """

    def __init__(self, slots: int, chunk_bytes: int, fill: bytes, *, resident: bool) -> None:
        """Reserve address space; takes no memory.

        Args:
            slots: how many chunks to make room for.
            chunk_bytes: bytes of each; a multiple of the page size.
            fill: the bytes of one element that was never written.
            resident: whether the data is expected to stay in memory.  If so, chunks of a multiple of 2 MiB ask for
                huge pages; if not, faults read single pages, and reading ahead is left to `will_need`.

        Raises:
            MemoryError: there is no room for so many.
        """
        self.slots = slots
        self.chunk_bytes = chunk_bytes
        if resident:
            self._advice = _MADV_HUGEPAGE if chunk_bytes % HUGE_PAGE == 0 else None
        else:
            self._advice = _MADV_RANDOM
        self.huge = self._advice == _MADV_HUGEPAGE
        self._fill = fill
        self._owned: list[int] = []  # the file of fill pages, once there is one
        size = slots * chunk_bytes + HUGE_PAGE
        base = _libc().brief.mmap(None, size, _PROT_NONE, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE, -1, 0)
        if base == _FAILED:
            raise MemoryError(f"no address space for {size} bytes")
        self.address = -(-base // HUGE_PAGE) * HUGE_PAGE
        _maps_by_region[base] = slots * self.maps_per_slot(chunk_bytes, zero_fill=not any(fill)) + 2
        # Not at exit: threads may still be reading then, and the system takes the pages back anyway.
        weakref.finalize(self, _release, base, size, self._owned).atexit = False

    @staticmethod
    def supports(chunk_bytes: int) -> bool:
        """Whether chunks of this size can be mapped side by side on this platform."""
        return sys.platform == "linux" and chunk_bytes % _page() == 0

    @staticmethod
    def maps_per_slot(chunk_bytes: int, *, zero_fill: bool) -> int:
        """How many kernel mappings one slot takes at worst."""
        return 1 if zero_fill else -(-chunk_bytes // _FILL_TILE)

    def array(self, dtype: np.dtype[np.generic], rows: int, row: tuple[int, ...]) -> NDArray[Any]:
        """All slots as one read-only array `[rows, *row]`; touching a slot that holds nothing kills the process."""
        return np.asarray(_Span(self, dtype, (rows, *row)))

    def map_file(self, slot: int, fd: int) -> None:
        """Let a slot show a file, which must be `chunk_bytes` long.  What the slot showed before is let go.

        Raises:
            BusyError: the process has too many mappings.
            UsageError: the file system cannot map files.
        """
        self._map(slot * self.chunk_bytes, self.chunk_bytes, _MAP_SHARED, fd)
        if self._advice is not None:
            # May fail where the kernel was built without; then it is no help, and no harm.
            _libc().brief.madvise(self.address + slot * self.chunk_bytes, self.chunk_bytes, self._advice)

    def map_fill(self, slot: int) -> None:
        """Let a slot show nothing but the fill value.  Takes no memory that grows with the number of such slots."""
        start = slot * self.chunk_bytes
        if not any(self._fill):
            self._map(start, self.chunk_bytes, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE, -1)
            return
        if not self._owned:
            fd = os.memfd_create("mctree-fill", os.MFD_CLOEXEC)
            self._owned.append(fd)
            tile = min(self.chunk_bytes, _FILL_TILE)
            os.ftruncate(fd, tile)
            page = self._fill * (_page() // len(self._fill))
            for offset in range(0, tile, _page()):
                os.pwrite(fd, page, offset)
        for offset in range(0, self.chunk_bytes, _FILL_TILE):
            size = min(_FILL_TILE, self.chunk_bytes - offset)
            self._map(start + offset, size, _MAP_SHARED, self._owned[0])

    def will_need(self, runs: NDArray[np.int64]) -> None:
        """Ask the kernel to start reading runs of pages.  Advice: returns without waiting, and never fails.

        Args:
            runs: `int64 [n, 2]` as made by `page_runs`, offsets from `address`, all in mapped slots.
        """
        vectors = runs + np.array([self.address, 0])
        if len(vectors) == 1:
            _libc().long.madvise(*vectors[0].tolist(), _MADV_WILLNEED)
            return
        try:
            process = os.pidfd_open(os.getpid())
        except OSError:
            process = -1
        try:
            for at in range(0, len(vectors), _MOST_RANGES):
                part = vectors[at : at + _MOST_RANGES]
                done = _libc().long.syscall(
                    _SYS_PROCESS_MADVISE, process, part.ctypes.data, len(part), _MADV_WILLNEED, 0
                )
                if done != part[:, 1].sum():  # an older kernel, or a sandbox that forbids it: one by one
                    for address, size in part.tolist():
                        _libc().brief.madvise(address, size, _MADV_WILLNEED)
        finally:
            if process >= 0:
                os.close(process)

    def close(self) -> None:
        """Close files that are needed only to map more.  What is mapped stays, for as long as an array shows it."""
        while self._owned:
            os.close(self._owned.pop())

    def _map(self, start: int, size: int, flags: int, fd: int) -> None:
        # MAP_FIXED replaces whatever lies there, so a range outside the region would tear a hole in the process.
        assert start >= 0 and start + size <= self.slots * self.chunk_bytes
        if _libc().brief.mmap(self.address + start, size, _PROT_READ, flags | _MAP_FIXED, fd, 0) != _FAILED:
            return
        code = ctypes.get_errno()
        if code == errno.ENOMEM:
            raise BusyError("too many memory mappings in this process: close stores, or raise vm.max_map_count")
        raise UsageError(f"cannot map chunk files ({os.strerror(code)}): open the store without mapping")
