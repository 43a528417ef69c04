"""What is a folder that is one image like at a glance, and is it what it was?  The names, sizes and times in it say it.

Files that are left behind among tiles are no part of the image: whether they come or go, it is the same one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mctree.errors import SourceError
from mctree.sources.images.folder_names import holds_zarr, is_left_behind
from mctree.sources.images.schemes import counts_from_below
from mctree.sources.names import failure, joined, shown
from mctree.sources.protocol import Stamp

__all__ = ["ImageFolder", "folder_digest", "folder_stamp"]

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A folder that is one image.

    Attributes:
        name: within the store.
        path: absolute.
        identity: its device and inode, when it was found.
    """

    name: bytes
    path: bytes
    identity: tuple[int, int]


def folder_stamp(folder: ImageFolder) -> Stamp:
    """What is seen of a folder at a glance.

    Whatever is written, made, moved or removed in it leaves a later time of change in it, or in a folder in it.

    Raises:
        SourceError: it, or something in it, cannot be looked at.
    """
    top = _status(folder.path)
    size, modified, changed = 0, top.st_mtime_ns, top.st_ctime_ns
    for _, status in _entries(folder.path):
        modified, changed = max(modified, status.st_mtime_ns), max(changed, status.st_ctime_ns)
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
    return Stamp(size, modified, top.st_ino, changed)


def folder_digest(folder: ImageFolder, stamp: Stamp, between: Callable[[], object]) -> bytes:
    """32 bytes of the names, sizes and times of modification of what it consists of, in whatever order it is listed.

    Args:
        folder: which.
        stamp: what was seen of it at a glance.
        between: called between two files.

    Raises:
        SourceError: it cannot be looked at, or is not what was seen.
    """
    tiles = not holds_zarr(folder.path)
    total = _number("rows from below") if tiles and counts_from_below(folder.path) else 0
    above = len(folder.path)
    for name, status in _entries(folder.path):
        between()
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFDIR and not (tiles and kind == stat.S_IFREG and is_left_behind(os.path.basename(name))):
            total += _number((name[above:], status.st_size, status.st_mtime_ns, kind))
    if folder_stamp(folder) != stamp:
        raise SourceError(f"{shown(folder.path)} changed while it was being read: run again when it is at rest")
    return (total % (1 << 8 * _DIGEST_BYTES)).to_bytes(_DIGEST_BYTES, "big")


def _number(facts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(facts).encode(), digest_size=_DIGEST_BYTES).digest(), "big")


def _entries(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """The path and the `stat` of everything below a folder; links are not followed."""
    folders = [path]
    while folders:
        above = folders.pop()
        try:
            with os.scandir(above) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    yield joined(above, entry.name), status
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
        except OSError as error:
            raise SourceError(f"{shown(above)} cannot be listed: {failure(error)}") from error


def _status(path: bytes) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise SourceError(f"{shown(path)} cannot be examined: {failure(error)}") from error
