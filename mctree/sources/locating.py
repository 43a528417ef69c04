"""What do the given paths point at, and what are they called?  Looked up once, before anything is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mctree.errors import SourceError, UsageError
from mctree.sources.directory import Identity, holds_store
from mctree.sources.files import kind_of
from mctree.sources.names import failure, shown

__all__ = ["Located", "locate", "reject_clashes"]

_STDIN = b"-"
_STDIN_NAME = b"stdin"


@dataclass(frozen=True, slots=True)
class Located:
    """A path that was given.

    Attributes:
        name: what it is called in the store.
        path: absolute; None for standard input.
        folder: whether it is a folder.
        identity: its device and inode.
    """

    name: bytes
    path: bytes | None
    folder: bool = False
    identity: Identity | None = None


def locate(path: bytes, name: bytes | None) -> Located:
    """Find out what `path` is; `name` overrides what it would be called.

    Raises:
        UsageError: it has no usable name, or is an mctree store.
        SourceError: it does not exist, is no file or folder, or is a folder that cannot be entered.
    """
    if name is not None and (name in (b"", b".", b"..") or b"/" in name or b"\0" in name):
        raise UsageError(f"'{shown(name)}' cannot name an input: use a word without /")
    if path == _STDIN:
        return Located(name or _STDIN_NAME, None)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise SourceError(f"{shown(path) or 'the empty path'} does not exist: check the path") from None
    except OSError as error:
        raise SourceError(f"{shown(path)} cannot be examined: {failure(error)}") from error
    except ValueError:
        raise UsageError(f"{shown(path)} holds a NUL byte, which no path can") from None
    absolute = os.path.realpath(path) if b".." in path.split(b"/") else os.path.abspath(path)
    chosen = name or os.path.basename(absolute)
    if not chosen:
        raise UsageError(
            f"{shown(path)} has no name to call its documents by: give the folders in it, or, from Python, a name"
        )
    folder = stat.S_ISDIR(status.st_mode)
    if folder:
        _reject_closed(absolute)
    elif not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{shown(path)} is {kind_of(status)}, not a file or folder: pipe it into - instead")
    return Located(chosen, absolute, folder, (status.st_dev, status.st_ino))


def reject_clashes(roots: Sequence[Located]) -> None:
    """Make sure that no two roots have one name, and that none is, or lies within, another.

    Raises:
        UsageError: two do.
    """
    by_name: dict[bytes, Located] = {}
    by_path: dict[bytes | None, Located] = {}
    for root in roots:
        other = by_name.setdefault(root.name, root)
        if other is not root and other.path != root.path:
            raise UsageError(
                f"{_called(other)} and {_called(root)} would both be named '{shown(root.name)}': "
                "give the folder that holds both, or, from Python, names of your own"
            )
        real = root.path and os.path.realpath(root.path)
        if by_path.setdefault(real, root) is not root:
            raise UsageError(f"{_called(root)} is given twice: give it once")
    for real, root in by_path.items():
        for above in _folders_above(real or b""):
            if above in by_path:
                raise UsageError(
                    f"{_called(root)} lies within {_called(by_path[above])} and would be read twice: "
                    "give only one of them"
                )


def _called(root: Located) -> str:
    return shown(root.path) if root.path else "standard input"


def _folders_above(path: bytes) -> Iterator[bytes]:
    while path not in (b"", b"/"):
        path = os.path.dirname(path)
        yield path


def _reject_closed(path: bytes) -> None:
    if holds_store(path):
        raise UsageError(f"{shown(path)} is an mctree store, not input for one: give what it was made from")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        raise SourceError(f"{shown(path)} cannot be entered: {failure(error)}") from error
