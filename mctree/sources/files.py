"""How is a file read so that what comes out is the file, whole, and nothing else?

Only regular files are opened.  What was seen when the file was listed is compared with what was opened and, after
reading, with what it is then; any difference is an error, so that bytes torn between two states never pass for the
file.  The comparison includes the inode, so a folder swapped for a link on the way to the file is noticed too.  Opening
neither blocks on a FIFO that took the file's place nor follows a link that did.

A change within one tick of the file system's clock leaves the times as they were.  A file that was changed in the
current tick is therefore read after the tick is over.  Not assumed: that the size is right (`/proc` says 0), that
memory holds a file.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mctree.errors import SourceError
from mctree.sources.names import failure, shown
from mctree.sources.protocol import RawDocument, Skipped, Stamp

__all__ = [
    "CHUNK",
    "HEAD",
    "Head",
    "OpenFile",
    "RegularFile",
    "is_binary",
    "kind_of",
    "read_head",
    "reopen",
    "reopened",
    "stamp_of",
    "text_document",
    "too_sparse",
]

CHUNK = 1 << 20
HEAD = 1 << 16
_SNIFFED = 1 << 13
_MOST_HOLES = 1 << 34
"""Bytes that were never written, and are read all the same: so many take seconds."""
_STRETCHES = 1 << 12
"""Between holes: so many are looked at."""
_BLOCK = 512
"""Bytes of a block of `stat`, whatever the file system's are."""
_TICK_NS = 20_000_000

_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
}
_CHANGED = "changed while it was being read"


def stamp_of(status: os.stat_result) -> Stamp:
    """The part of a `stat` that tells changes."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def kind_of(status: os.stat_result) -> str:
    """What it is called in a message."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")


def is_binary(head: bytes) -> bool:
    """Whether the start of a file says that it is no text: a NUL byte, and no mark of UTF-16 or UTF-32."""
    return b"\0" in head[:_SNIFFED] and not head.startswith(_WIDE_MARKS)


@dataclass(frozen=True, slots=True)
class RegularFile:
    """A regular file as it was when it was listed.

    Attributes:
        name: within the store.
        path: absolute.
        stamp: what it was.
        device: the file system it was in.
        linked: the last part of `path` is a symbolic link that may be followed.
    """

    name: bytes
    path: bytes
    stamp: Stamp
    device: int
    linked: bool = False

    @classmethod
    def seen(cls, name: bytes, path: bytes, status: os.stat_result, linked: bool = False) -> Self:
        """The file that a `stat` described."""
        return cls(name, path, stamp_of(status), status.st_dev, linked)

    def open(self) -> OpenFile | Skipped:
        """Open it, if it is still what was seen."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags if self.linked else flags | os.O_NOFOLLOW)
        except FileNotFoundError:
            return Skipped(self.name, "vanished before it was read", certain=False)
        except OSError as error:
            return Skipped(self.name, f"cannot be opened: {failure(error)}", certain=False)
        opened = OpenFile(self, descriptor)
        try:
            unchanged = opened.unchanged()
        except BaseException:
            opened.close()
            raise
        if not unchanged:
            opened.close()
            return Skipped(self.name, "changed before it was read", certain=False)
        age = time.time_ns() - self.stamp.ctime_ns
        if 0 <= age < _TICK_NS:
            time.sleep((_TICK_NS - age) / 1e9)
        return opened


class OpenFile:
    """A file that is open for reading, at its start."""

    def __init__(self, file: RegularFile, descriptor: int) -> None:
        self.file = file
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; closing twice does no harm."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def unchanged(self) -> bool:
        """Whether the file is what was seen, and regular."""
        status = os.fstat(self._descriptor)
        same = stamp_of(status) == self.file.stamp and status.st_dev == self.file.device
        return same and stat.S_ISREG(status.st_mode)

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer only at the end of the file.

        Raises:
            SourceError: the file system failed.
        """
        parts: list[bytes] = []
        try:
            while size and (part := os.read(self._descriptor, min(size, CHUNK))):
                parts.append(part)
                size -= len(part)
        except OSError as error:
            raise SourceError(f"{shown(self.file.name)} cannot be read: {failure(error)}") from error
        return b"".join(parts)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from a place, fewer only at the end of the file, and leave where `read` goes on.

        Raises:
            SourceError: the file system failed.
        """
        parts: list[bytes] = []
        try:
            while size and (part := os.pread(self._descriptor, min(size, CHUNK), offset)):
                parts.append(part)
                offset += len(part)
                size -= len(part)
        except OSError as error:
            raise SourceError(f"{shown(self.file.name)} cannot be read: {failure(error)}") from error
        return b"".join(parts)

    def seek(self, offset: int) -> None:
        """Go to a byte, counted from the start."""
        os.lseek(self._descriptor, offset, os.SEEK_SET)

    def stream(self) -> io.FileIO:
        """The file for a library that reads by itself; the caller closes it, and calls `confirm` at the end."""
        return io.FileIO(os.dup(self._descriptor), "rb")

    def has_hole(self) -> bool:
        """Whether a stretch of the file was never written, so that it reads as NUL bytes; leaves the place anywhere."""
        with suppress(OSError):
            return os.lseek(self._descriptor, 0, os.SEEK_HOLE) < self.file.stamp.size
        return False

    def require_dense(self) -> None:
        """Make sure that reading the file takes as long as what is in it; leaves the place anywhere.

        Raises:
            SourceError: it has too many holes.
        """
        if found := too_sparse(self._descriptor):
            raise SourceError(f"{shown(self.file.path)}: {found}")

    def chunks(self) -> Iterator[bytes]:
        """All bytes from the start.

        Raises:
            SourceError: the file changed, or the file system failed.
        """
        self.seek(0)
        total = 0
        while chunk := self.read(CHUNK):
            total += len(chunk)
            self.confirm()
            yield chunk
        self.confirm(total)

    def confirm(self, total: int | None = None) -> None:
        """Make sure that nothing changed, and that `total` bytes were all.

        Raises:
            SourceError: something did, or they were not.
        """
        if not self.unchanged() or total not in (None, self.file.stamp.size):
            raise SourceError(f"{shown(self.file.name)} {_CHANGED}: run again when it is at rest")


def too_sparse(descriptor: int) -> str | None:
    """What is wrong with an open file that is read for hours although next to nothing is in it; None if nothing is.

    A file system that compresses, or keeps data elsewhere, may have given a file fewer blocks than it has bytes.  So
    where there may be too many holes they are looked for, and `stat` is believed only of a file in more stretches than
    are looked at.  Leaves the place anywhere.
    """
    status = os.fstat(descriptor)
    unallocated = status.st_size - _BLOCK * status.st_blocks
    if unallocated <= _MOST_HOLES:
        return None
    holes = _holes(descriptor, status.st_size)
    holes = unallocated if holes is None else holes
    if holes <= _MOST_HOLES:
        return None
    return f"{holes >> 30} GiB of it are holes: copy what is in it to a file without them, or exclude it"


def _holes(descriptor: int, size: int) -> int | None:
    """Bytes of an open file that were never written; None if it is in very many stretches.

    Nothing is known of a file system that cannot be asked.
    """
    found = at = 0
    try:
        for _ in range(_STRETCHES):
            hole = os.lseek(descriptor, at, os.SEEK_HOLE)
            if hole >= size:
                return found
            try:
                at = os.lseek(descriptor, hole, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no data from there on
                    raise
                at = size
            found += at - hole
            if at >= size:
                return found
    except OSError:
        return 0
    return None


@dataclass(frozen=True, slots=True)
class Head:
    """How a file begins.

    Attributes:
        data: its first `HEAD` bytes, or all of them.
        hole: it is longer, and a stretch of it was never written.
    """

    data: bytes
    hole: bool


def read_head(file: RegularFile) -> Head | Skipped:
    """Read the beginning of a file, as it was when it was listed."""
    opened = file.open()
    if isinstance(opened, Skipped):
        return opened
    with opened:
        try:
            data = opened.read(HEAD)
            unchanged = opened.unchanged()
        except SourceError as error:
            return Skipped(file.name, f"cannot be read: {_cause(error)}", certain=False)
        hole = file.stamp.size > HEAD and opened.has_hole()
    if not unchanged or len(data) != min(file.stamp.size, HEAD):
        return Skipped(file.name, _CHANGED, certain=False)
    return Head(data, hole)


def text_document(file: RegularFile, head: Head) -> RawDocument | Skipped:
    """The file as one text, unless it is binary.

    One of at most `HEAD` bytes is kept as it was read, so that it is opened once; a larger one is opened anew each time
    it is read.
    """
    if is_binary(head.data):
        return Skipped(file.name, "binary")
    if head.hole:
        return Skipped(file.name, "binary: sparse, with a hole of zero bytes")
    if file.stamp.size <= HEAD:
        return RawDocument(file.name, {}, lambda: iter((head.data,) if head.data else ()))
    return RawDocument(file.name, {}, lambda: reopen(file))


def reopen(file: RegularFile) -> Iterator[bytes]:
    """All bytes of a file, as it was when it was listed.

    Raises:
        SourceError: it changed, or cannot be read.
    """
    with reopened(file) as opened:
        yield from opened.chunks()


def reopened(file: RegularFile) -> OpenFile:
    """A file, open, as it was when it was listed.

    Raises:
        SourceError: it changed, or cannot be opened.
    """
    opened = file.open()
    if isinstance(opened, Skipped):
        raise SourceError(f"{shown(file.name)} {opened.reason}: run again when it is at rest")
    return opened


def _cause(error: SourceError) -> str:
    cause = error.__cause__
    return failure(cause) if isinstance(cause, OSError) else str(error)
