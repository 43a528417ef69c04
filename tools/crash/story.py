"""What does a store of texts live through?  Each step of its short life, and what of it is counted on.

Creation, appends, streams with tails, gist sets that are built, refreshed and dropped, documents that are superseded
and removed, links, stamps that no commit holds, another number of commits to keep, collection and compaction, the last
two while somebody holds a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mctree.format.facts import Stamp
from mctree.testing.edits import Edit
from mctree.testing.model import ModelLink
from mctree.testing.toys import ToyEncoder

__all__ = ["ACTS", "HELD", "KEPT", "KEPT_LATER", "SETS", "STEPS", "Kind", "Step", "text"]

KEPT, KEPT_LATER = 3, 6
"""How many commits are kept, and how many from one of the steps on."""
SETS = {"toy": ToyEncoder(dim=64), "small": ToyEncoder(dim=4, seed=1)}
"""A gist of `toy` takes 256 bytes, so that 256 of them fill a chunk."""

HELD = {"collection": -4, "compaction": 0}
"""The acts through which a snapshot is held, and of which one of the commits that open when they begin.

Both times of the one with which `notes` is replaced again: a generation of gists that ended with the next commit is
kept for it alone, while the commits around it are freed, and the epoch that holds both outlives two compactions.
"""

Kind = Literal["create", "commit", "jot", "keep", "build", "refresh", "choose", "drop", "compact"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done between two acknowledgements.

    Attributes:
        act: steps of one act are done with one open tree; consecutive commits among them by one writer.
        name: what it is acknowledged as.
        kind: what is done.
        stamps: what is remembered of inputs (None: nothing any more): by a commit, or durably without one ("jot").
        edits: for a commit: edits before it.
        link: for a commit: two spans to link.
        unlink: for a commit: the number of a link to end.
        gists: for a commit: whether it makes gists (see `Writer.commit`).
        gist_set: which set is built, refreshed, chosen or dropped.
    """

    act: str
    name: str
    kind: Kind = "commit"
    edits: tuple[Edit, ...] = ()
    stamps: tuple[tuple[bytes, Stamp | None], ...] = ()
    link: ModelLink | None = None
    unlink: int | None = None
    gists: bool = True
    gist_set: str = "toy"


def text(seed: int, size: int) -> bytes:
    """So many bytes of letters and blanks."""
    letters = np.frombuffer(b"abcdefgh ijklmno pqrstuvw\n", np.uint8)
    return np.random.default_rng(seed).choice(letters, size).tobytes()


def _steps() -> Iterator[Step]:
    yield Step("creation", "created", "create")

    added = (Edit("add", b"report", text(1, 180 * 32 - 7)), Edit("add", b"empty"), Edit("add", b"notes", text(2, 70)))
    yield Step("append", "first documents", edits=added)
    yield Step("append", "two more", edits=(Edit("add", b"log", text(3, 60 * 32)), Edit("add", b"raw", b"\xff\0" * 50)))

    yield Step("gists", "toy built", "build")
    grown = (Edit("add", b"book", text(4, 40 * 32 + 5)), Edit("begin", b"chat/a"), Edit("write", b"chat/a", text(5, 9)))
    yield Step("gists", "gists in a second chunk", edits=grown)

    yield Step(
        "stream", "b begins", edits=(Edit("begin", b"chat/b"), Edit("write", b"chat/b", text(6, 31))), gists=False
    )
    for i in range(6):
        said = (Edit("write", b"chat/a", text(10 + i, 11)), Edit("write", b"chat/b", text(20 + i, 3 + 13 * i)))
        yield Step("stream", f"words {i}", edits=said, gists=i % 2 == 1)
    yield Step("stream", "b ends", edits=(Edit("close", b"chat/b"),))

    replaced = (Edit("add", b"notes", text(30, 90), replace=True), Edit("remove", b"log"))
    spans = ModelLink((0, 640), (6000, 6500), "about", 0.5)
    yield Step("supersede", "notes replaced, log removed", edits=replaced, link=spans)
    yield Step("supersede", "raw replaced", edits=(Edit("add", b"raw", text(31, 40 * 32), replace=True),), gists=False)
    yield Step("supersede", "another link", link=ModelLink((100, 101), (64, 4000), "see", 1.0))

    yield Step("refresh", "toy refreshed", "refresh")
    yield Step("refresh", "book replaced", edits=(Edit("add", b"book", text(32, 35 * 32), replace=True),), unlink=1)
    yield Step("refresh", "toy refreshed again", "refresh")

    yield Step("sets", "small built", "build", gist_set="small")
    yield Step("sets", "small chosen", "choose", gist_set="small")
    yield Step("sets", "toy dropped", "drop")
    again = (Edit("remove", b"empty"), Edit("add", b"notes", text(33, 80), replace=True))
    yield Step("sets", "empty removed, notes replaced again", edits=again)
    yield Step("sets", "small refreshed", "refresh", gist_set="small")

    one, other = (Stamp(size, size + 1, size + 2, size + 3, size + 4, bytes([size]) * 32) for size in (70, 90))
    yield Step("stamps", "stamped", "jot", stamps=((b"report", one), (b"notes", one)))
    yield Step("stamps", "words between", edits=(Edit("write", b"chat/a", text(39, 21)),), stamps=((b"book", one),))
    yield Step("stamps", "stamped again", "jot", stamps=((b"report", None), (b"notes", other), (b"book", other)))
    yield Step("stamps", "more kept", "keep")

    # Up to commit 48: older ones are condemned with 16 and 32, and freed with the next of these.
    for i in range(10):
        yield Step(
            "collection", f"last words {i}", edits=(Edit("write", b"chat/a", text(40 + i, 37)),), gists=i % 3 == 0
        )
    for i in range(12):
        seen = Stamp(i, i + 1, i + 2, i + 3, i + 4, bytes([i]) * 32)
        yield Step("collection", f"stamped once more {i}", stamps=((b"report", seen),), gists=False)

    yield Step("compaction", "compacted", "compact")
    between = (Edit("add", b"notes", text(58, 70), replace=True), Edit("write", b"chat/a", text(59, 40)))
    yield Step("compaction", "words in a new epoch", edits=between)
    yield Step("compaction", "compacted again", "compact")
    yield Step(
        "afterwards", "an epilogue", edits=(Edit("add", b"epilogue", text(60, 20 * 32)), Edit("close", b"chat/a"))
    )
    yield Step("afterwards", "report replaced", edits=(Edit("add", b"report", text(61, 32 * 32), replace=True),))
    yield Step("afterwards", "small refreshed after all", "refresh", gist_set="small")


STEPS: tuple[Step, ...] = tuple(_steps())
ACTS: tuple[str, ...] = tuple(dict.fromkeys(step.act for step in STEPS))
