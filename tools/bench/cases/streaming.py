"""What does a step of a working context cost whose rows come from a store, streamed, and in the plain ways?

Over one store, slowed and as it is, a context of so many entries follows attention that wanders: it drifts around some
places, and one of them jumps now and then.  Streamed, nothing may be missing and no step may stall, or the case fails.
The plain ways are to read synchronously what entered, and to gather everything anew in each step.
"""

from __future__ import annotations

import shutil

from tools.bench.bench import Bench, missing, reason
from tools.bench.child import ask
from tools.bench.ours import KIND, MctreeGrowth
from tools.bench.ours import NAME as OURS
from tools.bench.results import Line, Table
from tools.bench.timing import Spread

__all__ = ["NAME", "run"]

NAME = "streaming"
_PLAIN = "plain"
_WAYS = {OURS: KIND, f"{OURS}, expanding at once": KIND, "what entered, read synchronously": _PLAIN,
         "everything, gathered anew": _PLAIN}  # fmt: skip
_TABLES = {
    "slow": (NAME, "slow store", "; the store is slowed to 1 ms for up to 32 stretches of rows, and 1 GB/s"),
    "far": (f"{NAME}/far", "store far away", "; the store is slowed to 10 ms for up to 32 stretches, and 250 MB/s"),
    "resident": (
        f"{NAME}/resident",
        "store that is all in memory",
        ", all in memory: there is nothing to be hidden",
    ),
}
_HEADS = {
    "cpu": "of it computing, ms",
    "meanwhile": "computing meanwhile, ms",
    "waited": "waiting for rows, ms",
    "p99": "99th percentile, ms",
    "kib": "KiB a step",
    "hit_rate": "hit rate",
    "fallbacks": "stood in for",
    "stalls": "stalls",
    "edits": "edits a step",
    "entries": "entries",
}


def run(bench: Bench) -> tuple[Table, ...]:
    """Make the store, and let all take their steps in a process of their own."""
    about = MctreeGrowth(bench.sizes).about
    if not bench.wants(about):
        return ()
    if why := about.absent:
        return tuple(_table(bench, store, (missing(about, why),)) for store in _TABLES)
    root, sizes = bench.folder(NAME), bench.sizes.as_dict()
    try:
        bench.say(f"{NAME}: making {bench.sizes.streamed:,} positions with gists")
        ask({"task": "fill", "sizes": sizes, "folder": str(root)})
        bench.say(f"{NAME}: {bench.sizes.steps:,} steps, {len(_WAYS)} ways")
        found = ask({"task": "stream", "sizes": sizes, "folder": str(root)})
    except Exception as error:
        failed = Line(OURS, KIND, "failed", note=reason(error, bench.scratch))
        return tuple(_table(bench, store, (failed,)) for store in _TABLES)
    finally:
        shutil.rmtree(root)
    return tuple(_table(bench, store, _lines(found, store)) for store in _TABLES)


def _lines(found: dict[str, float], store: str) -> tuple[Line, ...]:
    def stretches(name: str) -> list[float]:
        prefix = f"{store}/{name}/ms/"
        return [found[f"{prefix}{i}"] for i in range(sum(key.startswith(prefix) for key in found))]

    lines = []
    for name, kind in _WAYS.items():
        each = stretches(name)
        ratio = Spread.of([one / mine for one, mine in zip(each, stretches(OURS), strict=True)])
        extra = tuple(found[f"{store}/{name}/{key}"] for key in _HEADS)
        lines.append(Line(name, kind, "measured", Spread.of(each), ratio, extra))
    return tuple(lines)


def _table(bench: Bench, store: str, lines: tuple[Line, ...]) -> Table:
    name, kind, slowed = _TABLES[store]
    what = (
        f"{bench.sizes.steps:,} steps of up to 4 edits on a context of about {bench.sizes.entries:,} entries over "
        f"{bench.sizes.streamed:,} positions{slowed}. A step is counted until all vectors are in order; between two, "
        "the model is busy for 5 ms, in which what comes next may be asked for and read."
    )
    return Table(name, f"A working context streamed from a {kind}", what, "ms", OURS, lines, tuple(_HEADS.values()))
