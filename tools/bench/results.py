"""What does a run find?  Frozen records, and their JSON.

A report holds tables, a table holds lines, and a line is one contender.  A contender that is not installed or that
failed has a line as well, without numbers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from tools.bench.machine import Machine
from tools.bench.sizes import Sizes
from tools.bench.timing import Spread

__all__ = ["Line", "Report", "State", "Table", "Verdict", "to_json"]

State = Literal["measured", "absent", "failed"]


@dataclass(frozen=True, slots=True)
class Line:
    """One contender in one table.

    Attributes:
        contender: its name.
        kind: what sort of store it is.
        state: `measured`; `absent` if its library is not installed; `failed` if it raised.
        value: in the table's unit.
        ratio: to the table's limit, taken round by round.
        extra: further numbers, in the order of the table's further columns.
        note: its configuration, or why it has no numbers.
    """

    contender: str
    kind: str
    state: State
    value: Spread | None = None
    ratio: Spread | None = None
    extra: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One measurement.

    Attributes:
        name: what `--only` calls its case, and after a slash which of several tables it is.
        title: a headline.
        what: what was measured, in a sentence or two.
        unit: of the values.
        limit: the contender that the ratios refer to.
        extra_heads: what the further columns are called.
        lines: the limit first.
        more_is_better: whether a higher value is the better one, as with rates.
    """

    name: str
    title: str
    what: str
    unit: str
    limit: str
    lines: tuple[Line, ...]
    extra_heads: tuple[str, ...] = ()
    more_is_better: bool = False

    def line(self, contender: str) -> Line | None:
        """The line of a contender, if it has one."""
        return next((line for line in self.lines if line.contender == contender), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and whether this run meets it.

    Attributes:
        target: what is asked for.
        found: what was measured, in words.
        met: whether that is enough; `None` where the run did not measure it.
    """

    target: str
    found: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run found."""

    machine: Machine
    sizes: Sizes
    tables: tuple[Table, ...]
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Line, ...]:
        """The contenders that raised."""
        return tuple(line for table in self.tables for line in table.lines if line.state == "failed")


def to_json(report: Report) -> str:
    """The whole report as JSON, indented, with a newline at its end."""
    return json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n"
