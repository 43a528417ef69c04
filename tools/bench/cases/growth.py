"""Do opening, finding and covering depend on how large a store is?

Two stores are made, one many times larger than the other, and looked at in turns, each time from a fresh process.  The
smaller one is the limit: a ratio of one means that size does not matter.
"""

from __future__ import annotations

import shutil

from tools.bench.bench import Bench, missing, reason
from tools.bench.child import ask
from tools.bench.peers import Grower
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, ratios

__all__ = ["NAME", "STEPS", "run"]

NAME = "growth"
STEPS = {
    "open_s": ("growth/open", "Opening, small and large", "A fresh process opens the store."),
    "find_s": ("growth/find", "Finding a node, small and large", "The block of a random position, in an open store."),
    "cover_s": (
        "growth/cover",
        "The smallest cover, small and large",
        "The cut with the fewest entries that stands for everything, in an open store.",
    ),
}


def run(bench: Bench, growers: tuple[Grower, ...]) -> tuple[Table, ...]:
    """Make both stores with every grower, and look at them."""
    small = bench.sizes.grown[0]
    lines: dict[str, list[Line]] = {key: [] for key in STEPS}
    for grower in growers:
        about = grower.about
        if not bench.wants(about):
            continue
        if why := about.absent:
            for found in lines.values():
                found.append(missing(about, why))
            continue
        try:
            answers = _measure(bench, about.name)
        except Exception as error:
            for found in lines.values():
                found.append(Line(about.name, about.kind, "failed", note=reason(error, bench.scratch)))
            continue
        for key, found in lines.items():
            rounds: list[Round] = [
                {_name(about.name, size): one[key] for size, one in answer.items()} for answer in answers
            ]
            for size in bench.sizes.grown:
                name = _name(about.name, size)
                value = Spread.of([seconds[name] for seconds in rounds]).scaled(1e3)
                ratio = Spread.of(ratios(rounds, name, _name(about.name, small)))
                entries = answers[0][size]["entries"]
                found.append(Line(name, about.kind, "measured", value, ratio, (entries,), about.note))
    limit = lines["open_s"][0].contender if lines["open_s"] else ""
    return tuple(
        Table(name, title, what, "ms", limit, tuple(lines[key]), ("entries in the cover",))
        for key, (name, title, what) in STEPS.items()
    )


def _name(grower: str, positions: int) -> str:
    return f"{grower}, {positions:,} positions"


def _measure(bench: Bench, grower: str) -> list[dict[int, dict[str, float]]]:
    """For each round, what was found of each size."""
    root = bench.folder("growth")
    sizes = bench.sizes.as_dict()
    try:
        for size in bench.sizes.grown:
            bench.say(f"growth: {grower}, making {size:,} positions")
            (root / str(size)).mkdir()
            ask({"task": "grow", "grower": grower, "sizes": sizes, "folder": str(root / str(size)), "positions": size})
        found = []
        for turn in range(bench.sizes.processes):
            bench.say(f"growth: {grower}, looking, {turn + 1} of {bench.sizes.processes}")
            order = bench.sizes.grown if turn % 2 == 0 else bench.sizes.grown[::-1]
            found.append(
                {
                    size: ask(
                        {
                            "task": "look",
                            "grower": grower,
                            "sizes": sizes,
                            "folder": str(root / str(size)),
                            "positions": size,
                        }
                    )
                    for size in order
                }
            )
        return found
    finally:
        shutil.rmtree(root)
