"""How are results kept and read?  In one JSON file that grows part by part, and as a table in a page of the docs.

    {"quick": {PART: {"shows", "whole", "rows": [{…, "date", "machine", "commit"}, …]}, …}, "long": {…},
     "suite": {…, "date", "machine", "commit"}}

Each row says of which commit it was tried, so that a single one can be tried again and take the place of the older one.
The table goes between two markers, and everything else on the page is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.crash.parts import NAMES, Part, Result, Row, Scale
from tools.crash.suite import Suite

__all__ = ["BEGIN", "END", "Kept", "Record", "Results", "Run", "to_table", "write_into"]

BEGIN = "<!-- table: written by `python -m tools.crash --page`; do not edit -->"
END = "<!-- end of the table -->"

_HEAD = """\
| | suite: points | failures | s | of | long form: points | failures | s | of |
| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Where a row comes from.

    Attributes:
        date: when it was tried, as YYYY-MM-DD.
        machine: on what.
        commit: of which commit of this project, with a `+` behind it if files were changed since; empty if unknown.
    """

    date: str
    machine: str
    commit: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A row, and where it comes from."""

    row: Row
    run: Run


@dataclass(frozen=True, slots=True)
class Record:
    """What one part found.

    Attributes:
        shows: which promise it is about.
        rows: what it found.
    """

    shows: str
    rows: tuple[Kept, ...]


@dataclass(slots=True)
class Results:
    """What the parts found, by scale and name, and what the tests in the suite take."""

    records: dict[tuple[Scale, str], Record] = field(default_factory=dict)
    suite: tuple[Suite, Run] | None = None

    def add(self, scale: Scale, part: Part, result: Result, run: Run) -> None:
        """Take a result in, instead of an older one."""
        self.records[scale, part.name] = Record(part.shows, tuple(Kept(row, run) for row in result.rows))

    def merge(self, scale: Scale, part: Part, result: Result, run: Run) -> None:
        """Take some rows in, each instead of an older one of what it tries, and leave the others."""
        before = self.records.get((scale, part.name), Record(part.shows, ()))
        rows = {kept.row.what: kept for kept in before.rows} | {row.what: Kept(row, run) for row in result.rows}
        self.records[scale, part.name] = Record(part.shows, tuple(rows.values()))

    def tried(self, scale: Scale, part: Part) -> frozenset[str]:
        """What rows of a part are kept, by what they try."""
        kept = self.records.get((scale, part.name))
        return frozenset() if kept is None else frozenset(one.row.what for one in kept.rows)

    @classmethod
    def read(cls, path: Path) -> Results:
        """What is in a file; nothing if there is none."""
        if not path.exists():
            return cls()
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        results = cls()
        if (suite := found.get("suite")) is not None:
            run = _run(suite)
            results.suite = (Suite(**suite), run)
        scales: tuple[Scale, ...] = ("quick", "long")
        for scale in scales:
            for name, record in found.get(scale, {}).items():
                rows = tuple(_kept(row) for row in record["rows"])
                results.records[scale, name] = Record(record["shows"], rows)
        return results

    def write(self, path: Path) -> None:
        """Put it into a file, whole or not at all."""
        shown: dict[str, dict[str, Any]] = {}
        if self.suite is not None:
            shown["suite"] = asdict(self.suite[0]) | asdict(self.suite[1])
        for (scale, name), record in self.records.items():
            rows = [asdict(kept.row) | asdict(kept.run) for kept in record.rows]
            shown.setdefault(scale, {})[name] = {"shows": record.shows, "rows": rows}
        beside = path.with_name(f"{path.name}.new")
        beside.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", "utf-8")
        beside.replace(path)


def _kept(row: dict[str, Any]) -> Kept:
    run = _run(row)
    return Kept(Row(**row), run)


def _run(shown: dict[str, Any]) -> Run:
    """Where something comes from, taken out of what is said of it."""
    return Run(shown.pop("date"), shown.pop("machine"), shown.pop("commit"))


def to_table(results: Results) -> str:
    """Everything that was found, part by part, and all of it together."""
    lines = [_HEAD]
    for name in NAMES:
        found = {scale: record for (scale, part), record in results.records.items() if part == name}
        if not found:
            continue
        lines.append(f"| **{next(iter(found.values())).shows}** | | | | | | | | |\n")
        rows = {scale: {kept.row.what: kept for kept in record.rows} for scale, record in found.items()}
        whats = dict.fromkeys(what for scale in ("quick", "long") for what in rows.get(scale, {}))
        lines += [_line(what, {scale: by_what.get(what) for scale, by_what in rows.items()}) for what in whats]
    totals: dict[Scale, Kept | None] = {}
    for (scale, _), record in results.records.items():
        total = totals.setdefault(scale, Kept(Row("all together"), Run("", "", "")))
        assert total is not None
        for kept in record.rows:
            total.row.points += kept.row.points
            total.row.failures += kept.row.failures
            total.row.seconds += kept.row.seconds
    lines.append(_line("**all together**", totals))
    runs = [kept.run for record in results.records.values() for kept in record.rows]
    machines = sorted({run.machine for run in runs})
    dates = sorted({run.date for run in runs})
    lines.append(
        f"\nRun on {'; '.join(machines)}, {' … '.join(dict.fromkeys((dates[0], dates[-1])))}.\n" if dates else ""
    )
    if results.suite is not None:
        suite, run = results.suite
        lines.append(f"\n{suite} (of {run.commit}, {run.date}).\n")
    return "".join(lines)


def _line(what: str, rows: Mapping[Scale, Kept | None]) -> str:
    cells = [what.replace("|", "\\|")]
    for scale in ("quick", "long"):
        kept = rows.get(scale)
        if kept is None:
            cells += ["–", "", "", ""]
        else:
            row = kept.row
            failures = f"**{len(row.failures)}**" if row.failures else "0"
            cells += [f"{row.points:,}", failures, f"{row.seconds:,.0f}", kept.run.commit]
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
