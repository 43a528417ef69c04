"""Is a gather as fast as from one flat file, wherever the files happen to lie in memory?

Two copies of one flat file differ by a third and more on some machines: which pages of physical memory the kernel gave
to which file is not the file's doing.  So everything is written anew several times: our store, a flat file, and a
second copy of that file, which shows how much of any difference is chance.  What counts is the median over these
placements.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.bench import Bench, reason
from tools.bench.cases.gather import RandomGather
from tools.bench.data import Data, Plans, make
from tools.bench.errors import WrongValuesError
from tools.bench.ours import Mctree
from tools.bench.peers import About, Peer, Reader
from tools.bench.peers.flat import FlatMemmap, FlatReader
from tools.bench.resident import locked
from tools.bench.results import Line, Table
from tools.bench.sizes import Sizes
from tools.bench.timing import Round, Spread, race, ratios, values

__all__ = ["NAME", "run"]

NAME = "placement"
_COPIED = 1 << 24
_NO_TOKENS = np.empty(0, np.uint32)


class _Copy:
    """A flat file of gists, written anew."""

    def __init__(self, sizes: Sizes, name: str, note: str) -> None:
        self._sizes = sizes
        self.about = About(name, "the limit", note, reads=frozenset({"gather"}))

    def write(self, data: Data, folder: Path) -> None:
        """Copy the gists through this process's memory, as any program would write them."""
        with data.gists_file.open("rb") as given, (folder / "gists").open("wb") as copy:
            shutil.copyfileobj(given, copy, _COPIED)

    def open(self, folder: Path) -> FlatReader:
        """Map the file."""
        gists = np.memmap(folder / "gists", np.float16, mode="r", shape=(self._sizes.rows, self._sizes.dim))
        return FlatReader(np.asarray(gists), _NO_TOKENS)


class _Ours(Mctree):
    """Our store of gists alone."""

    def write(self, data: Data, folder: Path) -> None:
        """Leave the tokens out."""
        self.write_gists(data, folder)


def run(bench: Bench) -> Table:
    """Write, race and delete, as often as there are placements."""
    sizes = bench.sizes
    case = RandomGather()
    limit = FlatMemmap(sizes).about
    peers: tuple[Peer, ...] = (
        _Copy(sizes, limit.name, limit.note),
        _Ours(sizes),
        _Copy(sizes, f"{limit.name}, a second copy", "the same bytes in another file: what chance does"),
    )
    root = bench.folder(NAME)
    (root / "data").mkdir()
    try:
        data, plans = make(sizes, root / "data"), Plans.draw(sizes)
        placements: list[Round] = []
        for number in range(sizes.processes):
            bench.say(f"{NAME}: {number + 1} of {sizes.processes}")
            placements.append(_placement(bench, case, peers, data, plans, root))
        lines = tuple(_line(peer.about, placements, limit.name) for peer in peers)
    except Exception as error:
        lines = tuple(
            Line(peer.about.name, peer.about.kind, "failed", note=reason(error, bench.scratch)) for peer in peers
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return Table(
        name=NAME,
        title="Gather of random gists, files written anew",
        what=(
            f"{sizes.gathered:,} random rows of {sizes.rows:,} × {sizes.dim} float16, as above, but with all files "
            f"written anew {sizes.processes} times; values and ratios are medians over these placements."
        ),
        unit="ms",
        limit=limit.name,
        lines=lines,
    )


def _placement(
    bench: Bench, case: RandomGather, peers: tuple[Peer, ...], data: Data, plans: Plans, root: Path
) -> Round:
    """Seconds of each, as the median over the rounds of one race between files that were just written."""
    folder = root / "files"
    readers: list[Reader] = []
    stack = ExitStack()
    trials = {}
    try:
        for peer in peers:
            place = folder / peer.about.name.replace(" ", "-")
            place.mkdir(parents=True)
            peer.write(data, place)
            os.sync()
            readers.append(reader := peer.open(place))
            stack.enter_context(locked(place))
            _touch(reader, bench.sizes)
            trials[peer.about.name] = trial = case.trial(reader, data, plans, bench.sizes)
            if not trial.right():
                raise WrongValuesError(f"{peer.about.name} gave other values than were stored")
        rounds = race({name: trial.call for name, trial in trials.items()}, bench.pace())
        return {name: float(np.median(values(rounds, name))) for name in trials}
    finally:
        trials.clear()
        for reader in readers:
            reader.close()
        stack.close()
        shutil.rmtree(folder, ignore_errors=True)


def _touch(reader: Reader, sizes: Sizes) -> None:
    """Read everything once, so that nothing is mapped, or comes from the disk, while somebody is timed."""
    buffer: NDArray[np.float16] = np.empty((sizes.scan_rows, sizes.dim), np.float16)
    for _ in reader.scan(buffer):
        pass


def _line(about: About, placements: list[Round], limit: str) -> Line:
    value = Spread.of(values(placements, about.name)).scaled(1e3)
    return Line(
        about.name, about.kind, "measured", value, Spread.of(ratios(placements, about.name, limit)), (), about.note
    )
