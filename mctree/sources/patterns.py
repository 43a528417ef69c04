r"""Which paths does a line of a `.gitignore` match?  What git's own matcher says, over bytes.

Patterns follow gitignore(5): `!` negates, a trailing `/` matches folders only, a pattern with another `/` is anchored
where it was written and one without matches a basename at any depth, `**` spans folders, `?`, `*` and `[…]` never
match `/`, the last matching line decides.  As git does, a path is matched *itself*: that a folder above it is ignored
is the business of the walk, which does not enter the folder.

A pattern becomes one regular expression without nested or repeated backtracking: between two stars the leftmost match
is always as good as any other, so it is taken for good (an atomic group).  Matching is thus at most quadratic in the
path's length, whatever the pattern, and ignore files of strangers are safe to honour.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Pattern", "Rules", "parse_pattern"]

_STAR = b"*"
_FOLDERS = b"**"
_SLASH = b"/"
_ANY = b"[^/]"

_BLANK = frozenset(b" \t")
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": frozenset((string.ascii_letters + string.digits).encode()),
    b"alpha": frozenset(string.ascii_letters.encode()),
    b"blank": _BLANK,
    b"cntrl": frozenset([*range(32), 127]),
    b"digit": frozenset(string.digits.encode()),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(string.ascii_lowercase.encode()),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(string.punctuation.encode()),
    b"space": frozenset(string.whitespace.encode()),
    b"upper": frozenset(string.ascii_uppercase.encode()),
    b"xdigit": frozenset(string.hexdigits.encode()),
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line.

    Attributes:
        regex: matched against the basename or the whole path, in full.
        negated: it takes back what earlier lines matched.
        folders_only: it matches folders only.
        anchored: it is matched against the whole path.
    """

    regex: re.Pattern[bytes]
    negated: bool
    folders_only: bool
    anchored: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """The lines of one ignore file, or the patterns of one option, in order."""

    patterns: tuple[Pattern, ...]

    @classmethod
    def parse(cls, lines: Iterable[bytes]) -> Rules:
        """Read lines without their ends; comments, blank lines and lines that can match nothing drop out."""
        return cls(tuple(found for found in map(parse_pattern, lines) if found is not None))

    def decide(self, path: bytes, folder: bool) -> bool | None:
        """True: matched; False: taken back by a negated line; None: no line speaks of it.

        Args:
            path: relative to where the lines were written, joined by `/`, without one at either end.
            folder: whether it is a folder.
        """
        base = path[path.rfind(b"/") + 1 :]
        for pattern in reversed(self.patterns):
            if pattern.folders_only and not folder:
                continue
            if pattern.regex.fullmatch(path if pattern.anchored else base):
                return not pattern.negated
        return None


def parse_pattern(line: bytes) -> Pattern | None:
    """Read one line without its end; None if it can match nothing."""
    body = _without_trailing_spaces(line)
    if body.startswith(b"#"):
        return None
    negated = body.startswith(b"!")
    body = body[1:] if negated else body
    folders_only = body.endswith(b"/")
    body = body[:-1] if folders_only else body
    if not body:
        return None
    anchored = b"/" in body
    units = _units(body[1:] if body.startswith(b"/") else body)
    if units is None:
        return None
    segments = _segments(units)
    if [] in segments:
        return None
    regex = _path_regex(segments) if anchored else _segment_regex(units)
    return Pattern(re.compile(regex, re.DOTALL), negated, folders_only, anchored)


def _without_trailing_spaces(line: bytes) -> bytes:
    """Spaces at the end do not count, but for one behind a backslash."""
    stop = position = 0
    while position < len(line):
        if line[position : position + 1] == b"\\":
            position += 2
            stop = min(position, len(line))
        else:
            position += 1
            if line[position - 1 : position] != b" ":
                stop = position
    return line[:stop]


def _units(body: bytes) -> list[bytes] | None:
    """Split a pattern into stars, slashes and expressions for one byte each; None if it can match nothing."""
    units: list[bytes] = []
    position = 0
    while position < len(body):
        letter = body[position : position + 1]
        position += 1
        if letter == b"*":
            stars = position - 1
            while body[position : position + 1] == b"*":
                position += 1
            ends = position == len(body) or body.startswith((b"/", b"\\/"), position)
            alone = ends and (not units or units[-1] == _SLASH)
            units.append(_FOLDERS if alone and position - stars > 1 else _STAR)
        elif letter == b"?":
            units.append(_ANY)
        elif letter == b"[":
            found = _bracket(body, position)
            if found is None:
                return None
            members, position = found
            units.append(_one_of(members))
        elif letter == b"\\":
            letter = body[position : position + 1]
            position += 1
            if not letter:
                return None
            units.append(_SLASH if letter == b"/" else re.escape(letter))
        else:
            units.append(_SLASH if letter == b"/" else re.escape(letter))
    return units


def _bracket(body: bytes, position: int) -> tuple[set[int], int] | None:
    """Read a bracket expression from behind its `[`: the bytes it matches, and where it ends; None if it does not."""
    negated = body[position : position + 1] in (b"!", b"^")
    position += negated
    members: set[int] = set()
    previous: int | None = None
    first = True
    while first or body[position : position + 1] != b"]":
        first = False
        if position >= len(body):
            return None
        byte = body[position]
        if byte == ord("\\"):
            position += 1
            if position >= len(body):
                return None
            previous = body[position]
            members.add(previous)
        elif byte == ord("-") and previous is not None and body[position + 1 : position + 2] not in (b"", b"]"):
            position += 1
            if body[position] == ord("\\"):
                position += 1
                if position >= len(body):
                    return None
            members.update(range(previous, body[position] + 1))
            previous = None
        elif body[position : position + 2] == b"[:" and (stop := body.find(b"]", position + 2)) < 0:
            return None
        elif body[position : position + 2] == b"[:" and stop > position + 2 and body[stop - 1] == ord(":"):
            named = _CLASSES.get(body[position + 2 : stop - 1])
            if named is None:
                return None
            members.update(named)
            position = stop
            previous = None
        else:
            previous = byte
            members.add(byte)
        position += 1
    if negated:
        members = set(range(256)) - members
    return members - {ord("/")}, position + 1


def _one_of(members: set[int]) -> bytes:
    if not members:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]"


def _segments(units: list[bytes]) -> list[list[bytes]]:
    segments: list[list[bytes]] = [[]]
    for unit in units:
        if unit == _SLASH:
            segments.append([])
        else:
            segments[-1].append(unit)
    return segments


def _segment_regex(units: list[bytes]) -> bytes:
    """An expression for one part of a path; what follows it must be `/` or the end."""
    runs: list[bytes] = [b""]
    for unit in units:
        if unit in (_STAR, _FOLDERS):
            runs.append(b"")
        else:
            runs[-1] += unit
    if len(runs) == 1:
        return runs[0]
    middle = b"".join(b"(?>[^/]*?" + run + b")" for run in runs[1:-1] if run)
    return runs[0] + middle + b"[^/]*" + runs[-1]


def _path_regex(segments: list[list[bytes]]) -> bytes:
    """An expression for a whole path: runs of parts, between which any folders may lie."""
    runs: list[list[bytes]] = [[]]
    for units in segments:
        if units == [_FOLDERS]:
            runs.append([])
        else:
            runs[-1].append(_segment_regex(units))
    first, *others = (b"/".join(run) for run in runs)
    if not others:
        return first
    head = first + b"/" if first else b""
    middle = b"".join(b"(?>(?:[^/]*/)*?" + run + b"/)" for run in others[:-1] if run)
    return head + middle + (b"(?:[^/]*/)*" + others[-1] if others[-1] else b".*")
