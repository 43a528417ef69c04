"""Can a flipped bit go unnoticed?  Each bit of each file of a small store, one at a time; and whole files (`mislaid`).

For each flip the store is opened anew and verified, and then put right again.  A flip is *found* if opening refuses the
store, or if `verify` tells of it and names what it hits (`tools.crash.naming`): the very node, source and bytes or
pixels where a row is hit; where a record of the index is, that record, what it is about, and at least the bytes that it
speaks of; where a page of it is, the range of records that it leads to.  It is *harmless* if `verify` is silent and
whatever the store shows at any of its commits is what it showed before.  Anything else is a failure: something that
changed, or cannot be shown, while `verify` is silent; an alarm over bytes that nobody reads; the wrong place; a process
that dies.  Files that hold nothing committed must be harmless wherever they are hit.

Which bytes say nothing is known from how files are laid out: what lies behind the committed rows, the room in the
pages of the index, and files that hold nothing committed.  They are changed all at once, and nothing may come of it;
some of their bits are flipped singly as well, for what is changed all at once might go unnoticed where one bit would
not.  Of all other bytes each bit is flipped (long; of metadata, which is for other readers, one bit of each byte), or
one bit of one byte in so many (quick).
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.crash.damage import Damage, Damages, Verdict, in_children
from tools.crash.mislaid import mislay
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.specimen import Specimen, is_advisory, kind_of

__all__ = ["PART", "flips", "kinds", "read", "run", "silent_flips", "whole_of"]

_SEED = 20
_EVERY = 64
"""In the quick form, one of so many bytes is tried."""
_EVERY_SILENT: dict[Scale, int] = {"quick": 1 << 20, "long": 1 << 13}
"""Of so many bytes of a kind of file that nobody reads one is tried, and at least one."""
_GOOD = {Verdict.HARMLESS, Verdict.FOUND, Verdict.REFUSED}


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Flip bits of every kind of file."""
    path, stages = scratch / "specimen.mctree", list[Path]()

    def stage() -> None:
        stages.append(Path(shutil.copytree(path, scratch / f"stage {len(stages)}")))

    specimen = Specimen.make(path, stage)
    start = time.monotonic()
    result = Result()
    if wants("files lost, cut, resized, swapped, put back"):
        result.rows.append(mislay(specimen, stages, all_of_it=scale == "long"))
        result.rows[0].seconds = time.monotonic() - start
    silent = {file: _but(range(specimen.size(file)), read(specimen, file)) for file in specimen.files}
    unread = Row("bytes that nobody reads, changed all at once")
    if wants(unread.what):
        result.rows.append(unread)
        with timed(unread):
            changes = [whole_of(file, parts) for file, parts in silent.items() if parts]
            tried = list(in_children(specimen, [Damages(changes), *(changes if scale == "long" else [])]))
        unread.points = len(tried)
        unread.failures.extend(_bad(tried, {Verdict.HARMLESS}))
        unread.notes = f"{8 * sum(len(part) for parts in silent.values() for part in parts)} bits"
    for kind, files in kinds(specimen).items():
        row = Row(f"single bits of {kind}")
        if not wants(row.what):
            continue
        result.rows.append(row)
        with timed(row):
            singly = [one for file in files for one in in_children(specimen, flips(file, read(specimen, file), scale))]
            silently = list(in_children(specimen, silent_flips(kind, {file: silent[file] for file in files}, scale)))
        row.failures.extend((*_bad(singly, _GOOD), *_bad(silently, {Verdict.HARMLESS})))
        counts = Counter(verdict for _, verdict in (*singly, *silently))
        row.points = counts.total()
        row.notes = ", ".join(f"{counts[verdict]} {verdict.name.lower()}" for verdict in sorted(_GOOD))
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s; {row.notes}")
    return result


def read(specimen: Specimen, file: str) -> list[range]:
    """The bytes of a file that say something."""
    return [] if is_advisory(file) else specimen.naming.read(file, specimen.size(file))


def _but(whole: range, parts: list[range]) -> list[range]:
    """A range without some parts of it, which ascend."""
    edges = [whole.start, *(edge for part in parts for edge in (part.start, part.stop)), whole.stop]
    return [range(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]


def whole_of(file: str, parts: list[range]) -> Damage:
    """All bits of some parts of a file."""
    mask = bytearray(parts[-1].stop)
    for part in parts:
        mask[part.start : part.stop] = b"\xff" * len(part)
    return Damage(file, 0, bytes(mask))


def _bad(outcomes: Sequence[tuple[Damage | Damages, Verdict]], good: set[Verdict]) -> list[str]:
    return [
        f"{damage}: {verdict.name.lower().replace('_', ' ')}" for damage, verdict in outcomes if verdict not in good
    ]


def kinds(specimen: Specimen) -> dict[str, list[str]]:
    """The files of a store by what they are for."""
    found: dict[str, list[str]] = {}
    for file in specimen.files:
        found.setdefault(kind_of(file), []).append(file)
    return found


def flips(file: str, parts: list[range], scale: Scale) -> list[Damage]:
    """Single bits of some stretches of a file: each of them, or one of each so many bytes."""
    rng = random.Random(f"{_SEED} {file}")
    every = [at for part in parts for at in part]
    if scale == "long" and not file.endswith("zarr.json"):
        return [Damage(file, at, bytes([1 << bit])) for at in every for bit in range(8)]
    chosen = every if scale == "long" else sorted(rng.sample(every, -(-len(every) // _EVERY)))
    return [Damage(file, at, bytes([1 << rng.randrange(8)])) for at in chosen]


def silent_flips(kind: str, silent: Mapping[str, list[range]], scale: Scale) -> list[Damage]:
    """Single bits of what nobody reads of the files of a kind: one of each so many bytes."""
    rng = random.Random(f"{_SEED} {kind}, silent")
    every = [(file, part) for file, parts in silent.items() for part in parts]
    size = sum(len(part) for _, part in every)
    drawn = rng.choices(every, [len(part) for _, part in every], k=-(-size // _EVERY_SILENT[scale])) if every else []
    return [Damage(file, rng.choice(part), bytes([1 << rng.randrange(8)])) for file, part in drawn]


PART = Part("flips", "whatever bit is flipped, it is found before it is believed", run)
