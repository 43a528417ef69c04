"""What does a step of a working context cost whose rows come from a slow store, streamed, and in the plain ways?

Over one store, a context of so many entries follows attention that wanders: it drifts around some places, and one of
them jumps now and then.  Streamed, nothing may be missing and no step may stall, or the case fails.  The plain ways are
to read synchronously what entered, and to gather everything anew in each step.
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
_HEADS = {
    "cpu": "of it computing, ms",
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
        return (_table(bench, (missing(about, why),)),)
    root, sizes = bench.folder(NAME), bench.sizes.as_dict()
    try:
        bench.say(f"{NAME}: making {bench.sizes.streamed:,} positions with gists")
        ask({"task": "fill", "sizes": sizes, "folder": str(root)})
        bench.say(f"{NAME}: {bench.sizes.steps:,} steps, {len(_WAYS)} ways")
        found = ask({"task": "stream", "sizes": sizes, "folder": str(root)})
    except Exception as error:
        return (_table(bench, (Line(OURS, KIND, "failed", note=reason(error, bench.scratch)),)),)
    finally:
        shutil.rmtree(root)
    stretches = sum(key.startswith(f"{OURS}/ms/") for key in found)
    ours = [found[f"{OURS}/ms/{i}"] for i in range(stretches)]
    lines = []
    for name, kind in _WAYS.items():
        each = [found[f"{name}/ms/{i}"] for i in range(stretches)]
        ratio = Spread.of([one / mine for one, mine in zip(each, ours, strict=True)])
        extra = tuple(found[f"{name}/{key}"] for key in _HEADS)
        lines.append(Line(name, kind, "measured", Spread.of(each), ratio, extra))
    return (_table(bench, tuple(lines)),)


def _table(bench: Bench, lines: tuple[Line, ...]) -> Table:
    what = (
        f"{bench.sizes.steps:,} steps of up to 4 edits on a context of about {bench.sizes.entries:,} entries over "
        f"{bench.sizes.streamed:,} positions; the store is slowed to 1 ms for up to 32 stretches of rows, and 1 GB/s. "
        "A step is counted until all vectors are in order; between two, the model is busy for 5 ms."
    )
    return Table(NAME, "A working context streamed from a slow store", what, "ms", OURS, lines, tuple(_HEADS.values()))
