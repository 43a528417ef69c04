"""Is everything that was committed still there, and unchanged?  One pass over the index, the files and what joins them.

Each check yields problems as (where, what, kind), with the node, the source and the bytes that are hit where there
are any; the command line only prints them.  Files are read with `pread`, never mapped.  What is looked at:

* every index record against its checksum, every table against the counts and sums of the newest commit, every blob
  against its digest;
* the tokenizer and the encoders: whether they can be made again;
* every chunk of every generation that a commit may need: there, of the right size, and every committed row in it
  against its checksum;
* the real tokens of each block, and those before it, against its record;
* blocks, runs, documents and deaths against each other, and the newest commit's counts against all of them;
* images: their rows and kept pixels against checksums, in every version that a commit may need, their records against
  each other, each of their levels against the one below;
* the bytes of every live document against its digest;
* the shapes and types that other Zarr readers see, also of what only older commits do.

First of all the pages of the index are looked at: where one is damaged nothing else can be, for a scan that came upon
it would end the process.  What LMDB itself reports is passed on as a problem.  Nothing is changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mctree.errors import CorruptError, MctreeError, UsageError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import Commit, array_layout
from mctree.format.keys import Table, parse_grave, u32
from mctree.format.records import BLOCKS_PER_PAGE
from mctree.format.values import describe
from mctree.format.zarr import array_metadata, group_metadata, root_metadata
from mctree.storage.audit import bad_records, small_file, sound_records
from mctree.storage.index import table_sums
from mctree.storage.pages import PageFault, damaged_pages
from mctree.tree.gists import last_seen
from mctree.tree.hits import hit_by, node_between
from mctree.tree.images.check import check_images
from mctree.tree.problem import Problem
from mctree.tree.row_checks import BLOCKS_AT_ONCE, Looked, at_blocks, check_blocks, check_gists
from mctree.tree.snapshot import Snapshot

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Problem", "verify"]

_MOST_PROBLEMS = 1000
_PASSES = 3
_ADVICE = "; run `mctree verify`"
"""Many errors end with it, and nobody who is told of a problem needs it any more."""

Progress = Callable[[int, int], None]
"""(done, all): called now and then."""


def verify(tree: Tree, *, progress: Progress | None = None) -> Iterator[Problem]:
    """Check a tree at its newest commit, and whatever older commits that are kept need beside it.

    Args:
        tree: the tree.
        progress: called now and then with (blocks looked at, all); tokens, gists and bytes are three looks at each.

    Yields:
        What is wrong, as it is found; at most a thousand problems of each kind of check.
    """
    lost = False
    for fault in damaged_pages(tree.store):
        lost = lost or fault.lost
        yield _at_page(fault)
    if lost:
        return
    with tree.snapshot() as snapshot:
        looks = _Looks(_PASSES * snapshot.blocks, progress)
        for name, check in _CHECKS.items():
            found = 0
            try:
                for problem in check(snapshot, looks.add):
                    yield replace(problem, what=problem.what.removesuffix(_ADVICE))
                    found += 1
                    if found == _MOST_PROBLEMS:
                        yield Problem(name, f"more than {found} problems; the rest is left out", "limit")
                        break
            except (MctreeError, OSError) as error:
                yield Problem(name, str(error).removesuffix(_ADVICE), "unreadable")


class _Looks:
    """How many blocks were looked at, of how many."""

    def __init__(self, whole: int, progress: Progress | None) -> None:
        self._done = 0
        self._whole = whole
        self._progress = progress

    def add(self, blocks: int) -> None:
        """Say that so many more were."""
        self._done += blocks
        if self._progress is not None and blocks:
            self._progress(min(self._done, self._whole), self._whole)


def _index(snapshot: Snapshot, _: Looked) -> Iterator[Problem]:
    """Records against their checksums, tables against their sums, blobs against their digests."""
    with snapshot.reading() as index:
        for key, what in bad_records(index):
            hit = hit_by(snapshot, key)
            where = f"index record {describe(key)}"
            yield Problem(where, what, "record", hit.node, hit.source, hit.start, hit.stop)
        newest = index.commit()
        assert newest is not None, "the snapshot is of a commit"
        for tag, count, total in table_sums(index):
            wanted = newest.tables.get(tag, (0, 0))
            if (count, total) != wanted:
                what = f"holds {count} records where commit {newest.number} counted {wanted[0]}"
                if count == wanted[0]:
                    what = f"does not hold the records that commit {newest.number} summed up"
                yield Problem(f"index table {tag!r}", what, "table")
        for digest, payload in sound_records(index, Table.BLOB):
            if hashlib.blake2b(payload, digest_size=32).digest() != digest:
                yield Problem(f"blob {digest.hex()[:12]}", "is not what its digest says", "record")


def _codecs(snapshot: Snapshot, _: Looked) -> Iterator[Problem]:
    """Whether the tokenizer, and the encoders that mctree knows, can be made of what the store holds of them."""
    try:
        _made = snapshot.tree.tokenizer
    except MctreeError as error:
        yield Problem("tokenizer", f"cannot be made: {error}", "record")
    for view in snapshot.gist_sets():
        where = f"encoder of gist set {view.name!r}"
        try:
            if "text" in view.record.modalities:
                view.encoder()
            else:
                snapshot.tree.visual_encoder(view.record, snapshot.store)
        except CorruptError as error:
            yield Problem(where, f"cannot be made: {error}", "record")
        except UsageError:
            pass  # the caller's own


def _arrays(snapshot: Snapshot, _: Looked) -> Iterator[Problem]:
    """Metadata that other readers go by, also of arrays that only older commits see.

    How many rows these had in the end nobody knows: the commit that saw the last of them may be gone.
    """
    current = _layouts(snapshot)
    groups = _groups(current)
    yield from (problem for path in sorted(groups) for problem in _group(snapshot, path))
    for number, layout in current.items():
        yield from _array(snapshot, layout, partial(_rows_by_now, snapshot, number))
    older = _older_layouts(snapshot, current)
    found = [(path, problem) for path in sorted(_groups(older) - groups) for problem in _group(snapshot, path)]
    found += [(layout.path, problem) for layout in older.values() for problem in _array(snapshot, layout)]
    if found:
        # What only older commits saw may have been collected meanwhile.
        needed = _older_layouts(snapshot, current)
        paths = {layout.path for layout in needed.values()} | _groups(needed)
        yield from (problem for path, problem in found if path in paths)


def _group(snapshot: Snapshot, path: str) -> Iterator[Problem]:
    group = group_metadata() if path else root_metadata(*snapshot.store.identity, snapshot.store.meta.format)
    name = f"{path}/zarr.json" if path else "zarr.json"
    try:
        if json.loads(small_file(snapshot.store, name)) != json.loads(group):
            yield Problem(name, "is not the metadata of the group that the index has", "metadata")
    except (OSError, ValueError, RecursionError, MctreeError) as error:
        yield Problem(name, f"cannot be read: {error}", "metadata")


def _array(snapshot: Snapshot, layout: ArrayLayout, rows: Callable[[], int] | None = None) -> Iterator[Problem]:
    name = f"{layout.path}/zarr.json"
    try:
        metadata = json.loads(small_file(snapshot.store, name))
        shape = metadata.get("shape", [0]) if isinstance(metadata, dict) else [0]
        length = shape[0] if isinstance(shape, list) and shape and type(shape[0]) is int else -1
        wanted = json.loads(array_metadata(layout, length)) if length >= 0 else None
        if metadata != wanted:
            yield Problem(name, "does not describe the array that the index has", "metadata")
        elif rows is not None and length > (there := rows()):
            yield Problem(name, f"shows {length} rows of {there} committed ones", "metadata")
    except (OSError, ValueError, RecursionError, MctreeError) as error:
        yield Problem(name, f"cannot be read: {error}", "metadata")


def _rows_by_now(snapshot: Snapshot, array: int) -> int:
    """How many rows of an array are committed; somebody may have written meanwhile, and said so to other readers."""
    with snapshot.reading() as index:
        newest = index.commit()
    states = snapshot.record.arrays if newest is None else {**snapshot.record.arrays, **newest.arrays}
    return states[array].rows if array in states else 0


def _images(snapshot: Snapshot, _: Looked) -> Iterator[Problem]:
    """Images: rows, pieces and records."""
    yield from check_images(snapshot)


def _documents(snapshot: Snapshot, looked: Looked) -> Iterator[Problem]:
    """Documents against their blocks and digests."""
    readable = _is_readable(snapshot)
    for document in snapshot.documents():
        where = f"document {document.id}"
        position = placed = 0
        lives = True
        steps = (
            (first, min(BLOCKS_AT_ONCE, run.block + run.blocks - first))
            for run in document.runs
            for first in range(run.block, run.block + run.blocks, BLOCKS_AT_ONCE)
        )
        for first, count in steps:
            records = snapshot.block_records(first, count)
            blocks = np.arange(first, first + count)
            what = f"belongs to another document than {document.id}"
            yield from at_blocks(snapshot, blocks[records["document"] != document.id], what, "run")
            starts = np.concatenate([[position], records["stop"][:-1]])
            yield from at_blocks(snapshot, blocks[records["start"] < starts], "overlaps the block before it", "run")
            lives = lives and bool(snapshot.world.exists(1, blocks).all())
            position = int(records["stop"][-1])
            placed += int(records["count"].sum(dtype=np.int64))
            looked(count)
        if not lives:
            yield Problem(where, "is alive, but some of its blocks are dead", "document", source=document.source)
        if document.open:
            continue
        if placed != document.tokens:
            what = f"says {document.tokens} tokens, but its blocks hold {placed}"
            yield Problem(where, what, "document", source=document.source)
        if document.digest and readable:
            digest, size = hashlib.blake2b(digest_size=32), 0
            try:
                for piece in document.stream():
                    digest.update(piece)
                    size += len(piece)
            except CorruptError as error:
                yield Problem(where, str(error), "document", source=document.source, stop=document.size)
                continue
            if digest.digest() != document.digest or size != document.size:
                what = "does not read as the bytes that were ingested"
                yield Problem(where, what, "document", source=document.source, stop=document.size)


def _is_readable(snapshot: Snapshot) -> bool:
    try:
        return snapshot.tree.tokenizer is not None
    except MctreeError:
        return False  # which was said already


def _counts(snapshot: Snapshot, _: Looked) -> Iterator[Problem]:
    """The commit's own counts against what is there."""
    commit: Commit = snapshot.record
    documents = tokens = blocks = 0
    for document in snapshot.documents():
        documents += 1
        tokens += document.tokens
        blocks += document.blocks
    dead = sum(int(run["stop"]) - int(run["start"]) for run in snapshot.world.deaths.runs)
    for what, said, found in (
        ("live documents", commit.documents, documents),
        ("real tokens", commit.tokens, tokens),
        ("dead blocks", commit.dead_blocks, dead),
        ("live blocks", commit.blocks - commit.dead_blocks, blocks),
    ):
        if said != found:
            yield Problem(f"commit {commit.number}", f"says {said} {what}, but there are {found}", "commit")
    with snapshot.reading() as index:
        newest = index.commit() or commit
        pages = sum(1 for _ in index.scan(Table.BLOCKS))
        graves = [parse_grave(Table.GRAVE + key)[1] for key, _ in index.scan(Table.GRAVE)]
        missing = sum(1 for version in graves if index.get(version) is None)
    if pages != -(-newest.blocks // BLOCKS_PER_PAGE):
        yield Problem(f"commit {newest.number}", f"has {newest.blocks} blocks, but {pages} pages of records", "commit")
    if missing:
        yield Problem("index", f"{missing} graves name versions that are not there", "record")


def _groups(layouts: Mapping[int, ArrayLayout]) -> set[str]:
    """The groups above some arrays, the root as the empty path."""
    parts = [layout.path.split("/") for layout in layouts.values()]
    return {"/".join(one[:i]) for one in parts for i in range(len(one))}


def _layouts(snapshot: Snapshot) -> dict[int, ArrayLayout]:
    with snapshot.reading() as index:
        return {
            u32.unpack(key)[0]: array_layout(payload)
            for key, _, payload in index.versions(Table.ARRAY, snapshot.commit)
        }


def _older_layouts(snapshot: Snapshot, current: Mapping[int, ArrayLayout]) -> dict[int, ArrayLayout]:
    """Arrays that older commits see and this one does not."""
    with snapshot.reading() as index:
        layouts = {u32.unpack(key[:4])[0]: array_layout(payload) for key, payload in index.scan(Table.ARRAY) if payload}
        seen = last_seen(index, snapshot.record, layouts.keys() - current.keys())
    return {array: layouts[array] for array in seen}


def _at_page(fault: PageFault) -> Problem:
    """A problem of the index itself, with the first node whose record it hits."""
    where = f"page {fault.page} of the index"
    if not fault.lost:
        return Problem(where, f"{fault.what}, so that the next commit would destroy what is there", "page")
    last = "the end" if fault.high is None else describe(fault.high)
    first = describe(fault.low) if fault.low else "the first"
    what = f"{fault.what}, so that nothing that depends on records from {first} to {last} can be read"
    return Problem(where, what, "page", node_between(fault.low, fault.high))


_CHECKS: dict[str, Callable[[Snapshot, Looked], Iterator[Problem]]] = {
    "index": _index,
    "codecs": _codecs,
    "arrays": _arrays,
    "blocks": check_blocks,
    "gists": check_gists,
    "images": _images,
    "documents": _documents,
    "counts": _counts,
}
"""In this order; a check that itself fails is named by its name."""
