"""Can a flipped bit go unnoticed?  Each bit of each file of a small store, one at a time; and whole files (`mislaid`).

For each flip the store is opened anew and verified, and then put right again.  A flip is *found* if opening refuses the
store, or if `verify` tells of it and names what it hits: the very node, source and bytes where a row is hit, a node or
a source where a record of the index is.  It is *harmless* if `verify` is silent and whatever the store shows at any of
its commits is what it showed before.  Anything else is a failure: something that changed, or cannot be shown, while
`verify` is silent; an alarm over bytes that nobody reads; the wrong place; a process that dies.

Where nobody reads is found out first: bytes that are changed all at once, a stretch at a time, and nothing comes of it.
Of the bits of such stretches some are tried one by one as well, for what is changed all at once might go unnoticed
where one bit would not.  All others are tried (long), or one of each so many bytes (quick).
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path

from tools.crash.damage import Damage, Verdict, in_children
from tools.crash.mislaid import mislay
from tools.crash.parts import Part, Result, Row, Say, Scale, Wants, everything, timed
from tools.crash.specimen import ADVISORY, Specimen

__all__ = ["PART", "flips", "kinds", "run", "stretches"]

_STRETCHES: dict[Scale, tuple[int, ...]] = {"quick": (32768, 4096, 512, 128), "long": (32768, 4096, 512, 32)}
_STRETCHES_OF_ROWS = tuple(32768 >> n for n in range(11))
"""Of files that begin with what is read, and hold nothing behind it: halves of halves find the end soon."""
_SEED = 20
_EVERY = 64
"""In the quick form, one of so many bytes is tried."""
_EVERY_SILENT: dict[Scale, int] = {"quick": 1 << 15, "long": 1 << 9}
"""Of so many bytes that nobody reads one is tried."""
_EVERY_THING = 8
"""In the quick form, one of so many things is done to whole files."""


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Flip bits of every kind of file."""
    path, stages = scratch / "specimen.mctree", list[Path]()

    def stage() -> None:
        stages.append(Path(shutil.copytree(path, scratch / f"stage {len(stages)}")))

    specimen = Specimen.make(path, stage)
    start = time.monotonic()
    result = Result()
    if wants("files lost, cut, resized, swapped, put back"):
        result.rows.append(mislay(specimen, stages, every=1 if scale == "long" else _EVERY_THING))
        result.rows[0].seconds = time.monotonic() - start
    for kind, files in kinds(specimen).items():
        row = Row(f"bits of {kind}")
        if not wants(row.what):
            continue
        result.rows.append(row)
        with timed(row):
            counts: Counter[Verdict] = Counter()
            silent = 0
            for file in files:
                lengths = _STRETCHES_OF_ROWS if file in specimen.places else _STRETCHES[scale]
                read, unread = stretches(specimen, file, lengths)
                silent += 8 * unread
                good = {Verdict.HARMLESS} if file in ADVISORY else {Verdict.HARMLESS, Verdict.FOUND, Verdict.REFUSED}
                for damage, verdict in in_children(specimen, flips(file, read, scale)):
                    counts[verdict] += 1
                    if verdict not in good:
                        row.failures.append(f"{damage}: {verdict.name.lower().replace('_', ' ')}")
                for damage, verdict in in_children(specimen, silent_flips(specimen, file, read, scale)):
                    if verdict is not Verdict.HARMLESS:
                        row.failures.append(f"{damage}, where nobody reads: {verdict.name.lower().replace('_', ' ')}")
        row.points = counts.total() + silent
        found = counts[Verdict.FOUND] + counts[Verdict.REFUSED]
        row.notes = f"{found} found, {counts[Verdict.HARMLESS]} harmless, and {silent} where nobody reads"
        say(f"{row.what}: {row.points} points, {len(row.failures)} failures, {row.seconds:.0f} s")
    return result


def kinds(specimen: Specimen) -> dict[str, list[str]]:
    """The files of a store by what they are for."""
    found: dict[str, list[str]] = {}
    for file in specimen.files:
        name = file.rpartition("/")[2]
        if file.startswith("generations/"):
            kind = "an older generation"
        elif name.startswith("c."):
            kind = "gists" if file.startswith("gists/") else f"`{file.rpartition('/')[0]}`"
        elif name == "data.mdb":
            kind = "the index"
        else:
            kind = "`zarr.json`" if name == "zarr.json" else f"`{file}`"
        found.setdefault(kind, []).append(file)
    return found


def stretches(specimen: Specimen, file: str, lengths: tuple[int, ...]) -> tuple[list[range], int]:
    """Where a file is read, by stretches of these lengths.

    Returns:
        Stretches of bytes some of which somebody reads, and how many bytes nobody does.
    """
    size = specimen.size(file)
    asked = [range(size)]
    for length in lengths:
        parts = [
            range(start, min(start + length, part.stop))
            for part in asked
            for start in range(part.start, part.stop, length)
        ]
        damages = [Damage(file, part.start, b"\xff" * len(part)) for part in parts]
        verdicts = in_children(specimen, damages)
        asked = [part for part, (_, verdict) in zip(parts, verdicts, strict=True) if verdict is not Verdict.HARMLESS]
    return asked, size - sum(len(part) for part in asked)


def flips(file: str, parts: list[range], scale: Scale) -> list[Damage]:
    """Single bits of some stretches of a file: each of them, or one of each so many bytes."""
    if scale == "long":
        return [Damage(file, at, bytes([1 << bit])) for part in parts for at in part for bit in range(8)]
    rng = random.Random(f"{_SEED} {file}")
    every = [at for part in parts for at in part]
    chosen = sorted(rng.sample(every, -(-len(every) // _EVERY)))
    return [Damage(file, at, bytes([1 << rng.randrange(8)])) for at in chosen]


def silent_flips(specimen: Specimen, file: str, parts: list[range], scale: Scale) -> list[Damage]:
    """Single bits of a file outside of some stretches: one of each so many bytes."""
    rng = random.Random(f"{_SEED} {file}, silent")
    within = {at for part in parts for at in part}
    silent = [at for at in range(specimen.size(file)) if at not in within]
    chosen = sorted(rng.sample(silent, -(-len(silent) // _EVERY_SILENT[scale])))
    return [Damage(file, at, bytes([1 << rng.randrange(8)])) for at in chosen]


PART = Part("flips", "whatever bit is flipped, it is found before it is believed", run)
