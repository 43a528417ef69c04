"""How fast are rows gathered from a level of which only a part finds room at a time?

Over the same chunk files, and with room for as many of them: chunks that share the slots of a mapped region, beside
caches of decoded chunks.  Each contender goes through the requests at its own pace, from the first one on, so that all
see the same share of chunks that are new to them.  Before anybody is timed, its answers are compared, for more requests
than it takes to let go of what the first of them needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np

from tools.bench.bench import Bench
from tools.bench.beside import races
from tools.bench.cases.reads import same
from tools.bench.errors import WrongValuesError
from tools.bench.peers import SparseReader
from tools.bench.results import Line, Table
from tools.bench.sparse import SparseLevel, make_level, requests
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["LIMIT", "NAME", "run"]

NAME = "pool"
LIMIT = "flat memmap of what exists"


def run(bench: Bench, readers: tuple[SparseReader, ...]) -> Table:
    """Race every reader beside the limit, one after another; one that raises ends its own race only."""
    root = bench.folder(NAME)
    try:
        bench.say(f"{NAME}: making the level")
        level = make_level(bench.sizes, root)
        limit = next(reader for reader in readers if reader.about.name == LIMIT)
        rounds: list[Round] = []
        lines: list[Line] = []
        for reader, found in races(bench, NAME, LIMIT, readers, lambda one: _race(bench, level, [limit, one])):
            if isinstance(found, Line):
                lines.append(found)
            else:
                rounds += found
                lines.append(_line(reader, found, bench.sizes.gathered))
        rounds = rounds or _race(bench, level, [limit])
    finally:
        shutil.rmtree(root)
    there = level.rows // level.chunk_rows
    what = (
        f"{bench.sizes.gathered:,} rows of {level.dim} float16, from a window of neighbours that drifts over a level "
        f"of {there:,} chunks of {level.chunk_bytes / 2**20:,.2f} MiB, of which {len(level.chunks):,} exist and "
        f"{level.slots} find room. One chunk of each request is new, and one row in 16 does not exist."
    )
    lines.insert(0, _line(limit, rounds, bench.sizes.gathered))
    return Table(NAME, "Gather from a huge sparse level", what, "ms", LIMIT, tuple(lines), ("rows/µs",))


def _line(reader: SparseReader, rounds: list[Round], gathered: int) -> Line:
    about = reader.about
    seconds = Spread.of(values(rounds, about.name))
    ratio = Spread.of(ratios(rounds, about.name, LIMIT))
    rate = gathered / seconds.median / 1e6
    return Line(about.name, about.kind, "measured", seconds.scaled(1e3), ratio, (rate,), about.note)


def _race(bench: Bench, level: SparseLevel, readers: list[SparseReader]) -> list[Round]:
    opened: list[SparseReader] = []
    try:
        calls = {}
        for reader in readers:
            reader.open(level)
            opened.append(reader)
            calls[reader.about.name] = _checked(bench, level, reader)
        return race(calls, bench.pace())
    finally:
        for reader in opened:
            reader.close()


def _checked(bench: Bench, level: SparseLevel, reader: SparseReader) -> Callable[[int], object]:
    """What answers the next request, of a reader that has answered the first ones rightly."""
    gathered = bench.sizes.gathered
    out = np.empty((gathered, level.dim), np.float16)
    dense, places = level.dense(), level.places()
    asked = requests(level, gathered)
    for _ in range(level.slots + 2):
        rows = next(asked)
        out.fill(np.nan)
        reader.gather(rows, out)
        if not same(out, dense[places[rows // level.chunk_rows] * level.chunk_rows + rows % level.chunk_rows]):
            raise WrongValuesError(f"{reader.about.name} gives other rows than the level has")
    # Drawn beforehand: drawing takes as long as answering.  Behind them the walk begins again, at chunks long let go.
    lap = [next(asked) for _ in range(len(level.chunks))]
    made = [0]

    def call(number: int) -> None:
        reader.gather(lap[made[0] % len(lap)], out)
        made[0] += 1

    return call
