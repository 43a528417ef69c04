"""How is a report read?  As one Markdown page, with the machine and the sizes that the numbers belong to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tools.bench.ours import KIND as OUR_KIND
from tools.bench.results import Line, Report, Table, Verdict

__all__ = ["to_markdown"]

_COMMAND = "python -m tools.bench"
_HEAD = """\
# Benchmarks

Written by `{command}`; do not edit. One run of the {form} form, {seconds} s, over the same data for all.

A value is the median over rounds, with its quartiles in brackets. In a round every contender has a turn; a ratio is to
the limit's turn in the same round, then the median over rounds, so it is more reliable than a quotient of two values.
A turn of several calls begins with calls that are not timed, as whoever has rested finds less at hand. All reads are of
resident data. Every contender's values were compared with what was stored before it was timed.
"""
_NOT_FULL = "**At these sizes the times mean little: this form shows that everything runs and gives right values.**\n"


def to_markdown(report: Report) -> str:
    """The whole page, with a newline at its end."""
    command = _COMMAND if report.sizes.name == "full" else f"{_COMMAND} --{report.sizes.name}"
    parts = [_HEAD.format(command=command, form=report.sizes.name, seconds=f"{report.seconds:,.0f}")]
    if report.sizes.name != "full":
        parts.append(_NOT_FULL)
    parts.append("## Targets\n\n" + _verdicts(report.verdicts))
    parts += [_table(table) for table in report.tables]
    parts.append("## Machine\n\n" + _machine(report))
    parts.append("## Sizes\n\n" + _sizes(report))
    return "\n".join(parts)


def _verdicts(verdicts: tuple[Verdict, ...]) -> str:
    words = {True: "yes", False: "**no**", None: "–"}
    return _rows(("target", "measured", "met"), [(v.target, v.found, words[v.met]) for v in verdicts], "llc")


def _table(table: Table) -> str:
    heads = ("contender", "kind", table.unit, "ratio", *table.extra_heads, "configuration")
    rows = [_line(line, len(table.extra_heads)) for line in table.lines]
    better = " Higher is better." if table.more_is_better else ""
    limit = f" Ratios are to *{_plain(table.limit)}*." if table.limit else ""
    if not rows:
        return f"## {table.title}\n\n{table.what}\n\nNobody took part.\n"
    align = "llrr" + "r" * len(table.extra_heads) + "l"
    return f"## {table.title}\n\n{table.what}{limit}{better}\n\n{_rows(heads, rows, align)}"


def _line(line: Line, extras: int) -> tuple[str, ...]:
    name = f"**{line.contender}**" if line.kind == OUR_KIND else line.contender
    if line.value is None or line.ratio is None:
        return (name, line.kind, line.state, "", *[""] * extras, line.note)
    value = f"{_number(line.value.median)} ({_number(line.value.q1)}–{_number(line.value.q3)})"
    extra = tuple(_number(number) for number in line.extra) + ("",) * (extras - len(line.extra))
    return (name, line.kind, value, f"{_number(line.ratio.median)}×", *extra, line.note)


def _machine(report: Report) -> str:
    machine = report.machine
    rows = [
        ("processor", machine.cpu),
        ("cores", str(machine.cores)),
        ("memory", f"{machine.memory_gib} GiB"),
        ("kernel", machine.kernel),
        ("file system", machine.filesystem),
        ("transparent huge pages", machine.huge_pages),
        ("files locked in memory while they are read", "yes" if machine.locked else "no"),
        ("Python", machine.python),
        *machine.libraries,
    ]
    return _rows(("what", "which"), rows, "ll")


def _sizes(report: Report) -> str:
    rows = [
        (key, " and ".join(f"{one:,}" for one in value) if isinstance(value, tuple) else _size(value))
        for key, value in report.sizes.as_dict().items()
    ]
    return _rows(("size", "value"), rows, "lr")


def _size(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if not math.isfinite(value) or value == 0:
        return str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _rows(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], align: str) -> str:
    marks = {"l": "---", "r": "---:", "c": ":---:"}
    lines = [heads, tuple(marks[one] for one in align), *(tuple(map(_plain, row)) for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _plain(text: str) -> str:
    """Text that cannot break a table."""
    return " ".join(text.replace("|", "\\|").split())
