"""What does a store hold, in numbers?  Collected once, for tables and JSON alike.

All of it follows from the commit's record, from arithmetic, and from one look at the folder, so it costs about the same
for any store; only the bytes of all sources are a sum over documents, and are left out where those are very many.
"""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mctree import Snapshot, Tree
from mctree.cli.escaping import escape, one_line
from mctree.cli.formatting import when
from mctree.errors import CorruptError
from mctree.geometry import TEXT, intervals
from mctree.tree import GistView
from mctree.tree.images.slots import root_rows

__all__ = ["LevelCount", "SetCount", "Summary", "disk_bytes", "stale_nodes", "summarise"]

_SUMMED_DOCUMENTS = 100_000
_DISK_BLOCK = 512


@dataclass(frozen=True, slots=True)
class LevelCount:
    """How many nodes of a level exist, and how many positions one spans."""

    level: int
    nodes: int
    width: int


@dataclass(frozen=True, slots=True)
class SetCount:
    """A gist set.

    Attributes:
        nodes: how many nodes of LOD1, LOD2 … of the timeline have a gist.
        image_nodes: rows of gists of LOD0, LOD1 … of images, those of images that are gone included.
        waiting: blocks, and images, that could have a gist and have none yet.
        stale: how many gists are stale, of the timeline and of images.
    """

    name: str
    kind: str
    dim: int
    dtype: str
    fingerprint: str
    default: bool
    nodes: list[int]
    image_nodes: list[int]
    waiting: int
    stale: int

    @property
    def gists(self) -> int:
        """All of them."""
        return sum(self.nodes) + sum(self.image_nodes)

    def json(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "name": self.name,
            "encoder": self.kind,
            "dim": self.dim,
            "dtype": self.dtype,
            "fingerprint": self.fingerprint,
            "default": self.default,
            "nodes": self.nodes,
            "image_nodes": self.image_nodes,
            "waiting": self.waiting,
            "stale": self.stale,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A store at a commit.

    Attributes:
        source_bytes: None where they were not summed.
        images: how many of the documents are images.
        pixels: of all images, those that are not there included.
        placed_tokens: those that are not in tails.
        tokenizer: its kind; None for a store of bare tokens, and where there is a fault.
        tokenizer_fault: what is damaged of it, if anything.
        vocabulary: None where the store does not say.
    """

    path: str
    store: str
    epoch: int
    commit: int
    time_ns: int
    documents: int
    source_bytes: int | None
    images: int
    pixels: int
    tokens: int
    placed_tokens: int
    blocks: int
    dead_blocks: int
    tokenizer: str | None
    tokenizer_fault: str | None
    vocabulary: int | None
    commits: int
    oldest: int
    disk: int
    levels: list[LevelCount]
    sets: list[SetCount]

    def json(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "path": escape(os.fsencode(self.path)),
            "store": self.store,
            "epoch": self.epoch,
            "commit": self.commit,
            "time": when(self.time_ns, utc=True),
            "documents": self.documents,
            "source_bytes": self.source_bytes,
            "images": self.images,
            "pixels": self.pixels,
            "tokens": self.tokens,
            "placed_tokens": self.placed_tokens,
            "blocks": self.blocks,
            "dead_blocks": self.dead_blocks,
            "tokenizer": self.tokenizer,
            "tokenizer_fault": self.tokenizer_fault,
            "vocabulary": self.vocabulary,
            "commits": self.commits,
            "oldest_commit": self.oldest,
            "disk_bytes": self.disk,
            "levels": [{"level": at.level, "nodes": at.nodes, "positions_per_node": at.width} for at in self.levels],
            "gist_sets": [each.json() for each in self.sets],
        }


def summarise(snapshot: Snapshot) -> Summary:
    """Collect the numbers of a snapshot."""
    tree, record, meta = snapshot.tree, snapshot.record, snapshot.store.meta
    commits = tree.commits()
    default = snapshot.default_gists
    levels = _levels(snapshot)
    tokenizer, fault, vocabulary = _tokenizer(tree)
    grafts = snapshot.gallery.places.grafts
    return Summary(
        path=tree.path,
        store=meta.store.hex(),
        epoch=meta.epoch,
        commit=snapshot.commit,
        time_ns=record.time_ns,
        documents=snapshot.documents_count,
        source_bytes=_source_bytes(snapshot),
        images=len(grafts),
        pixels=sum(map(operator.mul, grafts["width"].tolist(), grafts["height"].tolist())),
        tokens=snapshot.tokens_count,
        placed_tokens=levels[-1].nodes,
        blocks=snapshot.blocks,
        dead_blocks=record.dead_blocks,
        tokenizer=tokenizer,
        tokenizer_fault=fault,
        vocabulary=vocabulary,
        commits=len(commits),
        oldest=commits[0].number if commits else snapshot.commit,
        disk=disk_bytes(tree.path),
        levels=levels,
        sets=[_set_count(snapshot, view, default) for view in snapshot.gist_sets()],
    )


def stale_nodes(snapshot: Snapshot, view: GistView) -> int:
    """How many gists of nodes that exist are stale in a set."""
    total = view.stale_in_images()
    for level in range(1, view.levels + 1):
        index = np.arange(view.rows(level), dtype=np.int64)
        index = index[view.stale(level, index)]
        total += int(np.count_nonzero(snapshot.world.exists(level, index)))
    return total


def disk_bytes(path: str) -> int:
    """Bytes that a folder takes on disk; holes in its files take none."""
    total, folders = 0, [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * _DISK_BLOCK
        except FileNotFoundError:
            continue  # a writer replaced it meanwhile
    return total


def _tokenizer(tree: Tree) -> tuple[str | None, str | None, int | None]:
    """Its kind, what is damaged of it, and the size of its vocabulary, as far as the store tells."""
    vocabulary = None
    try:
        vocabulary = tree.vocabulary
        made = tree.tokenizer
    except CorruptError as error:
        return None, one_line(str(error)), vocabulary
    return None if made is None else one_line(made.kind), None, vocabulary


def _levels(snapshot: Snapshot) -> list[LevelCount]:
    """Coarsest first."""
    above = [LevelCount(level, _existing(snapshot, level), TEXT.width(level)) for level in range(snapshot.top, 0, -1)]
    placed = snapshot.world.tokens_before(np.array([snapshot.blocks]))[0]
    return [*above, LevelCount(0, int(placed), 1)]


def _existing(snapshot: Snapshot, level: int) -> int:
    complete = TEXT.complete(level, snapshot.positions)
    return int(intervals.measure(snapshot.world.geometry.existing(TEXT, level, 0, complete)))


def _set_count(snapshot: Snapshot, view: GistView, default: str | None) -> SetCount:
    return SetCount(
        name=one_line(view.name),
        kind=one_line(view.record.kind),
        dim=view.dim,
        dtype=one_line(view.record.dtype),
        fingerprint=one_line(view.record.fingerprint),
        default=view.name == default,
        nodes=[view.present(level) for level in range(1, view.levels + 1)],
        image_nodes=[snapshot.state(array).rows for array in view.record.images],
        waiting=_waiting(snapshot, view),
        stale=stale_nodes(snapshot, view),
    )


def _waiting(snapshot: Snapshot, view: GistView) -> int:
    waiting = max(snapshot.blocks - view.rows(1), 0) if "text" in view.record.modalities else 0
    encoder = snapshot.tree.visual_encoder(view.record, snapshot.store)
    if encoder is None:
        return waiting
    grafts = snapshot.gallery.places.grafts
    grafts = grafts[grafts["channels"] == encoder.channels]
    return waiting + int(np.count_nonzero(root_rows(view.record, grafts, snapshot.gallery.pages.find)[0] < 0))


def _source_bytes(snapshot: Snapshot) -> int | None:
    if snapshot.documents_count > _SUMMED_DOCUMENTS:
        return None
    total = 0
    for _, number, record in islice(snapshot.sources(), _SUMMED_DOCUMENTS):
        total += snapshot.document(number).size if record.open else record.size
    return total
