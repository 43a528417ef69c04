"""How fast do rows get from pinned buffers to their slots on a GPU, and does that hide behind compute?

The limit is what this machine's bus does at best with large pinned copies.  Without a GPU nothing is measured, and the
report says so.
"""

from __future__ import annotations

from importlib.util import find_spec

from tools.bench.bench import Bench, missing, reason
from tools.bench.copying import LIMIT, SIZES, measure, ours, plain
from tools.bench.ours import KIND
from tools.bench.ours import NAME as OURS
from tools.bench.peers import About
from tools.bench.peers.protocol import library
from tools.bench.results import Line, Table
from tools.bench.timing import Spread, ratios, values

__all__ = ["NAME", "run"]

NAME = "device"
_LIMIT_KIND, _PLAIN = "the limit", "plain"
_BESIDE = {"copies": "copies alone", "compute": "compute alone", "both": "copies beside compute"}


def run(bench: Bench) -> tuple[Table, ...]:
    """Measure on the first GPU, if there is one."""
    kinds = {LIMIT: _LIMIT_KIND} | {
        name: kind for size in SIZES for name, kind in ((plain(size), _PLAIN), (ours(size), KIND))
    }
    if not bench.wants(About(OURS, KIND)):
        return ()
    if why := _absent():
        return (_rates(tuple(missing(About(name, kind), why) for name, kind in kinds.items())),)
    bench.say(f"{NAME}: copies to a GPU")
    try:
        found = measure(bench.sizes)
    except Exception as error:
        return (_rates((Line(OURS, KIND, "failed", note=reason(error, bench.scratch)),)),)
    lines = []
    for name, kind in kinds.items():
        rate = Spread.of([found.bytes / seconds / 1e9 for seconds in values(found.rounds, name)])
        part = Spread.of([1 / ratio for ratio in ratios(found.rounds, name, LIMIT)])
        lines.append(Line(name, kind, "measured", rate, part))
    beside = []
    for key, name in _BESIDE.items():
        took = Spread.of(values(found.compute, key)).scaled(1e3)
        beside.append(Line(name, KIND, "measured", took, Spread.of(ratios(found.compute, key, "compute"))))
    return (
        _rates(tuple(lines)),
        Table(
            f"{NAME}/overlap",
            "Copies beside compute",
            "Copies from the ring, large matrix products, and both at once; what both take beyond the longer of the "
            "two is what does not overlap.",
            "ms",
            _BESIDE["compute"],
            tuple(beside),
        ),
    )


def _absent() -> str | None:
    if find_spec("torch") is None:
        return "not installed: torch"
    return None if library("torch").cuda.is_available() else "there is no GPU here"


def _rates(lines: tuple[Line, ...]) -> Table:
    what = (
        "Rows from buffers of a pinned ring to slots at random in a GPU's memory, until all are there; beside plain "
        "copies of the same sizes, and of 64 MiB, the pinned peak."
    )
    return Table(NAME, "Rows to a GPU", what, "GB/s", LIMIT, lines, more_is_better=True)
