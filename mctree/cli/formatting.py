"""How are numbers, times and excerpts written?  For people: short, the same everywhere, never wrapped by accident.

Nothing here prints, and nothing here looks at the clock or the terminal.  Widths are in terminal cells: a Chinese
character takes two, a combining accent none.
"""

from __future__ import annotations

import math
import re
import time
import unicodedata

from mctree.cli.escaping import visible

__all__ = [
    "cells",
    "clip",
    "compact",
    "duration",
    "excerpt",
    "folded",
    "number",
    "plural",
    "share",
    "size",
    "when",
    "wrapped",
]

_SIZES = ("kB", "MB", "GB", "TB", "PB", "EB")
_COUNTS = ("K", "M", "G", "T", "P", "E")
_STYLE = re.compile("(\x1b\\[[0-9;]*m)")
_LIFETIME = 100 * 365 * 86400
_TIMES: tuple[tuple[float, int, int, tuple[str, str]], ...] = (
    (3600, 60, 1, ("min", "s")),
    (86400, 3600, 60, ("h", "min")),
    (math.inf, 86400, 3600, ("d", "h")),
)


def number(value: int) -> str:
    """An exact number: 1,234,567."""
    return f"{value:,}"


def compact(value: float) -> str:
    """A number in at most five characters: 812, 1.2K, 34.5M."""
    scaled, unit = _scaled(value, _COUNTS)
    return f"{scaled}{unit}"


def size(value: float) -> str:
    """A number of bytes: 812 B, 1.2 kB, 34.5 MB (powers of 1000)."""
    scaled, unit = _scaled(value, _SIZES)
    return f"{scaled} {unit or 'B'}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """A number of things: 1 document, 2,000 documents."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """A part of a whole: 12.3 %."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"


def duration(seconds: float) -> str:
    """A stretch of time: 0.4 s, 12 s, 3 min 4 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    if seconds > _LIFETIME:
        return "over 100 years"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    _, large, small, units = next(scale for scale in _TIMES if whole < scale[0])
    return f"{whole // large} {units[0]} {whole % large // small} {units[1]}"


def when(time_ns: int, *, utc: bool = False) -> str:
    """A moment: `2026-01-31 12:34:56` by the local clock, or `2026-01-31T12:34:56Z`."""
    seconds = time_ns // 1_000_000_000
    try:
        if utc:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


def cells(text: str) -> int:
    """How many cells of a terminal a line of printable text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def clip(text: str, width: int) -> str:
    """A line cut to so many cells, the cut shown by an ellipsis."""
    if cells(text) <= width:
        return text
    used, kept = 1, []
    for letter in text:
        used += _cells(letter)
        if used > width:
            break
        kept.append(letter)
    return "".join(kept) + "…" if width > 0 else ""


def excerpt(text: str, width: int) -> str:
    """The beginning of a text as one line of at most so many cells."""
    # A cell holds a character at least, but white space and combining marks take none: look at more than fits.
    head = text[: 8 * max(width, 0) + 64]
    line = visible(" ".join(head.split()))
    return clip(line + (" …" if len(head) < len(text) else ""), width)


def wrapped(text: str, width: int, limit: int) -> list[str]:
    """The beginning of a text as at most so many lines of at most so many cells, broken between words."""
    lines: list[str] = []
    current = ""
    for word in visible(" ".join(text.split())).split(" "):
        joined = f"{current} {word}" if current else word
        if cells(joined) <= width or not current:
            current = joined
            continue
        lines.append(clip(current, width))
        if len(lines) == limit:
            lines[-1] = clip(f"{current} …", width) if cells(current) + 2 <= width else clip(current + "…", width)
            return lines
        current = word
    return [*lines, clip(current, width)] if current else lines


def folded(text: str, width: int, indent: int = 0) -> list[str]:
    """A line as lines of at most so many cells, broken between words, or in a word that is too long for a line.

    Args:
        text: one line, printable but for colours, which take no room.
        width: cells of a line, at least two more than `indent`.
        indent: spaces before each line but the first.

    Returns:
        One line at least, with nothing left out but the spaces that were broken at.
    """
    lines: list[str] = []
    current: str | None = None
    # A dot stands at the end of a line rather than at the start of one.
    for word in text.replace(" · ", "\0· ").split(" "):
        joined = word if current is None else f"{current} {word}"
        if _bare_cells(joined) <= (width - indent if lines else width):
            current = joined
            continue
        if current is not None:
            lines.append(current)
        current = word
        while _bare_cells(current) > (room := width - indent if lines else width):
            line, current = _cut(current, room)
            lines.append(line)
    lines.append(current or "")
    return [(" " * indent if i else "") + line.replace("\0", " ") for i, line in enumerate(lines)]


def _cut(word: str, width: int) -> tuple[str, str]:
    """As much of a word as goes into so many cells, of a path as many whole parts as do, and the rest."""
    used = place = whole = 0
    for part in _STYLE.split(word):
        for letter in [part] if part.startswith("\x1b") else part:
            used += 0 if part.startswith("\x1b") else _cells(letter)
            if used > width:
                place = whole or place
                return word[:place], word[place:]
            place += len(letter)
            whole = place if letter == "/" else whole
    return word, ""


def _bare_cells(text: str) -> int:
    return cells(_STYLE.sub("", text) if "\x1b" in text else text)


def _cells(letter: str) -> int:
    if unicodedata.east_asian_width(letter) in "WF":
        return 2
    return 0 if unicodedata.category(letter) in ("Mn", "Me", "Cf") else 1


def _scaled(value: float, units: tuple[str, ...]) -> tuple[str, str]:
    if value < 999.5:
        return f"{value:.0f}", ""
    for unit in units:
        value /= 1000
        if value < 999.5 or unit == units[-1]:
            break
    return (f"{value:.1f}" if value < 99.95 else f"{value:.0f}"), unit
