"""How are results kept and read?  In one JSON file that grows part by part, and as a table in a page of the docs.

    {"quick": {PART: {"date", "machine", "rows": […]}, …}, "long": {…}}

The table goes between two markers, and everything else on the page is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.crash.parts import NAMES, Part, Result, Row, Scale

__all__ = ["BEGIN", "END", "Record", "Results", "to_table", "write_into"]

BEGIN = "<!-- table: written by `python -m tools.crash --page`; do not edit -->"
END = "<!-- end of the table -->"

_HEAD = """\
| | suite: points | failures | s | long form: points | failures | s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What one part found.

    Attributes:
        shows: which promise it is about.
        date: when, as YYYY-MM-DD.
        machine: on what.
        rows: what it found.
    """

    shows: str
    date: str
    machine: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class Results:
    """What the parts found, by scale and name."""

    records: dict[tuple[Scale, str], Record] = field(default_factory=dict)

    def add(self, scale: Scale, part: Part, result: Result, date: str, machine: str) -> None:
        """Take a result in, instead of an older one."""
        self.records[scale, part.name] = Record(part.shows, date, machine, tuple(result.rows))

    @classmethod
    def read(cls, path: Path) -> Results:
        """What is in a file; nothing if there is none."""
        if not path.exists():
            return cls()
        found: dict[Scale, dict[str, dict[str, Any]]] = json.loads(path.read_text("utf-8"))
        return cls(
            {
                (scale, name): Record(**{**record, "rows": tuple(Row(**row) for row in record["rows"])})
                for scale, records in found.items()
                for name, record in records.items()
            }
        )

    def write(self, path: Path) -> None:
        """Put it into a file, whole or not at all."""
        shown: dict[str, dict[str, Any]] = {}
        for (scale, name), record in self.records.items():
            shown.setdefault(scale, {})[name] = asdict(record)
        beside = path.with_name(f"{path.name}.new")
        beside.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", "utf-8")
        beside.replace(path)


def to_table(results: Results) -> str:
    """Everything that was found, part by part, and all of it together."""
    lines = [_HEAD]
    for name in NAMES:
        found = {scale: record for (scale, part), record in results.records.items() if part == name}
        if not found:
            continue
        lines.append(f"| **{next(iter(found.values())).shows}** | | | | | | |\n")
        rows = {scale: {row.what: row for row in record.rows} for scale, record in found.items()}
        whats = dict.fromkeys(what for scale in ("quick", "long") for what in rows.get(scale, {}))
        lines += [_line(what, {scale: by_what.get(what) for scale, by_what in rows.items()}) for what in whats]
    totals: dict[Scale, Row] = {}
    for (scale, _), record in results.records.items():
        total = totals.setdefault(scale, Row("all together"))
        for row in record.rows:
            total.points += row.points
            total.failures += row.failures
            total.seconds += row.seconds
    lines.append(_line("**all together**", totals))
    machines = sorted({record.machine for record in results.records.values()})
    dates = sorted({record.date for record in results.records.values()})
    lines.append(
        f"\nRun on {'; '.join(machines)}, {' … '.join(dict.fromkeys((dates[0], dates[-1])))}.\n" if dates else ""
    )
    return "".join(lines)


def _line(what: str, rows: Mapping[Scale, Row | None]) -> str:
    cells = [what.replace("|", "\\|")]
    for scale in ("quick", "long"):
        row = rows.get(scale)
        if row is None:
            cells += ["–", "", ""]
        else:
            failures = f"**{len(row.failures)}**" if row.failures else "0"
            cells += [f"{row.points:,}", failures, f"{row.seconds:,.0f}"]
    return f"| {' | '.join(cells)} |\n"


def write_into(page: Path, table: str) -> None:
    """Put the table between the markers of a page.

    Raises:
        ValueError: the page lacks them.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{after}", "utf-8")
