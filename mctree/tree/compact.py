"""How does a store get rid of what is dead?  It is written anew without its dead blocks, as its next epoch.

Live blocks keep their order, their tokens and their provenance; documents keep their numbers.  Addresses are new, so
gists are made again, and links follow their spans to where they are now (one whose span is dead goes).  Snapshots of
the old epoch stay what they were for as long as somebody holds them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, UsageError
from mctree.format.commits import Meta
from mctree.format.facts import LinkRecord
from mctree.format.images import ARENA
from mctree.format.keys import Table
from mctree.format.records import BLOCK
from mctree.storage.creation import remove_store
from mctree.storage.epochs import compacting_path, replace_epoch
from mctree.tree.gists import DEFAULT_SET, default_set, gist_sets
from mctree.tree.images.moving import copy_images
from mctree.tree.intact import intact_blocks, intact_index
from mctree.tree.placing import OpenDocument
from mctree.tree.retention import KEEP
from mctree.tree.snapshot import Snapshot
from mctree.tree.writer import Writer

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["compact"]

Progress = Callable[[int, int], None]
_BLOCKS_AT_ONCE = 1 << 14
_ORIGINALS_AT_ONCE = 16 << 20
"""Bytes of originals, compressed, that may wait for a commit."""
_FAR = 1 << 57


def compact(tree: Tree, *, progress: Progress | None = None) -> None:
    """Write a tree anew without its dead blocks.

    Args:
        tree: the tree; nobody may be writing to it.
        progress: called now and then with (blocks written, live blocks).

    Raises:
        LockedError: somebody is writing.
        UsageError: a gist set's encoder is the caller's own and was not passed to `mctree.open`.
        CorruptError: the index, or a live block, is not what was committed; the tree stays as it was.
    """
    with closing(tree.writer()) as old:
        snapshot = old.snapshot
        for view in snapshot.gist_sets():
            if "text" in view.record.modalities and tree.known_encoder(view.record) is None:
                raise UsageError(
                    f"gist set {view.name!r} was made by an encoder that is not known here; "
                    "pass it to `mctree.open(…, encoders=[…])`, or drop the set"
                )
        intact_index(snapshot)
        path = compacting_path(tree.path)
        remove_store(path)
        meta = snapshot.store.meta
        new = tree.next_epoch(
            path,
            Meta(meta.store, meta.epoch + 1, time.time_ns(), meta.chunk_bytes),
            first=snapshot.commit + 1,
            settings={KEEP: _setting(snapshot, KEEP)},
            numbers={**snapshot.record.next, "graft": 0, "arena": snapshot.gallery.places.end},
        )
        try:
            with new, closing(new.writer()) as writer:
                moved = _copy_blocks(snapshot, writer, progress)
                _copy_links(snapshot, writer, moved)
                _copy_stamps(snapshot, writer)
                _copy_sets(snapshot, writer)
                copy_images(snapshot, writer, moved.block)
                writer.next.finish_epoch()
                # The new epoch's lock is still held: nobody writes to it before it stands in its place.
                replace_epoch(snapshot.store)
        except BaseException:
            if not snapshot.store.moved:
                remove_store(path)
            raise


def _copy_blocks(snapshot: Snapshot, writer: Writer, progress: Progress | None) -> _Moved:
    runs: list[tuple[int, int, int]] = []
    last: dict[int, int] = {}
    for document in snapshot.documents():
        runs += [(run.block, run.blocks, document.id) for run in document.runs]
        last[document.id] = max((run.block for run in document.runs), default=-1)
    live = sum(blocks for _, blocks, _ in runs)
    finisher = _Finisher(snapshot, writer)
    opened: dict[int, OpenDocument] = {}
    done = 0
    old_starts, new_starts, lengths = [], [], []
    for number, block in last.items():
        if block < 0:
            finisher.finish(writer.next.adopt(snapshot.document(number).record, number))
    for block, blocks, number in sorted(runs):
        if number not in opened:
            opened[number] = writer.next.adopt(snapshot.document(number).record, number)
        for first in range(block, block + blocks, _BLOCKS_AT_ONCE):
            n = min(_BLOCKS_AT_ONCE, block + blocks - first)
            tokens, records = intact_blocks(snapshot, first, first + n, snapshot.world.geometry)
            old_starts.append(first)
            new_starts.append(opened[number].adopt(tokens.astype(np.uint32), records))
            lengths.append(n)
            done += n
            if last[number] == block and first + n == block + blocks:
                finisher.finish(opened.pop(number))
            if writer.pending_blocks >= _BLOCKS_AT_ONCE:
                writer.commit(gists=False)
                if progress is not None:
                    progress(done, live)
    # What is not placed yet keeps its distance from what is.
    old_starts.append(snapshot.blocks)
    new_starts.append(writer.snapshot.blocks + writer.pending_blocks)
    lengths.append(_FAR)
    return _Moved(*(np.array(column, np.int64) for column in (old_starts, new_starts, lengths)))


class _Finisher:
    """Gives copied documents what they have beside their blocks: records, tails and original bytes.

    Original bytes are committed whenever a certain amount of them waits, as all that waits is held in memory.
    """

    def __init__(self, snapshot: Snapshot, writer: Writer) -> None:
        self._snapshot = snapshot
        self._writer = writer
        self._waiting = 0

    def finish(self, document: OpenDocument) -> None:
        old = self._snapshot.document(document.id)
        for start, original in old.originals():
            document.adopt_original(start, original)
            self._waiting += len(original.packed)
            if self._waiting >= _ORIGINALS_AT_ONCE:
                self._writer.commit(gists=False)
                self._waiting = 0
        document.finish_adoption(old.record, old.tail)


def _copy_links(snapshot: Snapshot, writer: Writer, moved: _Moved) -> None:
    for link in snapshot.all_links():
        spans = []
        for space, start, stop in (link.source, link.target):
            span = _elsewhere(snapshot, space, start, stop) if space else moved.span(start, stop)
            if span is not None:
                spans.append((space, *span))
        if len(spans) == 2:
            writer.next.put_link(link.id, LinkRecord(spans[0], spans[1], link.kind, link.score))


def _elsewhere(snapshot: Snapshot, space: int, start: int, stop: int) -> tuple[int, int] | None:
    """A span outside the timeline, which stays where it is, or None if it begins in an image that is gone."""
    given = space == ARENA and start < snapshot.record.arena
    return None if given and snapshot.gallery.places.at(np.array([start]))[0] < 0 else (start, stop)


def _copy_stamps(snapshot: Snapshot, writer: Writer) -> None:
    with snapshot.reading() as index:
        for digest, payload in index.scan(Table.STAMP):
            writer.next.put_stamp(digest, payload)


def _copy_sets(snapshot: Snapshot, writer: Writer) -> None:
    with snapshot.reading() as index:
        sets, chosen = gist_sets(index, snapshot.commit), default_set(index, snapshot.commit)
        blobs = {record.blob: index.get(Table.BLOB + record.blob) for record in sets.values()}
    for digest, data in blobs.items():
        if data is None:
            raise CorruptError(f"the encoder {digest.hex()[:12]} of a gist set is missing; run `mctree verify`")
        writer.next.put_blob(digest, data)
    for number, record in sets.items():
        writer.next.put_set(number, replace(record, levels=(), images=()))
    if chosen in sets:
        writer.next.put_setting(DEFAULT_SET, _setting(snapshot, DEFAULT_SET))
    writer.commit(gists=False)


def _setting(snapshot: Snapshot, name: bytes) -> bytes:
    with snapshot.reading() as index:
        return index.version(Table.SETTING, name, snapshot.commit) or b""


class _Moved:
    """Where runs of blocks went: old first block, new first block, and how many, each `int64 [n]`, in old order."""

    def __init__(self, old: NDArray[np.int64], new: NDArray[np.int64], length: NDArray[np.int64]) -> None:
        self._old = old
        self._new = new
        self._length = length

    def block(self, block: int) -> int:
        """Where a live block is now."""
        at = int(np.searchsorted(self._old, block, side="right")) - 1
        return int(self._new[at]) + block - int(self._old[at])

    def span(self, start: int, stop: int) -> tuple[int, int] | None:
        """Where the live part of a span of positions is now, or None if nothing of it lives."""
        ends = self._old + self._length
        first = int(np.searchsorted(ends * BLOCK, start, side="right"))
        last = int(np.searchsorted(self._old * BLOCK, stop, side="left")) - 1
        if first > last:
            return None
        shift = (self._new - self._old) * BLOCK
        return (
            int(max(start, int(self._old[first]) * BLOCK) + shift[first]),
            int(min(stop, int(ends[last]) * BLOCK) + shift[last]),
        )
