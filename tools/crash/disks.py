"""What is a disk that can be filled?  A small file system of its own, in a name space that ends with its process.

Root may have mounts of its own; any other user may where the system lets him have a name space in which he is root.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from tools.crash.victims import in_judgement

__all__ = ["fill", "mount", "on_small_disk", "take_mounts", "why_no_mounts"]

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_RECURSIVE, _PRIVATE = 16384, 1 << 18


@cache
def why_no_mounts() -> str:
    """Why a process of this user cannot have mounts of its own; nothing if it can."""

    def attempt() -> list[str]:
        try:
            take_mounts()
            mount("tmpfs", Path("/proc"), "tmpfs", 0, "size=64k")
        except OSError as error:
            return [f"this system lets users have no name spaces of their own, nor mounts in them ({error})"]
        return []

    return "; ".join(in_judgement(attempt))


def on_small_disk(folder: Path, work: Callable[[Path], list[str]], *, patience: int) -> list[str]:
    """Do some work in a child that sees a file system of 64 MiB, in memory, in a new folder of `folder`.

    Args:
        folder: where.
        work: is given the path of the file system.
        patience: how many seconds it may take.

    Returns:
        What the work returns, or what ended the child.
    """
    place = folder / "disk"
    place.mkdir()
    try:
        return in_judgement(partial(_with_disk, place, work), patience)
    finally:
        place.rmdir()


def _with_disk(place: Path, work: Callable[[Path], list[str]]) -> list[str]:
    take_mounts()
    mount("tmpfs", place, "tmpfs", 0, "size=64m")
    return work(place)


def take_mounts() -> None:
    """Let this process have mounts of its own, which go with it.

    Raises:
        OSError: it may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_MOUNTS):
        if libc.unshare(_NEW_MOUNTS | _NEW_USER):
            raise OSError(ctypes.get_errno(), "neither root nor user name spaces: a full disk cannot be made")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    mount("", Path("/"), "", _RECURSIVE | _PRIVATE, "")


def mount(what: str, where: Path, kind: str, flags: int, options: str) -> None:
    """Call `mount` of the system.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [os.fsencode(text) or None for text in (what, where, kind)]
    if libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(options) or None):
        raise OSError(ctypes.get_errno(), f"mount of {kind or what} at {where}")


def fill(disk: Path) -> Path:
    """Leave no room on a disk; what takes it is the file that is returned."""
    filler = disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    finally:
        os.close(fd)
    return filler
