"""What can be done to a disk?  A few operations, on files and folders that are known by number, not by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["MAPPED", "ROOT", "Acknowledged", "Named", "Operation", "Resized", "Synced", "Trace", "Written"]

ROOT: Final = 0
"""The inode of the folder that stands for the disk."""

MAPPED: Final = "lock.mdb"
"""What is written to through a map, and needs not survive."""


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were written; `durable` if the call returned only when they were on the disk."""

    inode: int
    offset: int
    data: bytes
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Resized:
    """A file was cut off, or filled up with zeros, to be so long."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Named:
    """Entries of folders changed together: (folder, name, what stands there now, None for nothing)."""

    entries: tuple[tuple[int, str, int | None], ...]
    call: str


@dataclass(frozen=True, slots=True)
class Synced:
    """A file's content, or a folder's entries, are on the disk."""

    inode: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A step was acknowledged."""

    step: str


Operation = Written | Resized | Named | Synced | Acknowledged


@dataclass(frozen=True, slots=True)
class Trace:
    """What a process did.

    Attributes:
        operations: in order.
        folders: the entries that each folder had at first, by its inode; none if it was made later.
        files: the content that each file had at first, by its inode.
    """

    operations: tuple[Operation, ...]
    folders: Mapping[int, Mapping[str, int]]
    files: Mapping[int, bytes]
