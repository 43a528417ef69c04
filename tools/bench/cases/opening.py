"""How long does it take to open a store and read one row, and how much memory is resident afterwards?

Each measurement has a fresh process.  The import of the library is reported apart, since a process pays for it once.
Memory of its own and pages of mapped files are reported apart as well: the latter belong to the page cache, which all
processes share and the kernel takes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.bench.bench import Bench
from tools.bench.child import ask
from tools.bench.peers import Peer
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, ratios

__all__ = ["LIMIT", "MEMORY", "NAME", "Opened", "measure", "memory_table", "table"]

NAME = "opening"
MEMORY = "opening/memory"
LIMIT = "flat memmap"


@dataclass(frozen=True, slots=True)
class Opened:
    """What fresh processes found of one contender.

    Attributes:
        open: the seconds of the contender and of the limit, round by round.
        answers: the contender's answers, one per process.
    """

    open: tuple[Round, ...]
    answers: tuple[dict[str, float], ...]

    def median(self, key: str) -> float:
        """The middle one of all answers."""
        return float(np.median([answer[key] for answer in self.answers]))


def measure(bench: Bench, peer: Peer, folder: Path, limit: Peer, limit_folder: Path) -> Opened:
    """Open a contender, and the limit in turn with it, each in processes of their own."""
    rounds: list[Round] = []
    answers: list[dict[str, float]] = []
    for _ in range(bench.sizes.processes):
        seconds = {}
        for one, own in ((limit, limit_folder), (peer, folder)):
            if one is peer or peer is not limit:
                answer = ask(
                    {
                        "task": "open",
                        "peer": one.about.name,
                        "sizes": bench.sizes.as_dict(),
                        "folder": str(own),
                        "reads": sorted(one.about.reads),
                    }
                )
                seconds[one.about.name] = answer["open_s"]
                if one is peer:
                    answers.append(answer)
            if peer is limit:
                break
        rounds.append(seconds)
    return Opened(tuple(rounds), tuple(answers))


def line(peer: Peer, opened: Opened) -> Line:
    """The contender's line in the table of times."""
    name = peer.about.name
    value = Spread.of([seconds[name] for seconds in opened.open]).scaled(1e3)
    ratio = Spread.of(ratios(opened.open, name, LIMIT))
    return Line(name, peer.about.kind, "measured", value, ratio, (opened.median("import_s") * 1e3,), peer.about.note)


def memory_line(peer: Peer, opened: Opened, limit: Opened) -> Line:
    """The contender's line in the table of memory."""
    after = Spread.of([answer["anon_work"] for answer in opened.answers])
    ratio = Spread.of([answer["anon_work"] / limit.median("anon_work") for answer in opened.answers])
    extra = (opened.median("anon_open"), opened.median("file_work"))
    return Line(peer.about.name, peer.about.kind, "measured", after, ratio, extra, peer.about.note)


def table(lines: tuple[Line, ...]) -> Table:
    """The table of times."""
    return Table(
        name=NAME,
        title="Opening",
        what="A fresh process opens the store and reads one row (of tokens: one window).",
        unit="ms",
        limit=LIMIT,
        lines=lines,
        extra_heads=("import of its library, ms",),
    )


def memory_table(lines: tuple[Line, ...]) -> Table:
    """The table of memory."""
    return Table(
        name=MEMORY,
        title="Resident memory",
        what=(
            "Memory of the same fresh process, Python and NumPy included, after eight gathers of random gists and "
            "eight batches of windows (fewer where those take more than five seconds)."
        ),
        unit="MiB of its own",
        limit=LIMIT,
        lines=lines,
        extra_heads=("after opening, MiB", "mapped file pages, MiB"),
    )
