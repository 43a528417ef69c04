"""Which files does the user not want?  Ignore files found on the way down, and the patterns of the call.

An entry is ignored if the most important list that speaks of it says so:

1. the call's `exclude` patterns, relative to the root (a negated one takes back what ignore files say);
2. `.mctreeignore`, the deepest first;
3. `.gitignore`, the deepest first.

A folder that is ignored is not entered, so nothing in it can be taken back.  With `include` patterns, only files are
taken that these match, or that lie in a folder that they match and are not taken back by a negated one.  What lies
above a root is not consulted, nor git's global and repository settings: what is read depends on the tree alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from mctree.errors import UsageError
from mctree.sources.names import failure, shown
from mctree.sources.patterns import Rules, parse_pattern

__all__ = ["IGNORE_FILES", "VERSION_CONTROL", "Filter", "parse_option", "read_ignore_file"]

IGNORE_FILES = (b".mctreeignore", b".gitignore")
VERSION_CONTROL = frozenset((b".git", b".hg", b".svn", b".jj", b".bzr"))

_LARGEST = 1 << 20


def parse_option(option: str, patterns: Sequence[str]) -> Rules:
    """Read the patterns of `include` or `exclude`.

    Raises:
        UsageError: a pattern can match nothing.
    """
    if isinstance(patterns, str | bytes):
        raise UsageError(f"{option} takes a list of patterns, not one string: write [{patterns!r}]")
    lines = [os.fsencode(pattern) for pattern in patterns]
    for line in lines:
        if parse_pattern(line) is None:
            raise UsageError(f"{option} pattern '{shown(line)}' can match nothing: mend it or leave it out")
    return Rules.parse(lines)


def read_ignore_file(folder: int, name: bytes, follow: bool) -> Rules | str:
    """Read the ignore file of that name in an open folder.

    Args:
        folder: file descriptor.
        name: of the file.
        follow: whether it may be a symbolic link; as git does, one that may not be followed is no ignore file.

    Returns:
        its rules, none if it is no regular file; or a reason why it cannot be known what they are.
    """
    try:
        text = _regular_bytes(folder, name, follow)
    except FileNotFoundError:
        return Rules(())
    except OSError as error:
        return f"its {shown(name)} cannot be read: {failure(error)}"
    if len(text) > _LARGEST:
        return f"its {shown(name)} has more than {_LARGEST} bytes"
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return Rules.parse(line.removesuffix(b"\r") for line in lines)


def _regular_bytes(folder: int, name: bytes, follow: bool) -> bytes:
    """The start of a regular file; nothing of anything else, which is not opened."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=follow).st_mode):
        return b""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(name, flags if follow else flags | os.O_NOFOLLOW, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_LARGEST + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted in one folder; every folder makes the filters of those in it.

    Attributes:
        exclude: the call's.
        include: the call's; None takes everything.
        layers: for each of `IGNORE_FILES`, (length of the path to its folder, rules), the deepest last.
        included: whether an `include` pattern matches this folder or one above.
    """

    exclude: Rules
    include: Rules | None
    layers: tuple[tuple[tuple[int, Rules], ...], ...] = ((),) * len(IGNORE_FILES)
    included: bool = False

    def ignores(self, path: bytes, folder: bool) -> bool:
        """Whether the entry at this path, relative to the root, is not wanted."""
        verdict = self.exclude.decide(path, folder)
        if verdict is not None:
            return verdict
        for layer in self.layers:
            for length, rules in reversed(layer):
                verdict = rules.decide(path[length:], folder)
                if verdict is not None:
                    return verdict
        return False

    def includes(self, path: bytes, folder: bool) -> bool:
        """Whether the `include` patterns take the entry, or anything that they do not speak of below it."""
        if self.include is None:
            return True
        verdict = self.include.decide(path, folder)
        return self.included if verdict is None else verdict

    def below(self, path: bytes, found: Sequence[Rules]) -> Filter:
        """The filter of the folder at `path` (relative, empty for the root), which holds these ignore files' rules."""
        length = len(path) + 1 if path else 0
        layers = tuple(
            (*layer, (length, rules)) if rules.patterns else layer
            for layer, rules in zip(self.layers, found, strict=True)
        )
        included = self.includes(path, folder=True) if path else self.included
        return Filter(self.exclude, self.include, layers, included)
