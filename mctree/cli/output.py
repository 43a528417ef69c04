"""Where do lines, tables, JSON and raw bytes go?  To standard output, in one form whoever reads it.

There are colours on a terminal (unless `NO_COLOR` is set), and but for them a command prints the same into a pipe.
Names and texts from outside must have been escaped before they come here.
JSON is one object per line, in ASCII, with keys in a fixed order.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

from mctree.cli.formatting import cells, folded

__all__ = [
    "bold",
    "dim",
    "draw",
    "fields",
    "fits",
    "json_line",
    "line",
    "name",
    "prose",
    "raw",
    "table",
    "warn",
    "width",
]

Row = Sequence[str]

_LEAST_VALUE = 16
_SIGNS = "█▓▒░├└─│…·×–“”"
_IN_ASCII = str.maketrans(_SIGNS, '#*+:|`-|.-x-""')


def line(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def warn(text: str) -> None:
    """Print a line on standard error."""
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def json_line(value: Mapping[str, object]) -> None:
    """Print an object as one line of JSON."""
    line(json.dumps(value, ensure_ascii=True, allow_nan=False))


def raw(parts: Iterable[bytes]) -> None:
    """Write bytes as they are."""
    sys.stdout.flush()
    output = sys.stdout.buffer
    for part in parts:
        rest = memoryview(part)
        # Unbuffered (PYTHONUNBUFFERED), a write may take a part of what it is given.
        while rest:
            rest = rest[output.write(rest) :]
    output.flush()


def width() -> int:
    """Cells of a line of the terminal; 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def prose(text: str, indent: int = 0) -> None:
    """Print words, in as many lines as they need; those but the first are indented."""
    for part in folded(text, width(), indent):
        line(part)


def draw(text: str) -> None:
    """Print a line of a picture, in ASCII where the terminal has nothing else."""
    try:
        _SIGNS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        text = text.translate(_IN_ASCII)
    line(text)


def bold(text: str) -> str:
    """Text that stands out."""
    return _styled(text, 1)


def dim(text: str) -> str:
    """Text that steps back."""
    return _styled(text, 2)


def name(text: str) -> str:
    """The name of a source or a node."""
    return _styled(text, 36)


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print labels and values, the values below each other, folded; an empty label continues the last."""
    rows = list(pairs)
    column = max((cells(label) for label, _ in rows), default=0) + 2
    for label, value in rows:
        first, *more = folded(value, max(width() - column, _LEAST_VALUE))
        line(f"{dim(label) if label else ''}{' ' * (column - cells(label))}{first}".rstrip())
        for part in more:
            line(" " * column + part)


def fits(head: Row, rows: Iterable[Row]) -> bool:
    """Whether rows have room on the terminal as a table."""
    columns = zip(head, *rows, strict=True)
    return sum(max(map(cells, column)) + 2 for column in columns) - 2 <= width()


def table(head: Row, rows: Iterable[Row], *, align: str, at_once: int = 1000) -> None:
    """Print rows in columns, as they come; the last column may be of any width.

    Args:
        head: the columns' names.
        rows: as many texts each; styled ones only in the last column.
        align: `<` or `>` for each column.
        at_once: the widths are those of so many rows, and grow where a later one needs it.
    """
    widths = [cells(text) for text in head[:-1]]
    batch: list[Row] = []
    header: Row | None = head

    def flush() -> None:
        nonlocal header
        for row in batch:
            for i, text in enumerate(row[:-1]):
                widths[i] = max(widths[i], cells(text))
        if header is not None:
            line(dim(_columns(header, widths, align)))
            header = None
        for row in batch:
            line(_columns(row, widths, align))
        batch.clear()

    for row in rows:
        batch.append(row)
        if len(batch) == at_once:
            flush()
    flush()


def _styled(text: str, code: int) -> str:
    wanted = text and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if wanted and os.environ.get("TERM") != "dumb" else text


def _columns(row: Row, widths: list[int], align: str) -> str:
    parts = []
    for text, column, side in zip(row, widths, align, strict=False):
        space = " " * (column - cells(text))
        parts.append(space + text if side == ">" else text + space)
    return "  ".join([*parts, row[-1]]).rstrip()
