"""What is asked of mctree, and does this run show it?

A target is held against the medians of one run.  It is printed, never asserted: times belong to a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.bench.ours import KIND as OUR_KIND
from tools.bench.ours import NAME as OURS
from tools.bench.results import Line, Table, Verdict

__all__ = ["verdicts"]

_ARRAY_STORE = "array store"
_PEER_KINDS = (_ARRAY_STORE, "table store")


@dataclass(frozen=True, slots=True)
class _Target:
    text: str
    table: str
    judge: Callable[[Table], tuple[str, bool] | None]


def verdicts(tables: Sequence[Table]) -> tuple[Verdict, ...]:
    """Hold the results against every target; what was not measured is said to be so."""
    held = {table.name: table for table in tables}
    found = []
    for target in _TARGETS:
        outcome = target.judge(held[target.table]) if target.table in held else None
        words, met = outcome if outcome else ("not measured", None)
        found.append(Verdict(target.text, words, met))
    return tuple(found)


def _measured(table: Table, contender: str) -> Line | None:
    line = table.line(contender)
    return line if line is not None and line.ratio is not None and line.value is not None else None


def _at_most(bound: float, contender: str | None = None) -> Callable[[Table], tuple[str, bool] | None]:
    """Ours beside the limit, or beside another contender."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours, other = _measured(table, OURS), _measured(table, contender or table.limit)
        if ours is None or ours.ratio is None or other is None or other.ratio is None:
            return None
        times = ours.ratio.median / other.ratio.median
        return f"{times:.2f}×", times <= bound

    return judge


def _at_least(contender: str, bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    def judge(table: Table) -> tuple[str, bool] | None:
        ours = _measured(table, contender)
        if ours is None or ours.ratio is None:
            return None
        return f"{ours.ratio.median:.2f}×", ours.ratio.median >= bound

    return judge


def _faster_than_stores(bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """Ours beside the fastest of the array stores, and of the table stores."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours = _measured(table, OURS)
        if ours is None or ours.ratio is None:
            return None
        peers = [
            (line.ratio.median, line.contender)
            for line in table.lines
            if line.kind in _PEER_KINDS and line.ratio is not None
        ]
        if not peers:
            return None
        best, name = min(peers)
        times = best / ours.ratio.median
        return f"{times:.1f}× faster than {name}", times >= bound

    return judge


def _faster_than(contender: str, bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """Ours beside another contender: so many times its rate, or in so many times less time."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours, other = _measured(table, OURS), _measured(table, contender)
        if ours is None or ours.ratio is None or other is None or other.ratio is None:
            return None
        times = ours.ratio.median / other.ratio.median
        times = times if table.more_is_better else 1 / times
        return f"{times:.2f}×", times >= bound

    return judge


def _scales(bound: float, many: str, one: str) -> Callable[[Table], tuple[str, bool] | None]:
    """Two of ours beside each other: so many times less time.

    By their times, not by their ratios to a limit that takes a hundredth of either, and varies by more than they do.
    """

    def judge(table: Table) -> tuple[str, bool] | None:
        fast, slow = _measured(table, many), _measured(table, one)
        if fast is None or fast.value is None or slow is None or slow.value is None:
            return None
        times = slow.value.median / fast.value.median
        return f"{times:.2f}×", times >= bound

    return judge


def _faster_than_all() -> Callable[[Table], tuple[str, bool] | None]:
    """Ours beside everybody but the limit and ourselves."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours = _measured(table, OURS)
        if ours is None or ours.ratio is None:
            return None
        others = [
            (line.ratio.median, line.contender)
            for line in table.lines
            if line.kind != OUR_KIND and line.contender != table.limit and line.ratio is not None
        ]
        if not others:
            return None
        best, name = min(others)
        times = best / ours.ratio.median
        return f"{times:.1f}× faster than {name}", times > 1

    return judge


def _independent(bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    def judge(table: Table) -> tuple[str, bool] | None:
        lines = [line for line in table.lines if line.ratio is not None]
        if len(lines) < 2 or lines[-1].ratio is None:
            return None
        ratio = lines[-1].ratio.median
        return f"{ratio:.2f}× ({lines[-1].contender})", ratio <= bound

    return judge


def _as_large(head: str, bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """A further column, whatever the size: the largest number beside that of the limit, which is the first line."""

    def judge(table: Table) -> tuple[str, bool] | None:
        if head not in table.extra_heads:
            return None
        column = table.extra_heads.index(head)
        found = [(line.extra[column], line.contender) for line in table.lines if column < len(line.extra)]
        if len(found) < 2:
            return None
        most, contender = max(found)
        ratio = most / found[0][0]
        return f"{ratio:.2f}× ({contender})", ratio <= bound

    return judge


def _below_ms(bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """Ours, whatever the size, in the table's own unit."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours = [line.value.median for line in table.lines if line.kind == OUR_KIND and line.value is not None]
        return (f"{max(ours):.2f} ms", max(ours) < bound) if ours else None

    return judge


def _faster_than_plain(bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """The slowest of ours beside the fastest of the others."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours = [line.ratio.median for line in table.lines if line.kind == OUR_KIND and line.ratio is not None]
        others = [line.ratio.median for line in table.lines if line.kind != OUR_KIND and line.ratio is not None]
        if not ours or not others:
            return None
        times = min(others) / max(ours)
        return f"{times:.1f}× faster", times > bound

    return judge


def _faster_on_each(bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """Each of ours beside the other way over the same store, by what follows the comma in their names: the least."""

    def judge(table: Table) -> tuple[str, bool] | None:
        medians: dict[bool, dict[str, float]] = {True: {}, False: {}}
        for line in table.lines:
            if line.value is not None:
                medians[line.kind == OUR_KIND][line.contender.partition(", ")[2]] = line.value.median
        ours, others = medians[True], medians[False]
        times = min((others[store] / ours[store] for store in ours.keys() & others.keys()), default=None)
        return None if times is None else (f"{times:.1f}× faster", times > bound)

    return judge


def _independent_of_tree(bound: float) -> Callable[[Table], tuple[str, bool] | None]:
    """The largest of ours beside the smallest, which is the limit."""

    def judge(table: Table) -> tuple[str, bool] | None:
        ours = [line.ratio.median for line in table.lines if line.kind == OUR_KIND and line.ratio is not None]
        return (f"{ours[-1]:.2f}×", ours[-1] <= bound) if len(ours) > 1 else None

    return judge


_MEMORY = _as_large("MiB at the peak", 1.5)
_TARGETS = (
    _Target("Random gather within 1.1× of one flat memmap, over placements", "placement", _at_most(1.1)),
    _Target(
        "Random gather at least 8× faster than the best configuration of every array or table store",
        "gather",
        _faster_than_stores(8.0),
    ),
    _Target("Random windows within 1.15× of a Megatron-style memmap", "windows", _at_most(1.15)),
    _Target("A training loop's windows within 1.1× of a bare memmap", "training", _at_most(1.1)),
    _Target("A training loop's windows faster than from any other library", "training", _faster_than_all()),
    _Target("A durable append within 1.5× of one preallocated file and LMDB by hand", "append", _at_most(1.5)),
    _Target(
        "A durable append within 1.5× of one growing file and LMDB by hand",
        "append",
        _at_most(1.5, "by hand: growing file + LMDB"),
    ),
    _Target(
        "Ingest without gists at 0.85× of the tokenizer alone, or more",
        "ingest",
        _at_least(f"{OURS} without gists", 0.85),
    ),
    _Target("Ingest with gists at 0.7× of the tokenizer alone, or more", "ingest", _at_least(OURS, 0.7)),
    _Target("Ingest on two cores at 1.6× of one core, or more", "ingest", _faster_than(f"{OURS}, one core", 1.6)),
    _Target("Opening independent of size, within 2×", "growth/open", _independent(2.0)),
    _Target("Finding a node independent of size, within 2×", "growth/find", _independent(2.0)),
    _Target("A refocus step of 4 edits on 8,192 entries in under 1 ms", "refocus/step", _below_ms(1.0)),
    _Target("A refocus step over 10 times faster than over Python objects", "refocus/step", _faster_on_each(10.0)),
    _Target("A refocus step independent of the tree's size, within 1.5×", "refocus/step", _independent_of_tree(1.5)),
    _Target("A streamed step faster than any plain one, from a slow store", "streaming", _faster_than_plain(1.0)),
    _Target("A streamed step twice as fast as any plain one, from far away", "streaming/far", _faster_than_plain(2.0)),
    _Target(
        "Rows to a GPU at 0.8× of its pinned peak or more, from buffers of 1 MiB",
        "device",
        _at_least(f"{OURS}, buffers of 1,024 KiB", 0.8),
    ),
    _Target("Gathers through a pool of slots faster than from any cache of chunks", "pool", _faster_than_all()),
    _Target("The smallest cover independent of size, within 2×", "growth/cover", _independent(2.0)),
    _Target(
        "An image whose pixels are kept, by two processes at 1.6× of one core, or more",
        "pyramid",
        _scales(1.6, f"{OURS}, pixels kept, two processes", f"{OURS}, pixels kept, one core"),
    ),
    _Target(
        "An image too large for its pixels to be kept, by two processes at 1.6× of one core, or more",
        "pyramid/large",
        _scales(1.6, f"{OURS}, two processes", f"{OURS}, one core"),
    ),
    _Target("An image from its pixels up independent of its size, within 1.5×", "vast/pixels", _independent(1.5)),
    _Target("An image coarse levels first independent of its size, within 1.5×", "vast/coarse", _independent(1.5)),
    _Target("Memory for an image from its pixels up independent of its size, within 1.5×", "vast/pixels", _MEMORY),
    _Target("Memory for an image coarse levels first independent of its size, within 1.5×", "vast/coarse", _MEMORY),
)
