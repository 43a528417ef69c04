"""Does a reader ever see anything but one whole commit?  Many of them, under a writer that is killed again and again.

    python -m tools.crash.readers write STORE SEED      the writer: rounds, refreshes, compactions, until it is killed
    python -m tools.crash.readers read STORE SEED N     a reader: N snapshots, then one line of JSON
    python -m tools.crash.readers crowd STORE SEED N    N readers at once, of three snapshots each
    python -m tools.crash.readers copy STORE SEED N     N backups, each of which is opened and read

A reader takes snapshots one after another; each must be whole (see `rounds`), and none older than the one before.  It
holds some of them, reads them again later, in forked children and in spawned processes too, and gets the same bytes.
Half of the readers and writers begin with a map of the index that is too small for it, so that it grows under them; a
third of the readers do without mapping.  With `--rounds images` there are images among what is written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import mctree
from mctree import Snapshot
from mctree.storage import environment
from mctree.testing.processes import in_child
from tools.crash.disks import fill, on_small_disk, why_no_mounts
from tools.crash.galleries import IMAGES
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.rounds import TEXTS, Rounds, SeenError, View

__all__ = ["PART", "Seen", "copy", "crowd", "on_full_disk", "read", "under_fire", "write"]

SMALL_MAP = 1 << 17
CHUNK_BYTES = 1 << 16
HELD = 6
REFRESH_EVERY, COMPACT_EVERY, REBUILD_EVERY = 5, 40, 17
FORK_EVERY, REOPEN_EVERY, VERIFY_EVERY = 50, 97, 60
SNAPSHOTS_A_BACKUP = 50
SPAWN_EVERY = 60
_KINDS = {rounds.name: rounds for rounds in (TEXTS, IMAGES)}
PATIENCE = 600.0
"""Seconds without an answer after which a process counts as hanging: far more than any of them needs."""


@dataclass
class Seen:
    """What readers did and what they saw.

    Attributes:
        snapshots: snapshots taken and read whole.
        again: snapshots read again while held.
        verified: times that the store was verified meanwhile.
        forked: forked children that read all that their parent held.
        spawned: spawned processes that were sent a snapshot.
        backups: copies made while somebody wrote, and read whole.
        rounds: how far the writer came.
        kills: how often it was killed.
        failures: what was seen that no commit holds.
    """

    snapshots: int = 0
    again: int = 0
    verified: int = 0
    forked: int = 0
    spawned: int = 0
    backups: int = 0
    rounds: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        """Count another reader's."""
        self.snapshots += other.snapshots
        self.again += other.again
        self.verified += other.verified
        self.forked += other.forked
        self.spawned += other.spawned
        self.backups += other.backups
        self.rounds = max(self.rounds, other.rounds)
        self.failures += other.failures


def write(path: str, seed: int, rounds: Rounds = TEXTS) -> None:
    """Write rounds for ever; the store is at the last whole one whenever this is killed."""
    rng = random.Random(seed)
    with mctree.open(path, encoders=rounds.encoders) as tree:
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


def read(path: str, seed: int, count: int, *, portable: bool = False, rounds: Rounds = TEXTS) -> Seen:
    """Take so many snapshots; stops at the first that is wrong."""
    rng, seen = random.Random(seed), Seen()
    held: list[tuple[Snapshot, View]] = []
    tree = mctree.open(path, writable=False, portable=portable, encoders=rounds.encoders)
    last = View(0, 0, b"")
    try:
        while seen.snapshots < count:
            snapshot = tree.snapshot()
            view = rounds.look(snapshot)
            seen.snapshots += 1
            if (view.commit, view.round) < (last.commit, last.round) or view.round < last.round:
                raise SeenError(f"round {view.round} of commit {view.commit} came after round {last.round}")
            if view.commit == last.commit and view != last:
                raise SeenError(f"commit {view.commit} was read twice, with different bytes")
            last = view
            held.append((snapshot, view))
            if len(held) > HELD:
                held.pop(rng.randrange(len(held)))[0].close()
            if rng.random() < 0.3:
                _again(rounds, *rng.choice(held))
                seen.again += 1
            if rng.random() < 1 / FORK_EVERY:
                if in_child(lambda: _all_again(rounds, held)):
                    raise SeenError("a forked child read other bytes, or failed")
                seen.forked += 1
            if seen.snapshots % SPAWN_EVERY == 0:
                _spawned(rounds, *rng.choice(held))
                seen.spawned += 1
            if rng.random() < 1 / VERIFY_EVERY:
                for problem in tree.verify():
                    raise SeenError(f"an alarm while somebody writes: {problem.where} {problem.what}")
                seen.verified += 1
            if rng.random() < 1 / REOPEN_EVERY:
                tree = mctree.open(path, writable=False, portable=portable, encoders=rounds.encoders)
        _all_again(rounds, held)
        seen.again += len(held)
    except Exception as error:  # whatever it is, it is what a reader must not meet
        seen.failures.append(f"{type(error).__name__}: {error}")
    seen.rounds = last.round
    return seen


def copy(path: str, count: int, rounds: Rounds = TEXTS) -> Seen:
    """Make so many backups, each of which has to hold a whole commit, none older than the one before."""
    seen, target = Seen(), f"{path}.copy"
    try:
        with mctree.open(path, writable=False, encoders=rounds.encoders) as tree:
            while seen.backups < count:
                commit = tree.backup(target)
                with mctree.open(target, encoders=rounds.encoders) as copied, copied.snapshot() as snapshot:
                    view = rounds.look(snapshot)
                    if view.commit != commit or view.round < seen.rounds:
                        raise SeenError(f"a backup of commit {commit} shows commit {view.commit}, round {view.round}")
                    rounds.write(copied, gists=True)
                shutil.rmtree(target)
                seen.backups, seen.rounds = seen.backups + 1, view.round
    except Exception as error:  # as above
        seen.failures.append(f"{type(error).__name__}: {error}")
    return seen


def _again(rounds: Rounds, snapshot: Snapshot, view: View) -> None:
    if (now := rounds.look(snapshot)) != view:
        raise SeenError(f"commit {view.commit} was held, and reads otherwise now (as of round {now.round})")


def _all_again(rounds: Rounds, held: Sequence[tuple[Snapshot, View]]) -> None:
    for snapshot, view in held:
        _again(rounds, snapshot, view)


def _spawned(rounds: Rounds, snapshot: Snapshot, view: View) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_again, args=(rounds, snapshot, view))
    worker.start()
    worker.join(PATIENCE)
    if worker.exitcode != 0:
        raise SeenError(f"a spawned process read commit {view.commit} otherwise, or failed ({worker.exitcode})")


def under_fire(
    folder: Path, *, readers: int, snapshots: int, kills: int = 10, seed: int = 0, rounds: Rounds = TEXTS
) -> Seen:
    """Let many readers read while a writer writes and is killed.

    Args:
        folder: where to make the store.
        readers: reader processes.
        snapshots: how many each of them takes.
        kills: the writer is killed so often at least, also if the readers are done before.
        seed: of all that is random.
        rounds: what is written.

    Returns:
        What they saw; a store that does not verify at the end is a failure too.
    """
    path, rng, seen = str(folder / f"{rounds.name}.mctree"), random.Random(seed), Seen()
    with mctree.create(path, chunk_bytes=CHUNK_BYTES, keep=4, encoders=rounds.encoders) as tree:
        rounds.begin(tree)
    start = partial(_start, rounds)
    workers = [start("copy", path, seed, max(1, snapshots // SNAPSHOTS_A_BACKUP))]
    workers += [start("read", path, seed + 1 + n, snapshots, small=n % 2, portable=n % 3 == 2) for n in range(readers)]
    writer = start("write", path, rng.randrange(1 << 30), small=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while seen.kills < kills or any(worker.poll() is None for worker in workers):
            if rng.random() < 0.9 and writer.stdout is not None:
                writer.stdout.readline()  # one that never gets so far would be killed while it starts, each time
            time.sleep(rng.uniform(0.0, 0.5))
            if writer.poll() is not None:
                seen.failures.append(f"the writer ended: {_error(writer)}")
                break
            writer.kill()
            writer.communicate()
            seen.kills += 1
            writer = start("write", path, rng.randrange(1 << 30), small=rng.random() < 0.5)
            if time.monotonic() > deadline + snapshots:
                seen.failures.append("a reader hangs")
                break
    finally:
        writer.kill()
        writer.communicate()
        for worker in workers:
            seen.add(_end(worker))
    with mctree.open(path, encoders=rounds.encoders) as tree:
        seen.failures += [str(problem) for problem in tree.verify()]
        with tree.snapshot() as snapshot:
            seen.rounds = rounds.look(snapshot).round
    return seen


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


def crowd(path: str, seed: int, count: int) -> Seen:
    """Let so many forked children, all at once, take a few snapshots each; the failures of those that met any."""
    children = {}
    for child in range(count):
        told, tell = os.pipe()
        if (pid := os.fork()) == 0:
            with os.fdopen(tell, "w") as parent:
                json.dump(asdict(read(path, seed + child, 3)), parent)
            os._exit(0)
        os.close(tell)
        children[pid] = told
    seen = Seen()
    for pid, told in children.items():
        with os.fdopen(told) as child_told:
            answer = child_told.read()
        _, how = os.waitpid(pid, 0)
        seen.add(Seen(**json.loads(answer)) if answer else Seen(failures=[f"a reader ended with status {how:#x}"]))
    return seen


def _start(
    rounds: Rounds, role: str, path: str, *numbers: int, small: bool | int = False, portable: bool = False
) -> subprocess.Popen[str]:
    flags = ["--small-map"] * bool(small) + ["--portable"] * portable + ["--rounds", rounds.name]
    return subprocess.Popen(
        [sys.executable, "-m", "tools.crash.readers", role, path, *map(str, numbers), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(worker: subprocess.Popen[str]) -> Seen:
    if worker.poll() is None:
        worker.kill()
        worker.communicate()
        return Seen(failures=["a reader did not end"])
    told = worker.communicate()
    if worker.returncode:
        how = signal.Signals(-worker.returncode).name if worker.returncode < 0 else worker.returncode
        return Seen(failures=[f"a reader ended with {how}: {told[1].strip()[-300:]}"])
    return Seen(**json.loads(told[0]))


def _error(process: subprocess.Popen[str]) -> str:
    return f"{process.returncode}: {process.communicate()[1].strip()[-300:]}"


_UNDER_FIRE = "snapshots taken and read whole, under a writer that refreshes, compacts and is killed"
_FIRES = {TEXTS: _UNDER_FIRE, IMAGES: f"{_UNDER_FIRE}, with images"}
"""Rows, by what is written."""
_SIZES: dict[tuple[Scale, str], tuple[int, int, int]] = {
    ("quick", "texts"): (4, 125, 10),
    ("quick", "images"): (3, 20, 4),
    ("long", "texts"): (8, 12_500, 10),
    ("long", "images"): (4, 2_500, 10),
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
                f"{readers} readers; {seen.kills} kills, {seen.rounds} rounds; read again while held {seen.again} "
                f"times, in {seen.forked} forked and {seen.spawned} spawned processes; {seen.backups} backups; "
                f"verified {seen.verified} times"
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
        if role != "write":
            options.add_argument("count", type=int)
    given = parser.parse_args()
    if given.small_map:
        environment._MAP_BYTES = environment._SMALLEST_MAP = SMALL_MAP
    rounds = _KINDS[given.rounds]
    if given.role == "write":
        write(given.store, given.seed, rounds)
    if given.role == "crowd":
        seen = crowd(given.store, given.seed, given.count)
    elif given.role == "copy":
        seen = copy(given.store, given.count, rounds)
    else:
        seen = read(given.store, given.seed, given.count, portable=given.portable, rounds=rounds)
    print(json.dumps(asdict(seen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
