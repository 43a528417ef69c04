"""What comes of damage to a store?  Done in a child, which looks at all that the store shows, and undone again.

Everything that looks at a damaged store is a child, so that its death is a finding.  It writes down what came of each
damage as it goes, in memory that outlives it; the next child goes on behind the one that it died of.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING

from mctree.errors import CommitGoneError, CorruptError, MctreeError, NotAStoreError
from mctree.testing.processes import UNFIT, forked, in_child
from mctree.tree.check import Problem
from tools.crash.shown import described, shown
from tools.crash.specimen import opened

if TYPE_CHECKING:
    from tools.crash.specimen import Specimen

__all__ = ["Damage", "Damages", "Verdict", "in_children", "looked_at_in_child", "prepare_to_die"]

_PATIENCE = 20
"""Seconds of the processor that one look may take: how long it lasts also depends on who else wants one."""
_LONGEST = 600
"""Seconds that it may last."""


class Verdict(IntEnum):
    """What came of a damage."""

    PENDING = 0
    HARMLESS = 1
    FOUND = 2
    REFUSED = 3
    UNNOTICED = 4
    BROKEN_UNNOTICED = 5
    FALSE_ALARM = 6
    NOT_NAMED = 7
    RAISED = 8
    DIED = 9
    UNFIT = 10


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a file that are changed: each is combined with the one of the mask that lies there."""

    file: str
    offset: int
    mask: bytes

    def __str__(self) -> str:
        if len(self.mask) == 1:
            return f"{self.file} byte {self.offset} ^ {self.mask[0]:#04x}"
        return f"{self.file} bytes {self.offset}..{self.offset + len(self.mask)}"

    def do(self, root: str) -> None:
        """Do it to the store at `root`; done again, it is undone."""
        fd = os.open(f"{root}/{self.file}", os.O_RDWR)
        try:
            data = os.pread(fd, len(self.mask), self.offset)
            os.pwrite(fd, bytes(a ^ b for a, b in zip(data, self.mask, strict=True)), self.offset)
        finally:
            os.close(fd)


class Damages(tuple[Damage, ...]):
    """Several, at once."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"all of {len(self)} files that nobody reads"

    def do(self, root: str) -> None:
        """Do them all; done again, they are undone."""
        for damage in self:
            damage.do(root)


def in_children(specimen: Specimen, damages: Sequence[Damage | Damages]) -> Iterator[tuple[Damage | Damages, Verdict]]:
    """What comes of each of some damages to a specimen, which is whole again in the end."""
    verdicts = mmap.mmap(-1, max(len(damages), 1))
    first = 0
    while first < len(damages):
        child = forked(partial(_try_all, specimen, damages, first, verdicts))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        first = next((i for i in range(first, len(damages)) if not verdicts[i]), len(damages))
        if first < len(damages):
            damages[first].do(specimen.path)
            verdicts[first] = _fate(status)
            first += 1
    for i, damage in enumerate(damages):
        yield damage, Verdict(verdicts[i])


def _try_all(specimen: Specimen, damages: Sequence[Damage | Damages], first: int, verdicts: mmap.mmap) -> None:
    """In a child: do one damage after the other."""
    prepare_to_die()
    for i in range(first, len(damages)):
        _be_patient()
        damages[i].do(specimen.path)
        verdict = looked_at(specimen.path, specimen, damages[i])
        damages[i].do(specimen.path)
        verdicts[i] = verdict


def looked_at_in_child(path: str, specimen: Specimen, file: str) -> Verdict:
    """What comes of the damage that a store has, one of whose files was lost or replaced."""

    def look() -> None:
        prepare_to_die()
        os._exit(looked_at(path, specimen, file))

    ended = in_child(look)
    return Verdict(ended) if ended in (*Verdict,) else _fate(ended)


def _fate(status: int) -> Verdict:
    """What it means that a child ended so, before it had a verdict."""
    return Verdict.UNFIT if status == UNFIT else Verdict.RAISED if status > 0 else Verdict.DIED


def prepare_to_die(patience: int | None = None) -> None:
    """In a child that looks at a damaged store: die silently, and within bounds.

    Args:
        patience: seconds of the processor that it may take; as many as one look if None.
    """
    # LMDB says a line when it gives up, and the system would keep what was in memory.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _be_patient(patience)


def _be_patient(patience: int | None = None) -> None:
    signal.setitimer(signal.ITIMER_PROF, _PATIENCE if patience is None else patience)
    signal.alarm(_LONGEST)


def looked_at(path: str, specimen: Specimen, damage: Damage | Damages | str) -> Verdict:
    """What comes of the damage that a store has.

    Args:
        path: the store.
        specimen: what it was before.
        damage: the damage, if it is of bytes: then whatever is found first has to be that, and to be named, if it is of
            one byte; or the file that is hit.
    """
    try:
        tree = opened(path)
    except (CorruptError, NotAStoreError, CommitGoneError):
        return Verdict.REFUSED
    with tree:
        problem: Problem | None = next(iter(tree.verify()), None)
        if problem is not None and isinstance(damage, Damages):
            return Verdict.FOUND
        if problem is not None and isinstance(damage, Damage):
            named = len(damage.mask) > 1 or specimen.naming.names(problem, damage.file, damage.offset)
            return Verdict.FOUND if named else Verdict.NOT_NAMED
        if problem is not None and damage in specimen.naming.rows and problem.node is None:
            return Verdict.NOT_NAMED
        try:
            changed = shown(tree) != specimen.before or _misleads(path, specimen)
        except MctreeError:
            return Verdict.BROKEN_UNNOTICED if problem is None else Verdict.FOUND
        if problem is None:
            return Verdict.UNNOTICED if changed else Verdict.HARMLESS
        return Verdict.FOUND if changed else Verdict.FALSE_ALARM


def _misleads(path: str, specimen: Specimen) -> bool:
    """Whether metadata tell other readers something else than they did, or of more rows."""
    now = described(path)
    return now.keys() != specimen.described.keys() or any(
        now[file][0] != said or now[file][1] > rows for file, (said, rows) in specimen.described.items()
    )
