"""How are files made so that they are there after a power cut?  Small calls on names below one open directory.

A store is reached through one directory descriptor, not through its path, so that it may be moved while it is open.
Names are relative to that descriptor; a name is never followed through a symbolic link at its last part.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from mctree.errors import CorruptError, WriterFailedError

__all__ = [
    "check_kinds",
    "check_plain",
    "exchange",
    "exists",
    "leftover_name",
    "list_names",
    "make_directory",
    "open_directory",
    "open_file",
    "opened",
    "pwrite_all",
    "read_small",
    "remove_tree",
    "replace_file",
    "replace_files",
    "start_writing",
    "sync_directory",
    "sync_tree",
    "telling",
]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SMALL = 1 << 20
_DEEPEST = 32
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR)
_CANNOT_START = (errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM)


def open_directory(path: str | bytes | os.PathLike[str], at: int | None = None) -> int:
    """Open a directory as a descriptor that the caller closes.

    Raises:
        NotADirectoryError: it is none; nor is a link to one, if it is named below the directory `at`.
    """
    return os.open(path, _DIRECTORY if at is None else _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)


def open_file(name: str, flags: int, at: int, mode: int = 0o666) -> int:
    """Open `name` below the directory `at` as a descriptor that the caller closes; a FIFO is not waited for.

    Raises:
        CorruptError: it is a symbolic link, a socket, a device that is not there, a folder that is to be written to, or
            what it should lie in is none.
    """
    try:
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=at)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise CorruptError(f"{name!r} in the store is no regular file; remove it, or restore the store") from error
        raise


@contextmanager
def opened(name: str, flags: int, at: int, mode: int = 0o666) -> Iterator[int]:
    """Open `name` as `open_file` does, and close it afterwards."""
    fd = open_file(name, flags, at, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def exists(name: str, at: int) -> bool:
    """Whether `name` stands below the directory `at`."""
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def list_names(name: str, at: int) -> list[str]:
    """The names in the directory `name`, sorted; nothing if there is no such directory."""
    try:
        fd = open_directory(name, at)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def exchange(one: str, other: str, at: int) -> None:
    """Let two names below the directory `at` change places in one step.

    Raises:
        OSError: the system or the file system cannot do that.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "this system cannot exchange two names in one step", other)
    if renameat2(at, os.fsencode(one), at, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), other)


def pwrite_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`; a short write is continued."""
    while (written := os.pwrite(fd, data, offset)) < len(data):
        data, offset = memoryview(data)[written:], offset + written


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Let an error of the system within a `with` block say what failed.

    Args:
        what: what is being done, as a noun.

    Raises:
        WriterFailedError: instead of the error.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename!r})" if isinstance(error.filename, str) else ""
        raise WriterFailedError(f"{what} failed: {error.strerror or error}{where}") from error


def start_writing(fd: int) -> None:
    """Let the kernel begin to write what was written to a file, without waiting: a sync that follows waits less.

    Nothing may be built on it but this: after an error, that sync may say that all is well.

    Raises:
        OSError: what was written cannot be written to the disk.
    """
    if _sync_file_range is not None and _sync_file_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE):
        code = ctypes.get_errno()
        if code not in _CANNOT_START:
            raise OSError(code, os.strerror(code))


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    found = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)  # Linux has it
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return found


_sync_file_range = _find_sync_file_range()


def read_small(name: str, at: int) -> bytes:
    """The content of a small regular file, at most 1 MiB.

    Raises:
        FileNotFoundError: there is none.
        CorruptError: it is no regular file, or larger than such a file can be.
    """
    with opened(name, os.O_RDONLY, at) as fd:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL:
            raise CorruptError(f"{name!r} is not a small regular file")
        return os.pread(fd, _SMALL, 0)


def sync_directory(name: str, at: int) -> None:
    """Make the entries of the directory `name` (`.` for `at` itself) durable."""
    fd = open_directory(name, at)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_plain(path: str, at: int) -> None:
    """Make sure that no part of the path `path` below the directory `at` is a symbolic link.

    Raises:
        CorruptError: one is: it might lead out of the store.
    """
    parts = path.split("/")
    for i in range(len(parts)):
        part = "/".join(parts[: i + 1])
        with suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISLNK(os.stat(part, dir_fd=at, follow_symlinks=False).st_mode):
                raise CorruptError(f"{part!r} in the store is a symbolic link; remove it, or restore the store")


def check_kinds(folders: Iterable[str], files: Iterable[str], at: int) -> None:
    """Make sure that what stands under some names in the directory `at`, if anything does, are folders and files.

    Raises:
        CorruptError: one is not: a link would lead out of the store, and whoever opens a FIFO might wait for ever.
    """
    for names, is_kind, kind in ((folders, stat.S_ISDIR, "folder"), (files, stat.S_ISREG, "regular file")):
        for name in names:
            with suppress(FileNotFoundError):
                if not is_kind(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                    raise CorruptError(f"{name!r} in the store is no {kind}; remove it, or restore the store")


def make_directory(path: str, at: int) -> list[str]:
    """Make the directory `path` and those above it.

    Returns:
        The directories whose entries changed, for the caller to sync.
    """
    check_plain(path, at)
    changed: list[str] = []
    parts = path.split("/")
    for i in range(len(parts)):
        try:
            os.mkdir("/".join(parts[: i + 1]), dir_fd=at)
        except FileExistsError:
            continue
        changed.append("/".join(parts[:i]) or ".")
    return changed


def replace_file(name: str, data: bytes, at: int, *, sync: bool = True) -> None:
    """Put `data` under `name` in one step: whoever opens it sees the old content or the new.

    One process at a time may do so: what a killed one leaves half-written stands in the next one's way only to be
    overwritten.

    Args:
        name: the file; it may exist.
        data: its content.
        at: directory descriptor.
        sync: make content and name durable.  Without it a power cut may leave the old content, or none.
    """
    replace_files({name: data}, at, sync=sync)
    if sync:
        sync_directory(name.rpartition("/")[0] or ".", at)


def replace_files(contents: Mapping[str, bytes], at: int, *, sync: bool = True) -> None:
    """Put files under their names, each in one step, as `replace_file` does; their names are not durable yet.

    Args:
        contents: of each file, by its name.
        at: directory descriptor.
        sync: make the contents durable before any file has its name.
    """
    try:
        with ExitStack() as open_files:
            fds = []
            for name, data in contents.items():
                fd = open_files.enter_context(opened(leftover_name(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, at))
                pwrite_all(fd, data, 0)
                if sync and len(contents) > 1:
                    start_writing(fd)  # so that all are on their way when the first sync waits for the journal
                fds.append(fd)
            for fd in fds if sync else ():
                os.fsync(fd)
        for name in contents:
            os.rename(leftover_name(name), name, src_dir_fd=at, dst_dir_fd=at)
    except OSError:
        for name in contents:
            with suppress(OSError):
                os.unlink(leftover_name(name), dir_fd=at)
        raise


def leftover_name(name: str) -> str:
    """Where `replace_file` makes the new content of a file, and leaves it if it is killed."""
    return f"{name}.new"


def sync_tree(at: int) -> None:
    """Make every file and directory below `at`, and `at` itself, durable."""
    for _, _, names, folder in os.fwalk(".", topdown=False, dir_fd=at):
        for name in names:
            with opened(name, os.O_RDONLY, folder) as fd:
                os.fsync(fd)
        os.fsync(folder)


def remove_tree(name: str, at: int) -> None:
    """Remove the directory `name` and all below it; links are removed, never followed; absence is no error.

    However deep it is, few descriptors are held.  Broken off at any moment, it leaves a part of it under that name.

    Raises:
        NotADirectoryError: it is no directory.
    """
    check_plain(name.rpartition("/")[0] or ".", at)
    try:
        top = open_directory(name, at)
    except FileNotFoundError:
        return
    try:
        while os.listdir(top):
            _empty(top, top, _DEEPEST)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=at)


def _empty(folder: int, top: int, deepest: int) -> None:
    """Remove all below a directory down to a depth; what lies deeper is moved up to `top`, to be removed from there."""
    for entry in list(os.scandir(folder)):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
        elif deepest:
            inner = open_directory(entry.name, folder)
            try:
                _empty(inner, top, deepest - 1)
            finally:
                os.close(inner)
            os.rmdir(entry.name, dir_fd=folder)
        else:
            os.rename(entry.name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
