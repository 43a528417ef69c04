"""What if somebody who knows of no damage goes on writing?  To a copy of a small store that was damaged, each time.

A writer appends, changes an image, removes, makes and refreshes gists, and compacts; see `tools.crash.trial` for how it
is judged what is left.  The store keeps all its commits; one that collects them is tried in `tools.crash.collected`.
"""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np

import mctree
from mctree.format.keys import Table
from mctree.sources.images import Box
from tools.crash import collected
from tools.crash.damage import Damage
from tools.crash.index_bytes import IndexBytes
from tools.crash.mislaid import changes_of, some_of
from tools.crash.naming import INDEX
from tools.crash.parts import Part, Result, Say, Scale, Wants, everything
from tools.crash.records import bit_of, in_records
from tools.crash.specimen import Specimen, is_advisory, kind_of
from tools.crash.trial import Point, Steps, Trial, tried

__all__ = ["PART", "STEPS", "bits_of", "run"]

_SEED = 31
_TRIED = Table.CHUNK, Table.DOCUMENT, Table.RUN, Table.TAIL, Table.COMMIT, Table.IMAGE
"""Of these tables the quick form damages a record."""
_EVERY_PAGE_BYTE: dict[Scale, int] = {"quick": 400, "long": 3}
"""Of so many bytes of pages that are of no record one is tried."""


def _append(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.add("new", b"appended to what may be damaged, " * 12)
        writer.reopen("stream").write(b"and a tail that goes on, " * 3)
        writer.commit(gists=False)


def _change(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.change_image("icon", np.full((4, 4, 1), 200, np.uint8), Box(2, 2, 6, 6))
        writer.commit(gists=False)


def _remove(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.remove("Capitals")
        writer.link((0, 32), (64, 96), kind="late")
        writer.commit(gists=False)


def _make_gists(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.commit(gists=True)


def _refresh(tree: mctree.Tree) -> None:
    tree.refresh_gists("kept")


STEPS: Steps = {
    "append": _append,
    "change an image": _change,
    "remove": _remove,
    "make gists": _make_gists,
    "refresh": _refresh,
    "compact": mctree.Tree.compact,
}
"""What the writer does; the store is judged before the last and after it."""


def bits_of(specimen: Specimen, scale: Scale) -> dict[str, list[Damage]]:
    """Single bits: of the index, of rows, and of metadata."""
    rng = random.Random(_SEED)
    spots = IndexBytes(Path(specimen.path, INDEX).read_bytes()).spots
    pages = sorted(at for at, spot in spots.items() if spot.key is None)
    records = list(in_records(specimen.path))
    if scale == "long":
        index = [damage for _, damages in records for damage in damages]
    else:
        of_tables = [[damages for key, damages in records if key[:1] == table] for table in _TRIED]
        index = [rng.choice(rng.choice(damages)) for damages in of_tables]
    index += [bit_of(at, rng) for at in rng.sample(pages, len(pages) // _EVERY_PAGE_BYTE[scale])]
    rows = []
    kinds: dict[str, list[str]] = {}
    for file in sorted(specimen.naming.rows):
        kinds.setdefault(kind_of(file), []).append(file)
    for files in kinds.values():
        for file in files if scale == "long" else [rng.choice(files)]:
            size, whole = specimen.naming.rows[file].size, specimen.naming.rows[file].bytes
            starts = range(0, whole, size) if size > 1 else range(0, whole, 16)
            chosen = starts if scale == "long" else [rng.choice(starts)]
            rows += [Damage(file, at + rng.randrange(size), bytes([1 << rng.randrange(8)])) for at in chosen]
    metadata = [file for file in specimen.files if kind_of(file) == "`zarr.json`"]
    described = [
        Damage(file, rng.randrange(specimen.size(file)), bytes([1 << rng.randrange(8)]))
        for file in (metadata if scale == "long" else [rng.choice(metadata)])
    ]
    return {"the index": index, "rows": rows, "`zarr.json`": described}


def run(scale: Scale, scratch: Path, say: Say, wants: Wants = everything) -> Result:
    """Damage a store, and let a writer loose on it."""
    path, stages = scratch / "specimen.mctree", list[Path]()

    def stage() -> None:
        stages.append(Path(shutil.copytree(path, scratch / f"stage {len(stages)}")))

    specimen = Specimen.make(path, stage)
    groups = {
        f"written to, after a bit of {what} was flipped": [Point(one.file, f"{one}", one.do) for one in damages]
        for what, damages in bits_of(specimen, scale).items()
    }
    changes = [change for change in changes_of(specimen, stages) if not is_advisory(change.file)]
    if scale == "quick":
        changes = list(some_of(changes, turns=1))
    groups["written to, after a file was lost, cut, resized, swapped, put back"] = [
        Point(change.file, change.what, change.do) for change in changes
    ]
    result = Result()
    for what, points in groups.items():
        if wants(what):
            result.rows.append(tried(what, Trial(specimen, STEPS), points, say))
    result.rows += collected.rows(scale, scratch, say, wants)
    return result


PART = Part(
    "unwary", "whoever writes to a damaged store neither drops a commit nor makes the damage pass for sound", run
)
