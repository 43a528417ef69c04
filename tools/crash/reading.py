"""What does a reader do under fire, and what does it see happen under the snapshots that it holds?

It takes snapshots one after another; each must be whole (see `rounds`), and none older than the one before.  It holds
some of them, reads them again later, in forked children and in spawned processes too, and gets the same bytes.

What happens meanwhile is counted as the reader sees it: under its own snapshots, which stay held throughout.  Whatever
moves the ground (another epoch, a map that grew) is followed at once by reading again all that is held, here and in a
child.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import mctree
from mctree import Snapshot
from mctree.storage.environment import Environment
from mctree.testing.processes import forked
from tools.crash.rounds import TEXTS, Rounds, SeenError, View
from tools.crash.victims import MISFIT

__all__ = ["PATIENCE", "Fire", "Seen", "copy", "crowd", "read"]

PATIENCE = 600.0
"""Seconds without an answer after which a process counts as hanging: far more than any of them needs."""
HELD = 6
REOPEN_EVERY, VERIFY_EVERY = 97, 60
FORK_EVERY, FIRST_FORK = 50, 5
SPAWN_EVERY, FIRST_SPAWN = 60, 10
_PAUSE = 0.05
_LONG_PAUSE = 0.25
_WORDS = 1 << 10

Held = Sequence[tuple[Snapshot, View]]


@dataclass
class Seen:
    """What readers did and what they saw.

    Attributes:
        snapshots: snapshots taken and read whole.
        again: snapshots read again while held.
        verified: times that the store was verified meanwhile.
        compactions: epochs that ended while a reader held snapshots of them.
        refreshes: times that generations of gists had been replaced under the snapshots that a reader held.
        growths: times that the map of an index grew by which a reader held snapshots.
        forked: forked children that read all that their parent held, half of it when that had let go of most.
        spawned: spawned processes that were sent a snapshot.
        backups: copies made while somebody wrote, and read whole, as was a snapshot that was held meanwhile.
        rounds: how far the writer came.
        kills: how often it was killed while readers held snapshots.
        failures: what was seen that no commit holds.
    """

    snapshots: int = 0
    again: int = 0
    verified: int = 0
    compactions: int = 0
    refreshes: int = 0
    growths: int = 0
    forked: int = 0
    spawned: int = 0
    backups: int = 0
    rounds: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        """Count another reader's, but for how far the writer came and how often it was killed."""
        for name in ("snapshots", "again", "verified", "backups", *_SEEN):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures

    def lacking(self) -> list[str]:
        """What has to happen in a run while readers hold snapshots, and did not."""
        return [name for name in (*_SEEN, "backups", "kills") if not getattr(self, name)]


_SEEN = ("compactions", "refreshes", "growths", "forked", "spawned")
"""What a reader sees itself."""


@dataclass(frozen=True, slots=True)
class Fire:
    """What a reader lives through: it goes on, with snapshots held, until all of it has happened to it.

    Attributes:
        kills: where each kill of the writer is noted, by a byte.
        most: how many of them are waited for.
        grows: whether the map of the index is one that grows.
        patience: seconds after which it must have happened, beside one for each snapshot.
    """

    kills: str
    most: int
    grows: bool
    patience: float = PATIENCE

    def begins(self, reader: _Reader) -> None:
        """Say that a snapshot is held, so that the writer may begin, and wait until it has."""
        print("holds", flush=True)
        deadline = time.monotonic() + self.patience
        while not reader.is_behind() and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def is_over(self, seen: Seen) -> bool:
        """Whether it was all there."""
        if os.path.getsize(self.kills) < self.most:
            return False
        return all(getattr(seen, name) for name in _SEEN if self.grows or name != "growths")


def read(
    path: str,
    seed: int,
    count: int,
    *,
    portable: bool = False,
    rounds: Rounds = TEXTS,
    fire: Fire | None = None,
) -> Seen:
    """Take so many snapshots, or more where what has to happen takes longer; stops at the first that is wrong."""
    reader = _Reader(path, random.Random(seed), portable, rounds)
    deadline = time.monotonic() + count + (0 if fire is None else fire.patience)
    try:
        while (early := reader.seen.snapshots < count) or not (fire is None or fire.is_over(reader.seen)):
            if not early:
                if time.monotonic() > deadline:
                    raise SeenError(f"what has to happen under a reader did not: {asdict(reader.seen)}")
                time.sleep(_LONG_PAUSE)
            reader.go_on()
            if fire is not None and reader.seen.snapshots == 1:
                fire.begins(reader)
        reader.end()
    except Exception as error:  # whatever it is, it is what a reader must not meet
        reader.seen.failures.append(_words(error))
    reader.seen.rounds = reader.last.round
    return reader.seen


class _Reader:
    """One that holds a few snapshots at any time.

    Attributes:
        seen: what it has seen.
        last: what the newest snapshot showed.
    """

    def __init__(self, path: str, rng: random.Random, portable: bool, rounds: Rounds) -> None:
        self.seen = Seen()
        self.last = View(0, 0, b"")
        self._open = partial(mctree.open, path, writable=False, portable=portable, encoders=rounds.encoders)
        self._rng = rng
        self._rounds = rounds
        self._tree = self._open()
        self._held: list[tuple[Snapshot, View]] = []
        self._maps: dict[Environment, int] = {}
        self._epoch = 0
        self._replaced: dict[int, int] = {}
        self._child: _Child | None = None
        self._spawn_at = FIRST_SPAWN

    def go_on(self) -> None:
        """Take the next snapshot, and look at what was read before once more, in one way or another."""
        rng, seen = self._rng, self.seen
        snapshot = self._tree.snapshot()
        view = self._rounds.look(snapshot)
        seen.snapshots += 1
        last, self.last = self.last, view
        if (view.commit, view.round) < (last.commit, last.round) or view.round < last.round:
            raise SeenError(f"round {view.round} of commit {view.commit} came after round {last.round}")
        if view.commit == last.commit and view != last:
            raise SeenError(f"commit {view.commit} was read twice, with different bytes")
        moved = self._notice(snapshot)
        self._held.append((snapshot, view))
        if moved:
            self._read_all_again()
        if moved or seen.snapshots % FORK_EVERY == FIRST_FORK:
            self._fork()
        if len(self._held) > HELD:
            self._held.pop(rng.randrange(len(self._held)))[0].close()
        if rng.random() < 0.3:
            _again(self._rounds, *rng.choice(self._held))
            seen.again += 1
        if seen.snapshots >= self._spawn_at and self._held[0][1].commit < view.commit:
            _spawned(self._rounds, *self._held[0])
            seen.spawned += 1
            self._spawn_at += SPAWN_EVERY
        if rng.random() < 1 / VERIFY_EVERY:
            for problem in self._tree.verify():
                raise SeenError(f"an alarm while somebody writes: {problem.where} {problem.what}")
            seen.verified += 1
        if rng.random() < 1 / REOPEN_EVERY:
            self._tree = self._open()

    def is_behind(self) -> bool:
        """Whether there is a newer commit than that of the newest snapshot."""
        return self._tree.commits()[-1].number > self.last.commit

    def end(self) -> None:
        """Read all that is held for the last time, and let go of it."""
        self._read_all_again()
        for snapshot, _ in self._held:
            snapshot.close()
        self._join()

    def _notice(self, snapshot: Snapshot) -> bool:
        """Count what happened since the snapshot before this one; whether that moved what is held."""
        seen = self.seen
        # The maps by which snapshots are held that were held then too.
        maps = {one.store.environment: _map_bytes(one.store.environment) for one, _ in self._held}
        grown = sum(self._maps.get(environment, size) != size for environment, size in maps.items())
        seen.growths += grown
        environment = snapshot.store.environment
        self._maps = {**maps, environment: _map_bytes(environment)}
        epoch, replaced = snapshot.store.meta.epoch, {n: one.refreshed for n, one in snapshot.record.arrays.items()}
        ended = epoch - self._epoch if self._held else 0
        seen.compactions += ended
        if self._held and not ended:
            seen.refreshes += any(replaced.get(number, then) > then for number, then in self._replaced.items())
        self._epoch, self._replaced = epoch, replaced
        return bool(grown or ended)

    def _read_all_again(self) -> None:
        _all_again(self._rounds, self._held)
        self.seen.again += len(self._held)

    def _fork(self) -> None:
        self._join()
        self._child = _Child(self._rounds, list(self._held))

    def _join(self) -> None:
        if self._child is not None:
            self._child.join()
            self._child = None
            self.seen.forked += 1


class _Child:
    """A forked child that reads half of what its parent holds at once, and the rest when that has let go of most of it.

    What it has not read at once is held for it by nothing but the lease that it took over when it was forked.
    """

    def __init__(self, rounds: Rounds, held: Held) -> None:
        waiting, self._go = os.pipe()
        self._told, telling = os.pipe()

        def look() -> None:
            signal.alarm(int(PATIENCE))
            os.close(self._go)
            os.close(self._told)
            words = _wrong(rounds, held[::2])
            if not words:
                os.read(waiting, 1)  # until the other end is closed
                words = _wrong(rounds, held[1::2])
            os.write(telling, words.encode("utf-8", "backslashreplace")[:_WORDS])

        self._pid = forked(look)
        os.close(waiting)
        os.close(telling)

    def join(self) -> None:
        """Let it read the rest, and hear what it found.

        Raises:
            SeenError: something else than its parent, or it failed.
        """
        os.close(self._go)
        with os.fdopen(self._told, errors="replace") as told:
            words = told.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if words or status:
            raise SeenError(f"a forked child: {words or f'ended with status {status}'}")


def copy(path: str, count: int, rounds: Rounds = TEXTS) -> Seen:
    """Make so many backups at least, and as many as it takes until the writer has come further.

    Each has to hold a whole commit, not older than what was seen before; what is held meanwhile stays the same.
    """
    seen, target, begun = Seen(), f"{path}.copy", -1
    try:
        with mctree.open(path, writable=False, encoders=rounds.encoders) as tree:
            while seen.backups < count or seen.rounds == begun:
                with tree.snapshot() as held:
                    before = rounds.look(held)
                    commit = tree.backup(target)
                    with mctree.open(target, encoders=rounds.encoders) as copied, copied.snapshot() as snapshot:
                        view = rounds.look(snapshot)
                        if view.commit != commit or view.round < max(seen.rounds, before.round):
                            shown = f"shows commit {view.commit}, round {view.round}, after round {before.round}"
                            raise SeenError(f"that of commit {commit} {shown}")
                        rounds.write(copied, gists=True)
                    _again(rounds, held, before)
                    seen.again += 1
                shutil.rmtree(target)
                begun = before.round if begun < 0 else begun
                seen.backups, seen.rounds = seen.backups + 1, view.round
    except Exception as error:  # as above
        seen.failures.append(f"a backup: {_words(error)}")
    return seen


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


def _again(rounds: Rounds, snapshot: Snapshot, view: View) -> None:
    if (now := rounds.look(snapshot)) != view:
        raise SeenError(f"commit {view.commit} was held, and reads otherwise now (as of round {now.round})")


def _all_again(rounds: Rounds, held: Held) -> None:
    for snapshot, view in held:
        _again(rounds, snapshot, view)


def _spawned(rounds: Rounds, snapshot: Snapshot, view: View) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_again, args=(rounds, snapshot, view))
    worker.start()
    worker.join(PATIENCE)
    if worker.exitcode != 0:
        raise SeenError(f"a spawned process read commit {view.commit} otherwise, or failed ({worker.exitcode})")


def _wrong(rounds: Rounds, held: Held) -> str:
    """What is wrong with what is held; nothing if all is as it was."""
    try:
        _all_again(rounds, held)
    except Exception as error:  # as in `read`
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    misfit = f" ({MISFIT})" if isinstance(error, TypeError | AttributeError | NameError) else ""
    return f"{type(error).__name__}: {error}{misfit}"


def _map_bytes(environment: Environment) -> int:
    return int(environment._env.info()["map_size"])
