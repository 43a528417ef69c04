"""What is the system call about at which another process was stopped?  And how is it done in that one's place?

A supervisor (see `failing`) sees a number and six registers.  What they lead to is read from the memory of the process
that is waiting, and its descriptors are looked at through `/proc`.  To let a call fail that was done all the same, the
supervisor does it: on a duplicate of the process's own descriptor, so that positions move as they would have, and on
names as they are seen from there.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["CALLS", "DONE_ANYWAY", "Stopped"]

CALLS: Final[dict[str, tuple[int, int | None, str, str]]] = {
    # name: (x86-64, arm64, how its file is named, what it does)
    "write": (1, 64, "fd", "write"),
    "pwrite64": (18, 68, "fd", "write"),
    "writev": (20, 66, "fd", "write"),
    "pwritev": (296, 70, "fd", "write"),
    "pwritev2": (328, 287, "fd", "write"),
    "fsync": (74, 82, "fd", "sync"),
    "fdatasync": (75, 83, "fd", "sync"),
    "sync_file_range": (277, 84, "fd", "start"),
    "msync": (26, 227, "none", "sync"),
    "ftruncate": (77, 46, "fd", "truncate"),
    "truncate": (76, 45, "path", "truncate"),
    "fallocate": (285, 47, "fd", "truncate"),
    "rename": (82, None, "path", "rename"),
    "renameat": (264, 38, "at", "rename"),
    "renameat2": (316, 276, "at", "rename"),
    "link": (86, None, "path", "name"),
    "linkat": (265, 37, "at", "name"),
    "mkdir": (83, None, "path", "name"),
    "mkdirat": (258, 34, "at", "name"),
    "unlink": (87, None, "path", "name"),
    "unlinkat": (263, 35, "at", "name"),
    "rmdir": (84, None, "path", "name"),
    "open": (2, None, "open", "make"),
    "openat": (257, 56, "openat", "make"),
}
"""System calls that change files, and `open` where it makes one or cuts one off."""

DONE_ANYWAY: Final = frozenset({"write", "sync", "truncate", "rename", "name", "make"})
"""What a call does that can be done although it is told to have failed: all but to begin what a sync waits for."""

_FOLDER_NOW = -100
_CREATING = os.O_CREAT | os.O_TRUNC
_LONGEST_PATH = 4096
_DUPLICATE = 438  # pidfd_getfd, on all machines
_REMOVE_FOLDER, _FOLLOW = 0x200, 0x400
_VECTOR = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Stopped:
    """A thread that waits to be told how its system call ended.

    Attributes:
        thread: its number.
        name: of the call, one of `CALLS`.
        arguments: six registers.
    """

    thread: int
    name: str
    arguments: tuple[int, ...]

    @property
    def does(self) -> str:
        """What the call does."""
        return CALLS[self.name][3]

    def file(self) -> str | None:
        """The path of the file that the call is about; None if it makes none, or none can be told."""
        arguments, named = self.arguments, CALLS[self.name][2]
        try:
            if named == "fd":
                return os.readlink(self._descriptor(arguments[0])).removesuffix(" (deleted)")
            if named in ("open", "path"):
                flags = arguments[1] if named == "open" else _CREATING
                return self._named(_FOLDER_NOW, arguments[0], flags, opens=named == "open")
            if named in ("openat", "at"):
                flags = arguments[2] if named == "openat" else _CREATING
                return self._named(_folder(arguments[0]), arguments[1], flags, opens=named == "openat")
        except OSError:
            pass
        return None

    def identity(self) -> tuple[int, int] | None:
        """Device and inode behind the descriptor that the call is about; None if there is none."""
        try:
            status = os.stat(self._descriptor(self.arguments[0]))
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def do(self) -> None:
        """Do what the call would have done; where that would have failed, nothing happens.

        Raises:
            OSError: this process may not take the other's descriptors.
        """
        if CALLS[self.name][2] != "fd":
            with suppress(OSError):
                self._do_with_names()
            return
        fd = self._duplicate()
        try:
            with suppress(OSError):
                self._do_with(fd)
        finally:
            os.close(fd)

    def _do_with(self, fd: int) -> None:
        _, second, third, fourth, *_ = self.arguments
        match self.name:
            case "write":
                os.write(fd, self._memory(second, third))
            case "pwrite64":
                os.pwrite(fd, self._memory(second, third), fourth)
            case "writev":
                os.write(fd, self._vector(second, third))
            case "pwritev" | "pwritev2":
                os.pwrite(fd, self._vector(second, third), fourth)
            case "fsync":
                os.fsync(fd)
            case "fdatasync":
                os.fdatasync(fd)
            case "ftruncate":
                os.ftruncate(fd, second)
            case "fallocate" if not second:
                os.posix_fallocate(fd, third, fourth)

    def _do_with_names(self) -> None:
        first, second, third, fourth, fifth, _ = self.arguments
        at: Callable[[int, int], str] = self._reached
        match self.name:
            case "truncate":
                os.truncate(at(_FOLDER_NOW, first), second)
            case "rename":
                os.rename(at(_FOLDER_NOW, first), at(_FOLDER_NOW, second))
            case "renameat" | "renameat2":
                _rename(at(first, second), at(third, fourth), fifth if self.name == "renameat2" else 0)
            case "link":
                os.link(at(_FOLDER_NOW, first), at(_FOLDER_NOW, second), follow_symlinks=False)
            case "linkat":
                os.link(at(first, second), at(third, fourth), follow_symlinks=bool(fifth & _FOLLOW))
            case "mkdir":
                os.mkdir(at(_FOLDER_NOW, first), second)
            case "mkdirat":
                os.mkdir(at(first, second), third)
            case "unlink":
                os.unlink(at(_FOLDER_NOW, first))
            case "unlinkat":
                (os.rmdir if third & _REMOVE_FOLDER else os.unlink)(at(first, second))
            case "rmdir":
                os.rmdir(at(_FOLDER_NOW, first))
            case "open":
                os.close(os.open(at(_FOLDER_NOW, first), second | os.O_CLOEXEC, third))
            case "openat":
                os.close(os.open(at(first, second), third | os.O_CLOEXEC, fourth))

    def _named(self, folder: int, address: int, flags: int, *, opens: bool) -> str | None:
        """The path that a call of `folder` and a name is about, or None for an `open` that changes nothing."""
        if not flags & _CREATING:
            return None
        link = "cwd" if folder == _FOLDER_NOW else f"fd/{folder}"
        path = os.path.normpath(os.path.join(os.readlink(f"/proc/{self.thread}/{link}"), self._name(address)))
        return None if opens and not flags & os.O_TRUNC and os.path.lexists(path) else path

    def _reached(self, folder: int, address: int) -> str:
        """A way to a name that leads there also where the folder was moved meanwhile."""
        name = self._name(address)
        if name.startswith("/proc/self/"):
            return f"/proc/{self.thread}/{name.removeprefix('/proc/self/')}"
        folder = _folder(folder)
        return os.path.join(f"/proc/{self.thread}", "cwd" if folder == _FOLDER_NOW else f"fd/{folder}", name)

    def _name(self, address: int) -> str:
        return os.fsdecode(self._memory(address, _LONGEST_PATH, until=b"\0").split(b"\0", 1)[0])

    def _vector(self, address: int, count: int) -> bytes:
        parts = _VECTOR.iter_unpack(self._memory(address, count * _VECTOR.size))
        return b"".join(self._memory(base, size) for base, size in parts)

    def _memory(self, address: int, size: int, until: bytes | None = None) -> bytes:
        """So many bytes of the process, or fewer: to the first that is `until`, and to the end of what is mapped."""
        page = os.sysconf("SC_PAGESIZE")
        data = b""
        with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:
            while len(data) < size:
                memory.seek(address + len(data))
                try:
                    part = memory.read(min(size - len(data), page - (address + len(data)) % page))
                except OSError:
                    break
                data += part
                if not part or (until is not None and until in part):
                    break
        return data

    def _descriptor(self, number: int) -> str:
        return f"/proc/{self.thread}/fd/{number & 0xFFFFFFFF}"

    def _duplicate(self) -> int:
        """The process's own descriptor, in this process too."""
        with open(f"/proc/{self.thread}/status", encoding="ascii", errors="replace") as status:
            process = next(int(line.split()[1]) for line in status if line.startswith("Tgid:"))
        handle = os.pidfd_open(process)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = int(libc.syscall(_DUPLICATE, handle, self.arguments[0] & 0xFFFFFFFF, 0))
            if fd < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            return fd
        finally:
            os.close(handle)


def _folder(register: int) -> int:
    """A descriptor of a folder, or `_FOLDER_NOW`, as it stands in a register."""
    return ctypes.c_int(register & 0xFFFFFFFF).value


def _rename(old: str, new: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_FOLDER_NOW, os.fsencode(old), _FOLDER_NOW, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")
