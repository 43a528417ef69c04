"""How long does a durable append of a small piece take?

Each contender appends to a store of its own, and returns once the piece would survive a loss of power, as far as its
library offers that.  Afterwards the store is closed and everything that was appended is read back and compared.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np

from tools.bench.bench import Bench
from tools.bench.beside import races
from tools.bench.cases.reads import same
from tools.bench.errors import WrongValuesError
from tools.bench.peers import Appender
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["LIMIT", "NAME", "run"]

NAME = "append"
LIMIT = "by hand: file + LMDB"
_IDS = 1 << 15


def run(bench: Bench, appenders: tuple[Appender, ...]) -> Table:
    """Race every appender beside the limit, one after another; one that raises ends its own race only."""
    s = bench.sizes
    limit = next(appender for appender in appenders if appender.about.name == LIMIT)
    rounds: list[Round] = []
    lines: list[Line] = []
    for appender, found in races(bench, NAME, LIMIT, appenders, lambda one: _race(bench, limit, one)):
        if isinstance(found, Line):
            lines.append(found)
        else:
            rounds += found
            lines.append(_line(appender, found))
    if not rounds:
        rounds = _race(bench, limit, None)
    return Table(
        name=NAME,
        title="Durable append",
        what=f"{s.piece} tokens (uint16, {2 * s.piece} bytes) per append, each durable before the next one begins.",
        unit="ms",
        limit=LIMIT,
        lines=(_line(limit, rounds), *lines),
    )


def _line(appender: Appender, rounds: list[Round]) -> Line:
    about = appender.about
    value = Spread.of(values(rounds, about.name)).scaled(1e3)
    return Line(about.name, about.kind, "measured", value, Spread.of(ratios(rounds, about.name, LIMIT)), (), about.note)


def _race(bench: Bench, limit: Appender, other: Appender | None) -> list[Round]:
    s = bench.sizes
    entrants = [limit] if other is None else [limit, other]
    pieces = np.random.default_rng(0).integers(0, _IDS, (s.append_calls, s.piece), dtype=np.uint16)
    made = dict.fromkeys((appender.about.name for appender in entrants), 0)
    opened: list[Appender] = []

    def call_of(appender: Appender) -> Callable[[int], object]:
        name = appender.about.name

        def call(number: int) -> None:
            appender.append(pieces[made[name]])
            made[name] += 1

        return call

    folder = bench.folder("append")
    try:
        for appender in entrants:
            own = folder / str(len(opened))
            own.mkdir()
            appender.create(own)
            opened.append(appender)
        calls = {appender.about.name: call_of(appender) for appender in entrants}
        rounds = race(calls, bench.pace(max_calls=s.append_calls))
        while opened:
            opened.pop().close()
        for place, appender in enumerate(entrants):
            if not same(appender.read(folder / str(place)), pieces[: made[appender.about.name]].reshape(-1)):
                raise WrongValuesError(f"{appender.about.name} does not give back what was appended")
        return rounds
    finally:
        for appender in opened:
            appender.close()
        shutil.rmtree(folder)
