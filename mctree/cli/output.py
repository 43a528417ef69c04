"""Where do lines, tables, JSON and raw bytes go?  To standard output, in one form whoever reads it.

Colours are dropped where the output is no terminal; columns are not: what a command prints is the same in a pipe.
JSON is one object per line, in ASCII, with keys in a fixed order.
"""

from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

import click

from mctree.cli.formatting import cells

__all__ = ["binary", "bold", "dim", "draw", "fields", "json_line", "line", "name", "table", "warn", "width"]

Row = Sequence[str]

_SIGNS = "█├└─│…·×–“”"
_IN_ASCII = str.maketrans(_SIGNS, '#|`-|.-x-""')


def line(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def warn(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def json_line(value: Mapping[str, object]) -> None:
    """Print an object as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=True, allow_nan=False))


def binary() -> BinaryIO:
    """Standard output for bytes."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    sys.stdout.flush()
    return sys.stdout.buffer


def width() -> int:
    """Cells of a line of the terminal; 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def draw(text: str) -> None:
    """Print a line of a picture, in ASCII where the terminal has nothing else."""
    try:
        _SIGNS.encode((sys.stdout and sys.stdout.encoding) or "ascii")
    except (UnicodeEncodeError, LookupError):
        text = text.translate(_IN_ASCII)
    click.echo(text)


def bold(text: str) -> str:
    """Text that stands out."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """Text that steps back."""
    return click.style(text, dim=True)


def name(text: str) -> str:
    """The name of a source or a node."""
    return click.style(text, fg="cyan")


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print labels and values, one pair a line, the values below each other; an empty label continues the last."""
    rows = list(pairs)
    column = max((cells(label) for label, _ in rows), default=0) + 2
    for label, value in rows:
        line(f"{dim(label)}{' ' * (column - cells(label))}{value}")


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


def _columns(row: Row, widths: list[int], align: str) -> str:
    parts = []
    for text, column, side in zip(row, widths, align, strict=False):
        space = " " * (column - cells(text))
        parts.append(space + text if side == ">" else text + space)
    return "  ".join([*parts, row[-1]]).rstrip()
