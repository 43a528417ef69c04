"""How do all stores meet the cases of reading, without all of them lying on the disk at once?

The references (the limits, and ours) are written first and stay.  The other stores come one at a time: written,
synced, opened, checked, raced against the references, opened in fresh processes, deleted.  So every ratio is taken
between turns that lie close together, and the scratch folder holds the data once per reference and once more.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tools.bench.bench import Bench, missing, reason
from tools.bench.cases import opening
from tools.bench.cases.gather import RandomGather, RunGather
from tools.bench.cases.reads import ReadCase, Trial
from tools.bench.cases.scan import Scan
from tools.bench.cases.windows import Windows
from tools.bench.data import Data, Plans, make
from tools.bench.errors import ContenderFailed, WrongValuesError
from tools.bench.peers import Peer, Reader
from tools.bench.resident import locked
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["CASES", "run"]

_TOUCH_S = 10.0

CASES: tuple[ReadCase, ...] = (RandomGather(), RunGather(), Windows(), Scan())


@dataclass
class _Entrant:
    """One store of the run: where it lies, how it is read, what was found of it.

    Attributes:
        failures: by case, the line that says why there are no numbers.
        stack: keeps its files in memory.
    """

    peer: Peer
    folder: Path
    reader: Reader | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    failures: dict[str, Line] = field(default_factory=dict)
    opened: opening.Opened | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def name(self) -> str:
        return self.peer.about.name

    def fail(self, cases: Sequence[str], line: Line) -> None:
        """Take the line as the outcome of these cases."""
        for case in cases:
            self.failures.setdefault(case, line)


class _Reading:
    """The cases of reading of one run."""

    def __init__(self, bench: Bench, cases: Sequence[ReadCase], opens: bool) -> None:
        self._bench = bench
        self._cases = cases
        self._opens = opens
        self._rounds: dict[str, list[Round]] = {case.name: [] for case in cases}
        self._root = bench.folder("reading")
        bench.say("making the data")
        (self._root / "data").mkdir()
        self._data: Data = make(bench.sizes, self._root / "data")
        self._plans = Plans.draw(bench.sizes)

    def tables(self, references: Sequence[Peer], stores: Sequence[Peer]) -> tuple[Table, ...]:
        """Meet the references, then the other stores one by one."""
        limits = {case.limit for case in self._cases} | {opening.LIMIT}
        fixed = [self._meet(peer) for peer in references if self._bench.wants(peer.about, tuple(limits))]
        names = {entrant.name for entrant in fixed}
        others = [peer for peer in stores if peer.about.name not in names and self._bench.wants(peer.about)]
        flat = next(entrant for entrant in fixed if entrant.name == opening.LIMIT)
        for entrant in fixed:
            self._open_afresh(entrant, flat)
        met = list(fixed)
        for place, peer in enumerate(others):
            self._bench.say(f"reading: {peer.about.name}, {place + 1} of {len(others)}")
            entrant = self._meet(peer)
            self._race(fixed, entrant, self._cases)
            self._open_afresh(entrant, flat)
            self._leave(entrant)
            met.append(entrant)
        self._race(fixed, None, [case for case in self._cases if not self._rounds[case.name]])
        for entrant in fixed:
            self._leave(entrant)
        found = [self._table(case, met) for case in self._cases]
        if self._opens:
            found += self._opening_tables(met, flat)
        shutil.rmtree(self._root)
        return tuple(found)

    def _meet(self, peer: Peer) -> _Entrant:
        """Write, sync, open and check a store."""
        entrant = _Entrant(peer, self._root / f"store-{peer.about.name.replace(' ', '-').replace('/', '-')}")
        everything = [*(case.name for case in self._cases), opening.NAME]
        if why := peer.about.absent:
            entrant.fail(everything, missing(peer.about, why))
            return entrant
        try:
            entrant.folder.mkdir()
            peer.write(self._data, entrant.folder)
            os.sync()
            entrant.reader = peer.open(entrant.folder)
            entrant.stack.enter_context(locked(entrant.folder))
            self._touch(entrant.reader, peer.about.reads)
        except Exception as error:
            entrant.fail(everything, self._failed(peer, error))
            return entrant
        for case in self._cases:
            if case.name not in peer.about.reads:
                continue
            try:
                trial = case.trial(entrant.reader, self._data, self._plans, self._bench.sizes)
                if not trial.right():
                    raise WrongValuesError("it gave other values than were stored")
                entrant.trials[case.name] = trial
            except Exception as error:
                entrant.fail([case.name], self._failed(peer, error))
        return entrant

    def _touch(self, reader: Reader, reads: frozenset[str]) -> None:
        """Read once whatever will be read, so that nothing comes from the disk, or is mapped, while somebody is timed.

        Stores that take long do not notice what a first touch costs, and are let off after a while.
        """
        sizes = self._bench.sizes
        began = time.monotonic()
        if "scan" in reads:
            for _ in reader.scan(np.empty((sizes.scan_rows, sizes.dim), np.float16)):
                pass
        if "windows" in reads:
            out = np.empty((sizes.windows, sizes.window), np.uint32)
            for starts in self._plans.windows:
                reader.windows(starts, out)
                if time.monotonic() - began > _TOUCH_S:
                    break

    def _race(self, fixed: Sequence[_Entrant], other: _Entrant | None, cases: Sequence[ReadCase]) -> None:
        """Race a store against the references, or these alone; who fails at a case is out of it."""
        for case in cases:
            entrants = [*fixed, other] if other else list(fixed)
            if other and case.name not in other.trials:
                continue
            while calls := {one.name: one.trials[case.name].call for one in entrants if case.name in one.trials}:
                try:
                    self._rounds[case.name] += race(calls, self._bench.pace())
                    break
                except ContenderFailed as failure:
                    failed = next(one for one in entrants if one.name == failure.name)
                    failed.fail([case.name], self._failed(failed.peer, failure.__cause__ or failure))
                    del failed.trials[case.name]

    def _open_afresh(self, entrant: _Entrant, flat: _Entrant) -> None:
        if not self._opens or opening.NAME in entrant.failures:
            return
        try:
            entrant.opened = opening.measure(self._bench, entrant.peer, entrant.folder, flat.peer, flat.folder)
        except Exception as error:
            entrant.fail([opening.NAME], self._failed(entrant.peer, error))

    def _leave(self, entrant: _Entrant) -> None:
        """Close and delete a store."""
        entrant.trials.clear()
        if entrant.reader is not None:
            entrant.reader.close()
            entrant.reader = None
        entrant.stack.close()
        shutil.rmtree(entrant.folder, ignore_errors=True)

    def _failed(self, peer: Peer, error: BaseException) -> Line:
        about = peer.about
        return Line(about.name, about.kind, "failed", note=reason(error, self._bench.scratch))

    def _table(self, case: ReadCase, met: Sequence[_Entrant]) -> Table:
        rounds = self._rounds[case.name]
        lines = []
        for entrant in met:
            about = entrant.peer.about
            times = values(rounds, about.name)
            if case.name in entrant.failures:
                lines.append(entrant.failures[case.name])
            elif times:
                ratio = Spread.of(ratios(rounds, about.name, case.limit))
                value = Spread.of(times).scaled(1e3)
                lines.append(Line(about.name, about.kind, "measured", value, ratio, (), about.note))
        lines.sort(key=lambda line: line.contender != case.limit)
        what = case.what(self._bench.sizes)
        return Table(case.name, case.title, what, "ms", case.limit, tuple(lines))

    def _opening_tables(self, met: Sequence[_Entrant], flat: _Entrant) -> list[Table]:
        times: list[Line] = []
        memory: list[Line] = []
        for entrant in met:
            if opening.NAME in entrant.failures:
                times.append(entrant.failures[opening.NAME])
                memory.append(entrant.failures[opening.NAME])
            elif entrant.opened is not None and flat.opened is not None:
                times.append(opening.line(entrant.peer, entrant.opened))
                memory.append(opening.memory_line(entrant.peer, entrant.opened, flat.opened))
        return [opening.table(tuple(times)), opening.memory_table(tuple(memory))]


def run(
    bench: Bench, names: Sequence[str], opens: bool, references: Sequence[Peer], stores: Sequence[Peer]
) -> tuple[Table, ...]:
    """Run the cases of reading that `names` holds, and opening if `opens`.

    Args:
        bench: the run.
        names: of cases.
        opens: whether fresh processes open the stores as well.
        references: the stores that stay from beginning to end, the limits among them.
        stores: all stores, `references` among them or not.

    Returns:
        A table per case, and two for opening.
    """
    cases = [case for case in CASES if case.name in names]
    return _Reading(bench, cases, opens).tables(references, stores)
