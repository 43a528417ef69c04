"""What does a step of a working context cost, and building its arrays, beside the plain way over Python objects?

Over the stores of the case of growth, one small and one large: a context of so many entries follows scores that change
with every step, so that each step makes its full number of edits.  The plain way does the same by the same rules with
one object for each entry, and must arrive at the same entries: both are compared, step by step, before anything is
timed.  Building the arrays is finding out, for so many nodes, all that a context says of its entries.
"""

from __future__ import annotations

import shutil

from tools.bench.bench import Bench, missing, reason
from tools.bench.child import ask
from tools.bench.ours import KIND, MctreeGrowth
from tools.bench.ours import NAME as OURS
from tools.bench.plain import NAME as PLAIN
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, ratios

__all__ = ["NAME", "run"]

NAME = "refocus"
STEPS = {
    "step": (
        "refocus/step",
        "A refocus step",
        "{edits} edits on {entries:,} entries, over {small:,} and {large:,} positions.",
    ),
    "build": ("refocus/build", "The arrays of a working context", "All columns of {entries:,} entries, made anew."),
}


def run(bench: Bench) -> tuple[Table, ...]:
    """Make both stores, and take turns in processes of their own."""
    grower = MctreeGrowth(bench.sizes).about
    names = [OURS, PLAIN]
    if not bench.wants(grower):
        return ()
    if why := grower.absent:
        return tuple(_table(bench, key, (missing(grower, why),)) for key in STEPS)
    try:
        answers = _measure(bench)
    except Exception as error:
        line = Line(OURS, KIND, "failed", note=reason(error, bench.scratch))
        return tuple(_table(bench, key, (line,)) for key in STEPS)
    tables = []
    limit = _name(OURS, bench.sizes.grown[0])
    for key in STEPS:
        rounds: list[Round] = [
            {_name(who, size): one[f"{who}/{key}"] for size, one in answer.items() for who in names}
            for answer in answers
        ]
        lines = []
        for size in bench.sizes.grown:
            for who in names:
                name = _name(who, size)
                value = Spread.of([seconds[name] for seconds in rounds]).scaled(1e3)
                kind = KIND if who == OURS else "Python objects"
                lines.append(Line(name, kind, "measured", value, Spread.of(ratios(rounds, name, limit))))
        tables.append(_table(bench, key, tuple(lines)))
    return tuple(tables)


def _name(who: str, positions: int) -> str:
    return f"{who}, {positions:,} positions"


def _table(bench: Bench, key: str, lines: tuple[Line, ...]) -> Table:
    name, title, what = STEPS[key]
    small, large = bench.sizes.grown
    said = what.format(edits=4, entries=bench.sizes.entries, small=small, large=large)
    return Table(name, title, said, "ms", _name(OURS, small), lines)


def _measure(bench: Bench) -> list[dict[int, dict[str, float]]]:
    root = bench.folder(NAME)
    sizes = bench.sizes.as_dict()
    try:
        for size in bench.sizes.grown:
            bench.say(f"{NAME}: making {size:,} positions")
            (root / str(size)).mkdir()
            ask({"task": "grow", "grower": OURS, "sizes": sizes, "folder": str(root / str(size)), "positions": size})
        found = []
        for turn in range(bench.sizes.processes):
            bench.say(f"{NAME}: stepping, {turn + 1} of {bench.sizes.processes}")
            order = bench.sizes.grown if turn % 2 == 0 else bench.sizes.grown[::-1]
            found.append(
                {size: ask({"task": "refocus", "sizes": sizes, "folder": str(root / str(size))}) for size in order}
            )
        return found
    finally:
        shutil.rmtree(root)
