"""Does a reader ever see anything but one whole commit?  Many of them, under a writer that is killed again and again.

    python -m tools.crash.readers write STORE SEED      the writer: rounds, refreshes, compactions, until it is killed
    python -m tools.crash.readers read STORE SEED N     a reader: N snapshots, then one line of JSON
    python -m tools.crash.readers crowd STORE SEED N    N readers at once, of three snapshots each
    python -m tools.crash.readers copy STORE SEED N     N backups, each of which is opened and read

What readers do is in `reading`.  They hold snapshots before the writer begins, and until what a run is for has happened
to each of them.  Writers take turns, some of which begin with a compaction, a refresh or an index that grows, and are
not killed before that is done; a run in which one of these is lacking has failed.  Half of the readers and writers
begin with a map of the index that is too small for it, so that it grows under them; a third of the readers do without
mapping.  With `--rounds images` there are images among what is written, with `--plant` a fault is in the engine.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import cycle
from pathlib import Path

import mctree
from mctree import Tree
from mctree.format.facts import Stamp
from mctree.storage import environment
from tools.crash.disks import fill, on_small_disk, why_no_mounts
from tools.crash.galleries import IMAGES
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.planted_readers import READERS, READERS_OF_IMAGES
from tools.crash.reading import PATIENCE, Fire, Seen, copy, crowd, read
from tools.crash.rounds import TEXTS, Rounds
from tools.crash.victims import MISFIT

__all__ = ["PART", "on_full_disk", "under_fire", "write"]

SMALL_MAP = 1 << 17
CHUNK_BYTES = 1 << 16
REFRESH_EVERY, COMPACT_EVERY, REBUILD_EVERY = 5, 40, 17
SNAPSHOTS_A_BACKUP = 50
TURNS = ("grow", "compact", "refresh", "", "")
"""What the writer begins with, turn by turn; it is not killed before that is done."""
_STAMPS = 64
_BROKEN = 3
_KINDS = {rounds.name: rounds for rounds in (TEXTS, IMAGES)}
_PLANTS = {planted.plant.__name__: planted.plant for planted in (*READERS, *READERS_OF_IMAGES)}


def write(path: str, seed: int, rounds: Rounds = TEXTS, first: str = "") -> None:
    """Write rounds for ever; the store is at the last whole one whenever this is killed.

    Args:
        path: the store.
        seed: of what is random.
        rounds: what is written.
        first: what it begins with, one of `TURNS`.
    """
    rng = random.Random(seed)
    with mctree.open(path, encoders=rounds.encoders) as tree:
        if first:
            _FIRST[first](tree, rounds)
            print(first, flush=True)
        while True:
            rounds.write(tree, gists=rng.random() < 0.5)
            print("a round", flush=True)
            number = rng.random()
            if number < 1 / REFRESH_EVERY:
                tree.refresh_gists()
            if number < 1 / REBUILD_EVERY:
                rounds.build(tree)
            if number < 1 / COMPACT_EVERY:
                tree.compact()


def _compact(tree: Tree, rounds: Rounds) -> None:
    rounds.write(tree, gists=True)
    tree.compact()


def _refresh(tree: Tree, rounds: Rounds) -> None:
    rounds.write(tree, gists=True)
    while not tree.refresh_gists():  # few blocks have no gist above them that could be stale
        rounds.write(tree, gists=True)


def _grow(tree: Tree, rounds: Rounds) -> None:
    """Let the index need more pages than it has, and than a small map has, and give most of them back to it."""
    names = [b"%d" % number for number in range(_STAMPS)]
    size = (tree.store.environment.size() + 2 * SMALL_MAP) // _STAMPS
    with closing(tree.writer()) as writer:
        for stamp in (Stamp(0, 0, 0, 0, 0, bytes(size)), None):
            for name in names:
                writer.stamp(name, stamp)
            writer.keep_stamps()
    rounds.write(tree, gists=True)


_FIRST: dict[str, Callable[[Tree, Rounds], None]] = {"compact": _compact, "refresh": _refresh, "grow": _grow}


class _Process:
    """One that plays a role.

    Args:
        command: as on a command line.
    """

    def __init__(self, command: list[str]) -> None:
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # as long as this object lives
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.crash.readers", *command],
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    @property
    def broken(self) -> bool:
        """Whether it ended, and not well."""
        return bool(self._process.poll())

    def lines(self) -> Iterable[str]:
        """What it tells, line by line, as it does."""
        assert self._process.stdout is not None
        return self._process.stdout

    def wait_for(self, line: str) -> None:
        """Read until it tells something, or ends."""
        for told in self.lines():
            if told.strip() == line:
                break

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._close()

    def seen(self) -> Seen:
        """What it has seen, once it ends."""
        *_, told = ["", *self.lines()]
        status = self._process.wait()
        if status in (0, _BROKEN) and told.startswith("{"):
            seen = Seen(**json.loads(told))
        else:
            seen = Seen(failures=[f"a reader ended with {self.how()}"])
        self._close()
        return seen

    def how(self) -> str:
        """How it ended, in words."""
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read().strip()
        misfit = f" ({MISFIT})" if said.rpartition("\n")[2].startswith(_MISFITS) else ""
        return f"{signal.Signals(-status).name if status < 0 else status}: {said[-300:]}{misfit}"

    def _close(self) -> None:
        self._process.communicate()
        self._said.close()


_MISFITS = ("TypeError", "AttributeError", "NameError")


def under_fire(
    folder: Path,
    *,
    readers: int,
    snapshots: int,
    kills: int = 10,
    seed: int = 0,
    rounds: Rounds = TEXTS,
    plant: str = "",
) -> Seen:
    """Let many readers read while a writer writes and is killed.

    Args:
        folder: where to make the store.
        readers: reader processes.
        snapshots: how many each of them takes at least; it goes on, and holds some, until all has happened to it.
        kills: how often the writer is killed at least under each of them.
        seed: of all that is random.
        rounds: what is written.
        plant: the name of a fault in the engine of all that read and write.

    Returns:
        What they saw; a store that does not verify at the end is a failure too, and so is a run in which something
        never happened that it is for.  It ends as soon as anything has failed.
    """
    path, rng, seen = str(folder / f"{rounds.name}.mctree"), random.Random(seed), Seen()
    noted = Path(f"{path}.kills")
    noted.touch()
    with mctree.create(path, chunk_bytes=CHUNK_BYTES, keep=4, encoders=rounds.encoders) as tree:
        rounds.begin(tree)
    start = partial(_start, rounds, plant)
    reading = [
        start("read", path, seed + 1 + n, snapshots, kills, small=n % 2 == 0, portable=n % 3 == 2)
        for n in range(readers)
    ]
    for reader in reading:
        reader.wait_for("holds")
    workers = [*reading, start("copy", path, seed, max(1, snapshots // SNAPSHOTS_A_BACKUP))]
    turns = cycle(TURNS)
    first = next(turns)
    writer = start("write", path, rng.randrange(1 << 30), small=True, first=first)
    try:
        deadline = time.monotonic() + 2 * PATIENCE + snapshots
        while not all(worker.ended for worker in workers):
            if first or rng.random() < 0.9:
                writer.wait_for(first or "a round")  # one that never gets so far is killed while it starts, each time
            time.sleep(rng.uniform(0.0, 0.5))
            if writer.ended:
                seen.failures.append(f"the writer ended: {writer.how()}")
            if time.monotonic() > deadline:
                seen.failures.append("a reader hangs")
            if seen.failures or any(worker.broken for worker in workers):
                break
            held = not all(reader.ended for reader in reading)
            writer.kill()
            seen.kills += held
            with noted.open("ab") as notes:
                notes.write(b".")
            first = next(turns)
            writer = start("write", path, rng.randrange(1 << 30), small=rng.random() < 0.5, first=first)
    finally:
        writer.kill()
        for worker in workers:
            if worker.ended:
                seen.add(worker.seen())
            else:
                worker.kill()  # something has failed, of which somebody else tells
    if seen.failures:
        return seen
    with mctree.open(path, encoders=rounds.encoders) as tree:
        seen.failures += [str(problem) for problem in tree.verify()]
        with tree.snapshot() as snapshot:
            seen.rounds = rounds.look(snapshot).round
    if lacking := seen.lacking():
        seen.failures.append(f"never while readers held snapshots, in the whole run: {', '.join(lacking)}")
    return seen


def _start(
    rounds: Rounds,
    plant: str,
    role: str,
    path: str,
    *numbers: int,
    small: bool = False,
    portable: bool = False,
    first: str = "",
) -> _Process:
    flags = ["--small-map"] * small + ["--portable"] * portable + ["--rounds", rounds.name]
    flags += ["--first", first] * bool(first) + ["--plant", plant] * bool(plant)
    return _Process([role, path, *map(str, numbers), *flags])


def on_full_disk(folder: Path, *, readers: int) -> list[str]:
    """Let many readers open a store on a disk without room, each for a few snapshots; what went wrong."""
    return on_small_disk(folder, partial(_crowd_on_full_disk, readers=readers), patience=int(PATIENCE))


def _crowd_on_full_disk(disk: Path, readers: int) -> list[str]:
    path = str(disk / "rounds.mctree")
    with mctree.create(path, chunk_bytes=CHUNK_BYTES, encoders=TEXTS.encoders) as tree:
        TEXTS.begin(tree)
        TEXTS.write(tree, gists=True)
    fill(disk)
    return crowd(path, 0, readers).failures


_UNDER_FIRE = "snapshots taken and read whole, under a writer that refreshes, compacts and is killed"
_FIRES = {TEXTS: _UNDER_FIRE, IMAGES: f"{_UNDER_FIRE}, with images"}
"""Rows, by what is written."""
_SIZES: dict[tuple[Scale, str], tuple[int, int, int]] = {
    ("quick", "texts"): (4, 125, 10),
    ("quick", "images"): (3, 20, 4),
    ("long", "texts"): (8, 12_500, 10),
    ("long", "images"): (4, 1_000, 10),
}
"""Readers, snapshots that each takes, and kills at least."""


def _run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    rows = []
    for rounds, what in _FIRES.items():
        fire = Row(what)
        if wants(what):
            readers, snapshots, kills = _SIZES[scale, rounds.name]
            say(f"{readers} readers of {snapshots} snapshots each, under a writer of {rounds.name} that is killed")
            with timed(fire):
                seen = under_fire(scratch, readers=readers, snapshots=snapshots, kills=kills, rounds=rounds)
            fire.points, fire.failures = seen.snapshots, seen.failures
            fire.notes = (
                f"{readers} readers; {seen.kills} kills under held snapshots, {seen.rounds} rounds; read again while "
                f"held {seen.again} times, in {seen.forked} forked and {seen.spawned} spawned processes; held through "
                f"{seen.compactions} compactions, {seen.refreshes} refreshes, {seen.growths} growths of a map and "
                f"{seen.backups} backups; verified {seen.verified} times"
            )
        rows.append(fire)
    full = Row("readers that open a store on a full disk")
    if wants(full.what) and not (why := why_no_mounts()):
        say("100 readers on a full disk")
        with timed(full):
            full.failures = on_full_disk(scratch, readers=100)
        full.points = 100
    elif wants(full.what):
        full.notes = f"not tried: {why}"
    return Result([row for row in (*rows, full) if wants(row.what)])


PART = Part("readers", "a reader never sees anything but one whole commit", _run)


def main() -> int:
    """Run one role, as described above."""
    parser = argparse.ArgumentParser(description="Read a store under a writer that is killed.")
    roles = parser.add_subparsers(dest="role", required=True)
    for role in ("write", "read", "crowd", "copy"):
        options = roles.add_parser(role)
        options.add_argument("store")
        options.add_argument("seed", type=int)
        options.add_argument("--small-map", action="store_true", help="begin with a map that is too small")
        options.add_argument("--portable", action="store_true", help="do not map chunks")
        options.add_argument("--rounds", choices=_KINDS, default=TEXTS.name, help="what is written")
        options.add_argument("--plant", choices=_PLANTS, help="a fault to put into the engine")
        if role == "write":
            options.add_argument("--first", choices=_FIRST, default="", help="what to begin with")
        else:
            options.add_argument("count", type=int)
        if role == "read":
            options.add_argument(
                "kills",
                type=int,
                nargs="?",
                help="go on until STORE.kills has so many bytes, and all else has happened",
            )
    given = parser.parse_args()
    if given.small_map:
        environment._MAP_BYTES = environment._SMALLEST_MAP = SMALL_MAP
    if given.plant:
        _PLANTS[given.plant]()
    rounds = _KINDS[given.rounds]
    if given.role == "write":
        write(given.store, given.seed, rounds, given.first)
    if given.role == "crowd":
        seen = crowd(given.store, given.seed, given.count)
    elif given.role == "copy":
        seen = copy(given.store, given.count, rounds)
    else:
        fire = None if given.kills is None else Fire(f"{given.store}.kills", given.kills, given.small_map)
        seen = read(given.store, given.seed, given.count, portable=given.portable, rounds=rounds, fire=fire)
    print(json.dumps(asdict(seen)))
    return _BROKEN if seen.failures else 0


if __name__ == "__main__":
    sys.exit(main())
