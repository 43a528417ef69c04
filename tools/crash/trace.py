"""What did a process do to a disk, in order?  Its system calls, as strace writes them down, as operations on inodes.

A folder stands for the disk.  Names are followed as the kernel does it, through descriptors, so that an operation says
which file or folder it changed, whatever that is called by then.  Nothing is guessed: a call that changes something
below the folder in a way that is not understood here ends the reading.

What a process writes through a shared map is not seen.  That is allowed for LMDB's lock file, which needs not survive.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.crash.operations import MAPPED, ROOT, Acknowledged, Named, Operation, Resized, Synced, Trace, Written

__all__ = ["CALLS", "look", "read_trace"]

CALLS: Final = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,read,readv,write,writev,pwrite64,pwritev,pwritev2,truncate,"
    "ftruncate,fallocate,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,"
    "unlinkat,mkdir,mkdirat,rmdir,mmap,copy_file_range,sendfile,splice,chdir,fchdir"
)
"""What strace has to write down, with `-xx` and strings of any length."""

_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?: .*)?$", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_IN_DESCRIPTOR = re.compile(r"/proc/self/fd/(\d+)")


@dataclass(slots=True)
class _Open:
    """What a descriptor refers to."""

    inode: int
    durable: bool = False
    position: int = 0


@dataclass(slots=True)
class _Disk:
    """The folder as the process sees it, and what it has open of it.

    Attributes:
        path: the folder.
        folders: entries of each folder, by its inode.
        sizes: the size of each file, by its inode.
        opened: what each descriptor refers to.
        steps: what is yet to be acknowledged.
    """

    path: str
    folders: dict[int, dict[str, int]]
    sizes: dict[int, int]
    opened: dict[int, _Open] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def find(self, at: str, name: str) -> tuple[int, str] | None:
        """The folder in which a name stands, and its last part ("." for a folder itself); None: not on this disk."""
        if name == self.path or name.startswith(f"{self.path}/"):
            folder, rest = ROOT, name[len(self.path) :]
        elif through := _IN_DESCRIPTOR.match(name):
            found = self.opened.get(int(through[1]))
            if found is None:
                return None
            folder, rest = found.inode, name[through.end() :]
        elif name.startswith("/") or at == "AT_FDCWD" or int(at) not in self.opened:
            return None
        else:
            folder, rest = self.opened[int(at)].inode, name
        parts = [part for part in rest.split("/") if part not in ("", ".")]
        assert ".." not in parts, f"{name!r} leads upwards"
        for part in parts[:-1]:
            if part not in self.folders[folder]:
                return None  # the call has failed
            folder = self.folders[folder][part]
        return folder, parts[-1] if parts else "."

    def inode(self, place: tuple[int, str]) -> int | None:
        """What stands at a place."""
        return place[0] if place[1] == "." else self.folders[place[0]].get(place[1])

    def named(self, call: str, *entries: tuple[int, str, int | None]) -> Named:
        """Change entries."""
        for folder, name, inode in entries:
            if inode is None:
                del self.folders[folder][name]
            else:
                self.folders[folder][name] = inode
        return Named(entries, call)

    def new(self, *, folder: bool) -> int:
        """A new inode."""
        inode = len(self.folders) + len(self.sizes)
        if folder:
            self.folders[inode] = {}
        else:
            self.sizes[inode] = 0
        return inode

    def resized(self, inode: int, size: int) -> Iterator[Operation]:
        """Let a file be so long."""
        if self.sizes[inode] != size:
            self.sizes[inode] = size
            yield Resized(inode, size)

    def written(self, inode: int, offset: int, data: bytes, durable: bool) -> Iterator[Operation]:
        """Write to a file."""
        self.sizes[inode] = max(self.sizes[inode], offset + len(data))
        if data:
            yield Written(inode, offset, data, durable)


@dataclass(frozen=True, slots=True)
class _Call:
    """A system call that succeeded.

    Attributes:
        name: which.
        arguments: as they were written, with commas between.
        strings: the strings among them.
        result: what it returned.
    """

    name: str
    arguments: str
    strings: tuple[bytes, ...]
    result: int

    @property
    def words(self) -> list[str]:
        """The arguments, one by one, strings left out."""
        return [word.strip() for word in _STRING.sub("", self.arguments).split(",")]

    @property
    def fd(self) -> int:
        """The first argument, if that is a descriptor."""
        return int(self.words[0])

    def string(self, which: int) -> str:
        """One of the strings, a name."""
        return self.strings[which].decode("utf-8", "surrogateescape")


def look(path: str) -> tuple[dict[int, dict[str, int]], dict[int, bytes]]:
    """What is on the disk that a folder stands for: entries of folders, and content of files, by inode."""
    folders: dict[int, dict[str, int]] = {}
    files: dict[int, bytes] = {}
    numbers = {os.stat(path).st_ino: ROOT}

    def number(name: str) -> int:
        return numbers.setdefault(os.lstat(name).st_ino, len(numbers))

    for folder, below, names in os.walk(path):
        entries = folders.setdefault(number(folder), {})
        entries.update({name: number(os.path.join(folder, name)) for name in (*below, *names)})
        files.update({entries[name]: Path(folder, name).read_bytes() for name in names})
    return folders, files


def read_trace(
    log: Path,
    path: str,
    steps: Sequence[str],
    before: tuple[Mapping[int, Mapping[str, int]], Mapping[int, bytes]] = ({ROOT: {}}, {}),
) -> Trace:
    """The operations that a process did below a folder.

    Args:
        log: what strace wrote, with `-xx -s` and `CALLS`, of one process with one thread.
        path: the folder; without symbolic links.
        steps: what the process acknowledged, each by one write elsewhere.
        before: how `look` found the folder when the process began; empty if nothing is said.

    Raises:
        AssertionError: a call is not understood.
    """
    folders, files = before
    disk = _Disk(
        path,
        {inode: {**entries} for inode, entries in folders.items()},
        {inode: len(data) for inode, data in files.items()},
        steps=list(steps),
    )
    operations: list[Operation] = []
    with log.open(encoding="ascii") as lines:
        for line in lines:
            call = _parsed(line)
            if call is not None:
                operations += _READERS[call.name](disk, call)
    assert not disk.steps, f"{disk.steps} were not seen to be acknowledged"
    return Trace(tuple(operations), {inode: folders.get(inode, {}) for inode in disk.folders}, files)


def _parsed(line: str) -> _Call | None:
    """The call in a line; None if it failed, or if the line tells of something else."""
    match = _LINE.match(line.rstrip("\n"))
    if match is None:
        assert "<unfinished" not in line, "the process has several threads"
        return None
    name, arguments, result = match.groups()
    if result == "?" or result.startswith("-"):
        return None
    strings = tuple(bytes.fromhex(found.replace("\\x", "")) for found in _STRING.findall(arguments))
    return _Call(name, arguments, strings, int(result, 0))


def _open(disk: _Disk, call: _Call) -> Iterator[Operation]:
    at, flags = (call.words[0], call.words[2]) if call.name == "openat" else ("AT_FDCWD", call.words[1])
    place = disk.find(at, call.string(0))
    if place is None:
        disk.opened.pop(call.result, None)
        return
    inode = disk.inode(place)
    given = flags.split("|")
    if inode is None:
        assert "O_CREAT" in given, f"{call.string(0)!r} was opened, but was not made"
        inode = disk.new(folder=False)
        yield disk.named("create", (*place, inode))
    elif "O_TRUNC" in given:
        yield from disk.resized(inode, 0)
    assert "O_APPEND" not in given, "appending is not understood"
    disk.opened[call.result] = _Open(inode, "O_DSYNC" in given or "O_SYNC" in given)


def _close(disk: _Disk, call: _Call) -> Iterator[Operation]:
    disk.opened.pop(call.fd, None)
    yield from ()


def _duplicate(disk: _Disk, call: _Call) -> Iterator[Operation]:
    if call.name != "fcntl" or call.words[1].startswith("F_DUPFD"):
        disk.opened.pop(call.result, None)
        if call.fd in disk.opened:
            disk.opened[call.result] = disk.opened[call.fd]  # they share their position
    yield from ()


def _seek(disk: _Disk, call: _Call) -> Iterator[Operation]:
    if call.fd in disk.opened:
        disk.opened[call.fd].position = call.result
    yield from ()


def _read(disk: _Disk, call: _Call) -> Iterator[Operation]:
    if call.fd in disk.opened:
        disk.opened[call.fd].position += call.result
    yield from ()


def _write(disk: _Disk, call: _Call) -> Iterator[Operation]:
    data = b"".join(call.strings)[: call.result]
    opened = disk.opened.get(call.fd)
    if opened is None:
        if disk.steps and data == disk.steps[0].encode() + b"\n":
            yield Acknowledged(disk.steps.pop(0))
        return
    assert len(data) == call.result, "strace did not write down all of it"
    if call.name in ("write", "writev"):
        offset = opened.position
        opened.position += call.result
    else:
        assert call.name != "pwritev2" or call.words[-1] == "0", f"pwritev2 with {call.words[-1]} is not understood"
        offset = int(call.words[-2 if call.name == "pwritev2" else -1])
    yield from disk.written(opened.inode, offset, data, opened.durable)


def _truncate(disk: _Disk, call: _Call) -> Iterator[Operation]:
    if call.name == "ftruncate":
        opened = disk.opened.get(call.fd)
        inode = None if opened is None else opened.inode
    else:
        place = disk.find("AT_FDCWD", call.string(0))
        inode = None if place is None else disk.inode(place)
    if inode is not None:
        yield from disk.resized(inode, int(call.words[1]))


def _allocate(disk: _Disk, call: _Call) -> Iterator[Operation]:
    opened = disk.opened.get(call.fd)
    if opened is not None:
        assert call.words[1] == "0", f"{call.name} in mode {call.words[1]} is not understood"
        stop = int(call.words[2]) + int(call.words[3])
        if stop > disk.sizes[opened.inode]:
            yield from disk.resized(opened.inode, stop)


def _sync(disk: _Disk, call: _Call) -> Iterator[Operation]:
    if call.fd in disk.opened:
        yield Synced(disk.opened[call.fd].inode)


def _rename(disk: _Disk, call: _Call) -> Iterator[Operation]:
    words = call.words
    source = disk.find("AT_FDCWD" if call.name == "rename" else words[0], call.string(0))
    target = disk.find("AT_FDCWD" if call.name == "rename" else words[2], call.string(1))
    assert (source is None) == (target is None), "something moved between disks"
    if source is None or target is None:
        return
    inode, there = disk.inode(source), disk.inode(target)
    assert inode is not None, f"{call.string(0)!r} was renamed, but was not there"
    flags = words[4] if call.name == "renameat2" else "0"
    if flags == "RENAME_EXCHANGE":
        yield disk.named("exchange", (*source, there), (*target, inode))
    else:
        assert flags in ("0", "RENAME_NOREPLACE"), f"renameat2 with {flags} is not understood"
        yield disk.named("rename", (*target, inode), (*source, None))


def _link(disk: _Disk, call: _Call) -> Iterator[Operation]:
    words = call.words
    source = disk.find("AT_FDCWD" if call.name == "link" else words[0], call.string(0))
    target = disk.find("AT_FDCWD" if call.name == "link" else words[2], call.string(1))
    assert (source is None) == (target is None), "a link was made between disks"
    if source is not None and target is not None:
        yield disk.named("link", (*target, disk.inode(source)))


def _unlink(disk: _Disk, call: _Call) -> Iterator[Operation]:
    place = disk.find(call.words[0] if call.name == "unlinkat" else "AT_FDCWD", call.string(0))
    if place is not None:
        yield disk.named("unlink", (*place, None))


def _make_folder(disk: _Disk, call: _Call) -> Iterator[Operation]:
    place = disk.find(call.words[0] if call.name == "mkdirat" else "AT_FDCWD", call.string(0))
    if place is not None:
        yield disk.named("mkdir", (*place, disk.new(folder=True)))


def _map(disk: _Disk, call: _Call) -> Iterator[Operation]:
    _, _, protection, flags, fd, *_ = call.words
    if "PROT_WRITE" in protection and "MAP_SHARED" in flags and int(fd) in disk.opened:
        inode = disk.opened[int(fd)].inode
        names = [name for folder in disk.folders.values() for name, there in folder.items() if there == inode]
        assert names == [MAPPED], f"{names} is written to through a map"
    yield from ()


def _elsewhere(disk: _Disk, call: _Call) -> Iterator[Operation]:
    """Calls that are not understood, and may be made of other files only."""
    numbers = {int(word) for word in call.words if word.isdecimal()}
    names = [disk.find("AT_FDCWD", name.decode("utf-8", "surrogateescape")) for name in call.strings]
    assert not numbers & disk.opened.keys(), f"{call.name} is not understood"
    assert not any(names), f"{call.name} is not understood"
    yield from ()


_READERS: Final[dict[str, Callable[[_Disk, _Call], Iterator[Operation]]]] = {
    **dict.fromkeys(("open", "openat"), _open),
    "close": _close,
    **dict.fromkeys(("dup", "dup2", "dup3", "fcntl"), _duplicate),
    "lseek": _seek,
    **dict.fromkeys(("read", "readv"), _read),
    **dict.fromkeys(("write", "writev", "pwrite64", "pwritev", "pwritev2"), _write),
    **dict.fromkeys(("truncate", "ftruncate"), _truncate),
    "fallocate": _allocate,
    **dict.fromkeys(("fsync", "fdatasync"), _sync),
    **dict.fromkeys(("rename", "renameat", "renameat2"), _rename),
    **dict.fromkeys(("link", "linkat"), _link),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), _unlink),
    **dict.fromkeys(("mkdir", "mkdirat"), _make_folder),
    "mmap": _map,
    **dict.fromkeys(
        ("creat", "sync", "syncfs", "symlink", "symlinkat", "copy_file_range", "sendfile", "splice", "chdir", "fchdir"),
        _elsewhere,
    ),
}
