"""What may a disk hold after a power cut?  Every state that a file system may leave, made from recorded operations.

The power is cut at every moment at which the disk could promise more: before each sync, and after each acknowledgement.
What was synced by then is there.  Of everything since, any part may be:

    none of it, all of it          what a file system may do that writes late, or at once
    all but one, only one          for each operation that is not older than a few moments
    torn                           of a write only its first sectors, only its last, every second one, or none but the
                                   length that the file has with it
    a random part                  of all that is pending, however old, torn at random

Sectors have 512 bytes and are written whole.  A name is there, or gone, for sure once a folder that the change was
made in was synced; a rename, also an exchange, happens in both folders or in neither.  What a descriptor that was
opened with O_DSYNC wrote is there when the call returns, and nothing else with it.  These are fewer promises than
ext4, XFS and Btrfs make: a store that survives this disk survives theirs.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tools.crash.operations import MAPPED, ROOT, Acknowledged, Named, Resized, Synced, Trace, Written

__all__ = ["SECTOR", "Cut", "Disk", "Torn", "Walk", "compare", "cuts"]

SECTOR = 512
_FRESH = 3
"""For so many moments operations are dropped, and kept, one by one."""
_RANDOM = 3
"""Random parts at each moment."""

Torn = Literal["whole", "head", "tail", "comb", "length"]
_TEARS: tuple[Torn, ...] = ("head", "tail", "comb", "length")
Kept = tuple[tuple[int, Torn], ...]
Pending = Written | Resized | Named


@dataclass(frozen=True, slots=True)
class Cut:
    """The power is cut.

    Attributes:
        moment: when.
        acknowledged: how many steps were by then.
        kept: which of the operations that were pending happened, by their place, each with how it was torn.
        what: the same in words.
    """

    moment: int
    acknowledged: int
    kept: Kept
    what: str


@dataclass(slots=True)
class Disk:
    """Content of files and entries of folders, by inode."""

    folders: dict[int, dict[str, int]]
    files: dict[int, bytearray] = field(default_factory=dict)

    def copy(self) -> Disk:
        """The same, to be changed."""
        return Disk({i: {**d} for i, d in self.folders.items()}, {i: bytearray(data) for i, data in self.files.items()})

    def apply(self, operation: Pending, torn: Torn = "whole") -> None:
        """Let an operation have happened, as far as it was torn."""
        if isinstance(operation, Named):
            for folder, name, inode in operation.entries:
                if inode is None:
                    self.folders[folder].pop(name, None)
                else:
                    self.folders[folder][name] = inode
            return
        data = self.files.setdefault(operation.inode, bytearray())
        if isinstance(operation, Resized):
            del data[operation.size :]
            data.extend(bytes(operation.size - len(data)))
            return
        offset, written = operation.offset, operation.data
        if torn in ("whole", "length"):
            data.extend(bytes(max(offset + len(written) - len(data), 0)))
        for start, stop in _sectors(offset, len(written), torn):
            data.extend(bytes(max(stop - len(data), 0)))
            data[start:stop] = written[start - offset : stop - offset]

    def write_out(self, path: str, folder: int = ROOT) -> None:
        """Make it a folder of a real file system."""
        os.mkdir(path)
        for name, inode in self.folders[folder].items():
            below = os.path.join(path, name)
            if inode in self.folders:
                self.write_out(below, inode)
            else:
                with open(below, "wb") as file:
                    file.write(self.files.get(inode, b""))


def _sectors(offset: int, size: int, torn: Torn) -> Iterator[tuple[int, int]]:
    """Which bytes [start, stop) of a file a write has reached."""
    if torn == "whole":
        yield offset, offset + size
        return
    first, last = offset // SECTOR, (offset + size - 1) // SECTOR
    middle = (first + last + 1) // 2
    wanted = {
        "head": range(first, middle),
        "tail": range(middle, last + 1),
        "comb": range(first, last + 1, 2),
        "length": range(0),
    }[torn]
    for sector in wanted:
        yield max(sector * SECTOR, offset), min((sector + 1) * SECTOR, offset + size)


class Walk:
    """Goes through what was done, and stops at every moment at which the disk is about to promise more.

    Attributes:
        disk: what is there for sure.
        pending: what was done since, each with the number of the moment before which it was.
        acknowledged: how many steps were.
        moment: the number of this moment.
    """

    def __init__(self, trace: Trace) -> None:
        self._operations = trace.operations
        self.disk = Disk(
            {inode: {**entries} for inode, entries in trace.folders.items()},
            {inode: bytearray(data) for inode, data in trace.files.items()},
        )
        self.pending: list[tuple[Pending, int]] = []
        self.acknowledged = 0
        self.moment = -1
        self._steps = self._walk()

    def forward(self) -> bool:
        """Go to the next moment; whether there is one."""
        return next(self._steps, False)

    def at(self, cut: Cut) -> Disk:
        """What the disk holds after a cut, which is not before this moment."""
        while self.moment < cut.moment:
            assert self.forward(), "the recording ends before this moment"
        assert self.moment == cut.moment, "a walk goes forward only"
        disk = self.disk.copy()
        for n, torn in cut.kept:
            disk.apply(self.pending[n][0], torn)
        return disk

    def _walk(self) -> Iterator[bool]:
        for operation in self._operations:
            match operation:
                case Acknowledged():
                    self.acknowledged += 1
                    yield self._stop()
                case Synced(inode):
                    if any(_concerns(pending, inode) for pending, _ in self.pending):
                        yield self._stop()
                        self._sync(inode)
                case Written(durable=True):
                    self.pending.append((operation, self.moment))
                    yield self._stop()
                    self.pending.pop()
                    self.pending = [part for entry in self.pending for part in _without(entry, operation)]
                    self.disk.apply(operation)
                case _:
                    self.pending.append((operation, self.moment))
        yield self._stop()

    def _sync(self, inode: int) -> None:
        mine = [entry for entry in self.pending if _concerns(entry[0], inode)]
        settled: set[tuple[int, str]] = set()
        left: list[tuple[Pending, int]] = []
        for operation, moment in reversed(self.pending):
            if _concerns(operation, inode):
                settled |= (
                    {(folder, name) for folder, name, _ in operation.entries} if isinstance(operation, Named) else set()
                )
            elif not isinstance(operation, Named):
                left.append((operation, moment))
            # What was done to a name before is past, though its folder was not synced.
            elif entries := tuple(entry for entry in operation.entries if entry[:2] not in settled):
                left.append((replace(operation, entries=entries), moment))
        self.pending = left[::-1]
        for operation, _ in mine:
            self.disk.apply(operation)

    def _stop(self) -> bool:
        self.moment += 1
        return True


def _concerns(operation: Pending, inode: int) -> bool:
    """Whether a sync of an inode makes an operation durable."""
    if isinstance(operation, Named):
        return any(folder == inode for folder, _, _ in operation.entries)
    return operation.inode == inode


def _without(entry: tuple[Pending, int], later: Written) -> Iterator[tuple[Pending, int]]:
    """What is left of a pending operation when a later write of the same file is durable."""
    operation, moment = entry
    start, stop = later.offset, later.offset + len(later.data)
    if isinstance(operation, Named) or operation.inode != later.inode:
        yield entry
    elif isinstance(operation, Resized):
        assert stop <= operation.size, "a durable write behind a new end of the file is not understood"
        yield entry
    else:
        first, data = operation.offset, operation.data
        if first < start:
            yield Written(operation.inode, first, data[: start - first]), moment
        if first + len(data) > stop:
            yield Written(operation.inode, max(first, stop), data[max(stop - first, 0) :]), moment


def cuts(trace: Trace) -> Iterator[Cut]:
    """All the ways in which the power may be cut, moment by moment."""
    walk = Walk(trace)
    seen: tuple[object, ...] = ()
    while walk.forward():
        operations = [operation for operation, _ in walk.pending]
        now = (walk.acknowledged, *map(id, operations))
        if now == seen:
            continue
        seen = now
        fresh = [walk.moment - born <= _FRESH for _, born in walk.pending]
        ways: dict[Kept, str] = {}
        for kept, what in _ways(operations, fresh, walk.moment):
            ways.setdefault(kept, what)
        for kept, what in ways.items():
            yield Cut(walk.moment, walk.acknowledged, kept, what)


def _ways(operations: Sequence[Pending], fresh: Sequence[bool], seed: int) -> Iterator[tuple[Kept, str]]:
    """Which of some pending operations happened, and how the writes among them were torn."""
    every: Kept = tuple((n, "whole") for n in range(len(operations)))
    yield (), "nothing that was pending"
    yield every, "all that was pending"
    for n, operation in enumerate(operations):
        if not fresh[n]:
            continue
        yield (*every[:n], *every[n + 1 :]), f"all but {_described(operation)}"
        yield (every[n],), f"only {_described(operation)}"
        if isinstance(operation, Written):
            within = operation.offset // SECTOR == (operation.offset + len(operation.data) - 1) // SECTOR
            for torn in _TEARS[-1:] if within else _TEARS:
                yield (*every[:n], (n, torn), *every[n + 1 :]), f"all, {torn} of {_described(operation)}"
    dice = random.Random(seed)
    for _ in range(_RANDOM if operations else 0):
        chosen = [n for n in range(len(operations)) if dice.random() < 0.5]
        tears = [dice.choice(("whole", *_TEARS)) if isinstance(operations[n], Written) else "whole" for n in chosen]
        yield tuple(zip(chosen, tears, strict=True)), f"a random part, {len(chosen)} of {len(operations)}"


def _described(operation: Pending) -> str:
    match operation:
        case Named(entries, call):
            return f"{call} of {' and '.join(repr(name) for _, name, _ in entries)}"
        case Resized(inode, size):
            return f"the size {size} of inode {inode}"
        case Written(inode, offset, data):
            return f"{len(data)} bytes at {offset} of inode {inode}"


def compare(trace: Trace, path: str) -> None:
    """Make sure that a recording misses nothing: if all of it happened, the disk is what it is."""
    walk = Walk(trace)
    while walk.forward():
        pass
    for operation, _ in walk.pending:
        walk.disk.apply(operation)
    replayed = f"{path} replayed"
    walk.disk.write_out(replayed)
    real, again = _content(path), _content(replayed)
    wrong = sorted(name for name in {*real, *again} if real.get(name) != again.get(name))
    assert not wrong, f"{wrong[:3]} are not as the recording has them"
    shutil.rmtree(replayed)


def _content(path: str) -> dict[str, bytes | None]:
    """All files and folders, but for what is written through maps."""
    found: dict[str, bytes | None] = {}
    for folder, folders, names in os.walk(path):
        below = os.path.relpath(folder, path)
        found.update({os.path.join(below, name): None for name in folders})
        found.update({os.path.join(below, name): Path(folder, name).read_bytes() for name in names if name != MAPPED})
    return found
