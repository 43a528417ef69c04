"""What is one run?  The cases that were asked for, in order, and what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.bench import contenders, reading
from tools.bench.bench import Bench
from tools.bench.cases import (
    append,
    device,
    growth,
    ingest,
    opening,
    placement,
    pool,
    pyramid,
    refocus,
    streaming,
    tiles,
    training,
    vast,
)
from tools.bench.errors import CallError
from tools.bench.machine import describe
from tools.bench.results import Report, Table
from tools.bench.sizes import Sizes
from tools.bench.targets import verdicts

__all__ = ["NAMES", "run"]

NAMES = (
    *(case.name for case in reading.CASES),
    opening.NAME,
    placement.NAME,
    append.NAME,
    ingest.NAME,
    growth.NAME,
    refocus.NAME,
    streaming.NAME,
    device.NAME,
    pyramid.NAME,
    vast.NAME,
    tiles.NAME,
    pool.NAME,
    training.NAME,
)
"""The cases, in the order in which they run."""


def run(
    sizes: Sizes,
    scratch: Path,
    say: Callable[[str], None],
    only: Sequence[str] = (),
    peers: Sequence[str] = (),
) -> Report:
    """Run cases and hold what they found against the targets.

    Args:
        sizes: how much of everything.
        scratch: an empty folder with room for it.
        say: takes a line of progress at a time.
        only: names of cases; none means all.
        peers: parts of names of contenders; none means all. Limits always take part.

    Returns:
        The report.

    Raises:
        CallError: there is no such case, or no such contender.
    """
    for name in only:
        if name not in NAMES:
            raise CallError(f"there is no case {name!r}: choose among {', '.join(NAMES)}")
    names = {
        one.about.name.lower()
        for some in (
            contenders.stores(sizes),
            contenders.appenders(sizes),
            contenders.ingesters(sizes),
            contenders.growers(sizes),
            contenders.pyramid_makers(sizes),
            contenders.tile_stores(sizes),
            contenders.sparse_readers(sizes),
            contenders.loops(sizes),
        )
        for one in some
    }
    for part in peers:
        if not any(part.lower() in name for name in names):
            raise CallError(f"there is no contender {part!r}: choose among {', '.join(sorted(names))}")
    wanted = set(only or NAMES)
    bench = Bench(sizes, scratch, say, tuple(peers))
    began = time.monotonic()
    tables: list[Table] = []
    reads = [case.name for case in reading.CASES if case.name in wanted]
    if reads or opening.NAME in wanted:
        tables += reading.run(
            bench, reads, opening.NAME in wanted, contenders.references(sizes), contenders.stores(sizes)
        )
    if placement.NAME in wanted:
        tables.append(placement.run(bench))
    if append.NAME in wanted:
        tables.append(append.run(bench, contenders.appenders(sizes)))
    if ingest.NAME in wanted:
        tables.append(ingest.run(bench, contenders.ingesters(sizes)))
    if growth.NAME in wanted:
        tables += growth.run(bench, contenders.growers(sizes))
    if refocus.NAME in wanted:
        tables += refocus.run(bench)
    if streaming.NAME in wanted:
        tables += streaming.run(bench)
    if device.NAME in wanted:
        tables += device.run(bench)
    if pyramid.NAME in wanted:
        tables += pyramid.run(bench, contenders.pyramid_makers(sizes), contenders.large_pyramid_makers(sizes))
    if vast.NAME in wanted:
        tables += vast.run(bench)
    if tiles.NAME in wanted:
        tables += tiles.run(bench, contenders.tile_stores(sizes))
    if pool.NAME in wanted:
        tables.append(pool.run(bench, contenders.sparse_readers(sizes)))
    if training.NAME in wanted:
        tables.append(training.run(bench, contenders.loops(sizes)))
    return Report(describe(scratch), sizes, tuple(tables), verdicts(tables), time.monotonic() - began)
