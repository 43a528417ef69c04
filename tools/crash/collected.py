"""What if old commits are collected, and what says which are needed is damaged?  Records of an index are lost, or flip.

The store is that of `tools.crash.specimen`, gone on with until the next commit frees what an earlier one condemned.  It
keeps the newest few commits, and once kept fewer; one commit stands apart, that was held when its neighbours were
condemned.  Documents were opened, closed, replaced and removed, sets dropped whose encoders others share, and a chunk
has generations that only condemned commits see.  A writer drops one more set, collects, refreshes, collects once more,
and appends; see `tools.crash.trial` for how it is judged what is left.
"""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mctree
from mctree.format.facts import Stamp
from mctree.format.keys import Table, checked_key
from mctree.format.values import describe
from tools.crash.naming import INDEX
from tools.crash.parts import Row, Say, Scale, Wants
from tools.crash.records import in_records, lose
from tools.crash.shown import shown
from tools.crash.specimen import ENCODERS, make, opened
from tools.crash.trial import Point, Steps, Trial, tried

__all__ = ["STEPS", "make_specimen", "rows"]

_SEED = 37
_EVERY = 16
"""Every so many commits old ones are collected."""
_KEPT = 4
_TRIED = Table.GIST_SET, Table.SETTING, Table.CONDEMNED, Table.GRAVE, Table.DOCUMENT, Table.CHUNK, Table.COMMIT
"""Of these tables the quick form loses a record."""
_BITS = 2
"""Of each record, so many bits are tried."""


def _newest(tree: mctree.Tree) -> int:
    with tree.snapshot() as snapshot:
        return snapshot.commit


def _go_on(tree: mctree.Tree, left: int = 1) -> None:
    """Make commits that change nothing a snapshot sees, until so many more are `left` to the next that collects."""
    while _newest(tree) % _EVERY < _EVERY - left:
        _commit(tree)


def _commit(tree: mctree.Tree) -> None:
    """Make one such commit.  If it should collect, it is this that is refused or done, and no other with it."""
    with closing(tree.writer()) as writer:
        writer.stamp(b"age", Stamp(writer.snapshot.commit, 0, 0, 0, 0, b""))
        writer.commit(gists=False)


def _drop(tree: mctree.Tree) -> None:
    tree.drop_gists("twin")


def _refresh(tree: mctree.Tree) -> None:
    tree.refresh_gists("kept")


def _append(tree: mctree.Tree) -> None:
    with closing(tree.writer()) as writer:
        writer.add("new", b"appended to what may be damaged, " * 12)
        writer.reopen("stream").write(b"and a tail that goes on, " * 3)
        writer.commit(gists=True)


STEPS: Steps = {
    "drop a set": _drop,
    "go on": _go_on,
    "collect": _commit,
    "refresh": _refresh,
    "go on again": _go_on,
    "collect again": _commit,
    "append": _append,
}
"""What the writer does; the store is judged before the last and after it."""


@dataclass(frozen=True, slots=True)
class Aged:
    """The specimen as it was when it was whole; see `tools.crash.trial.Victim`."""

    path: str
    before: dict[str, object]
    committed: dict[str, int]


def make_specimen(path: Path) -> Aged:
    """Make the specimen, of which the next commits collect."""
    make(str(path))
    with mctree.open(path, encoders=ENCODERS) as tree:
        tree.keep(1)
        tree.build_gists(ENCODERS[1], "twin", default=False)
        tree.build_gists(ENCODERS[1], "triplet", default=False)
        with tree.writer() as writer:
            writer.begin("passing").write(b"comes and goes, " * 9)
        with tree.writer() as writer:
            writer.reopen("passing").close()
        held = tree.snapshot()
        with tree.writer() as writer:
            writer.remove("passing")
        tree.drop_gists("triplet")
        _go_on(tree)
        _commit(tree)
        held.close()
        tree.keep(_KEPT)
        with tree.writer() as writer:
            writer.remove("other")
            writer.reopen("stream").write(b"a tail for some time")
        tree.refresh_gists("kept")
        _go_on(tree, left=3)
        with tree.writer() as writer:
            writer.remove("long")
        tree.refresh_gists("kept")
    with opened(str(path)) as tree:
        return Aged(str(path), shown(tree), _committed(tree))


def _committed(tree: mctree.Tree) -> dict[str, int]:
    """How many bytes of each file of rows are committed: all, where none will be appended."""
    root = Path(tree.path)
    files = [*root.rglob("c.*"), *(root / "generations").iterdir()]
    found = {str(file.relative_to(root)): file.stat().st_size for file in files}
    with tree.snapshot() as snapshot:
        for array, state in snapshot.record.arrays.items():
            layout = tree.store.array(array, snapshot.commit)
            for chunk in range(layout.chunks(state.rows)):
                rows = min(state.rows - chunk * layout.rows_per_chunk, layout.rows_per_chunk)
                found[f"{layout.path}/{layout.chunk_key(chunk)}"] = rows * layout.row_bytes
    return found


def rows(scale: Scale, scratch: Path, say: Say, wants: Wants) -> list[Row]:
    """Damage the index, and let a writer collect."""
    lost, flipped = "collected, after a record of the index was lost", "collected, after a bit of the index was flipped"
    if not wants(lost) and not wants(flipped):
        return []
    specimen = make_specimen(scratch / "collected.mctree")
    rng = random.Random(_SEED)
    records = [record for record in in_records(specimen.path) if checked_key(record[0])]  # not lists of free pages
    if scale == "quick":
        of_tables = [[record for record in records if record[0][:1] == table] for table in _TRIED]
        records = [rng.choice(found) for found in of_tables]
    losses = [Point(INDEX, f"index record {describe(key)} is lost", partial(lose, key), key) for key, _ in records]
    bits = [
        Point(INDEX, f"{describe(key)}: {damage}", damage.do)
        for key, damages in (records if scale == "long" else records[:2])
        for damage in rng.sample(damages, _BITS if scale == "long" else 1)
    ]
    return [
        tried(what, Trial(specimen, STEPS), points, say)
        for what, points in ((lost, losses), (flipped, bits))
        if wants(what)
    ]
