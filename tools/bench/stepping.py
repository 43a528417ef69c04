"""How are steps of a working context timed, ours and the plain way?  By turns, over one store, by the same scores."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.focus import Allocator, Entries, Nodes, SnapshotGround, WorkingContext
from mctree.geometry import TEXT, Cut
from tools.bench.errors import WrongValuesError
from tools.bench.ours import NAME as OURS
from tools.bench.plain import NAME as PLAIN
from tools.bench.plain import PlainContext
from tools.bench.sizes import Sizes

__all__ = ["measure", "scores"]

_EDITS = 4
_AGREED = 12
_TURNS, _STEPS = 5, 30
_REGION = 1024
_SPARE = 100
"""Room in the budget: for some expands, so that others have to be paid for."""


def measure(sizes: Sizes, folder: Path) -> dict[str, float]:
    """Median seconds of a step, and of building the arrays, of each.

    Raises:
        WrongValuesError: the two ways do not arrive at the same entries, or too few steps made all the edits they may.
    """
    with mctree.open(folder / "store", writable=False) as tree, tree.snapshot() as snapshot:
        ground = SnapshotGround(snapshot)
        cut, budget = _begun(ground, sizes.entries)
        ours, plain = _both(ground, cut, budget)
        for step in range(_AGREED):
            wanted = scores(ours.entries, step)
            made = ours.step(wanted).edits, plain.step(wanted.tolist())
            there = list(zip(ours.entries.level.tolist(), ours.entries.index.tolist(), strict=True))
            if made[0] != made[1] or there != [(one.level, one.index) for one in plain.entries]:
                raise WrongValuesError(f"step {step} makes {made} edits: {len(there)} and {len(plain.entries)} entries")
        found: dict[str, list[float]] = {f"{who}/{what}": [] for who in (OURS, PLAIN) for what in ("step", "build")}
        for turn in range(_TURNS):
            # By turns of many steps each, so that both find their own data in the processor's caches, and memory that
            # they have used before; the first of a turn, which does not, is not counted.  Each turn begins with the
            # same entries.
            ours, plain = _both(ground, cut, budget)
            given: list[NDArray[np.float64]] = []
            edits: list[int] = []
            for step in range(_STEPS):
                given.append(scores(ours.entries, turn * _STEPS + step))
                began = time.perf_counter()
                edits.append(ours.step(given[-1]).edits)
                took = time.perf_counter() - began
                if step and edits[-1] == _EDITS:
                    found[f"{OURS}/step"].append(took)
            for step, wanted in enumerate([one.tolist() for one in given]):
                began = time.perf_counter()
                plain.step(wanted)
                took = time.perf_counter() - began
                if step and edits[step] == _EDITS:
                    found[f"{PLAIN}/step"].append(took)
        if len(found[f"{OURS}/step"]) < _TURNS * _STEPS // 4:
            raise WrongValuesError(f"only {len(found[f'{OURS}/step'])} steps made {_EDITS} edits")
        rows = ours.entries.nodes.integers.copy()
        few = list(zip(rows[1].tolist(), rows[2].tolist(), strict=True))
        for _ in range(3):
            began = time.perf_counter()
            Entries.of(ground, Nodes(rows, np.empty((0, rows.shape[1]))))
            between = time.perf_counter()
            PlainContext(ground, few, budget)
            found[f"{OURS}/build"].append(between - began)
            found[f"{PLAIN}/build"].append(time.perf_counter() - between)
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def scores(entries: Entries, step: int) -> NDArray[np.float64]:
    """What is wanted of each entry: alike for siblings, another thing in each step, never quite the same twice."""
    above = entries.start // (TEXT.block * (entries.stop - entries.start))
    family = (above + 31 * entries.level + 7919 * step).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    wish = (family >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return 0.9 * wish + 0.1 * np.sin(entries.start + step)


def _both(ground: SnapshotGround, cut: Cut, budget: int) -> tuple[WorkingContext, PlainContext]:
    """A context of these nodes, ours and the plain one."""
    nodes = list(zip(cut.level.tolist(), cut.index.tolist(), strict=True))
    return WorkingContext.of(ground, cut, budget, Allocator(max_edits=_EDITS)), PlainContext(ground, nodes, budget)


def _begun(ground: SnapshotGround, entries: int) -> tuple[Cut, int]:
    """A cut of so many entries, or up to 31 fewer, and a budget that it nearly fills.

    It is opened down to level 1 in places spread evenly over the timeline, whatever its length: first as many as can be
    reached, each by a way of its own, then more among those that are open down to level 2.
    """
    context = WorkingContext.smallest(ground, 2 * entries, Allocator(max_edits=10**6, cooldown=0))
    regions = ground.end // _REGION
    ways = 1 + max(int(TEXT.top(ground.end)) - 2, 1)
    wanted = np.unique(np.linspace(0, regions - 1, max((entries - len(context)) // (31 * ways), 1)).astype(np.int64))
    while (room := (entries - len(context)) // 31) > 0:
        here = context.entries
        first, stop = here.start // _REGION, -(-here.stop // _REGION)
        over = np.searchsorted(wanted, first) < np.searchsorted(wanted, stop)
        chosen = np.flatnonzero(over & (here.level > 1))[:room]
        if not len(chosen):
            chosen = np.flatnonzero(here.level == 2)
            chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(room, len(chosen))).astype(np.int64))]
        if not len(chosen):
            break
        context.step(np.where(np.isin(np.arange(len(here)), chosen), 1.0, 0.0))
    return Cut(TEXT, context.entries.level.astype(np.uint8), context.entries.index), context.cost + _SPARE
