"""What will the next commit say?  The changes that a writer has collected, and the facts that they become.

Recording is a function of what was collected and of the commit before: it may be done again if the index had to grow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mctree.format.commits import Commit, array_fact
from mctree.format.facts import GistSetRecord, LinkRecord
from mctree.format.keys import Table, block_page_key, death_key, source_digest, u32, u64, version_key
from mctree.format.records import BLOCK_DTYPE, BLOCKS_PER_PAGE, encode_death
from mctree.storage.index import Writing
from mctree.tree.building import GistBuilder
from mctree.tree.gists import gist_sets
from mctree.tree.images.book import Book
from mctree.tree.links import end_link, put_link
from mctree.tree.placing import OpenDocument

__all__ = ["Pending", "Removed"]


@dataclass(frozen=True, slots=True)
class Removed:
    """A document that the next commit ends.

    Attributes:
        source: the name of its source.
        runs: its runs of blocks, each [first, stop).
        tokens: the real tokens of each run.
        has_tail: whether it has an unfinished block.
        tail_tokens: how many tokens that holds.
    """

    source: bytes
    runs: list[tuple[int, int]]
    tokens: list[int]
    has_tail: bool
    tail_tokens: int


@dataclass(slots=True)
class Pending:
    """Changes beside those of open documents and of gists.

    Attributes:
        removed: documents to end, by number.
        links: links to enter, or to end (None), by number.
        settings: what settings say from now on, by name.
        blobs: blobs to keep, by digest.
        sets: records of gist sets, by number; an empty one ends the set.
        stamps: what was seen of inputs, by digest of their names; an empty one forgets it.
        refreshed: for gist sets, up to which commit's deaths their gists account.
    """

    removed: dict[int, Removed] = field(default_factory=dict)
    links: dict[int, LinkRecord | None] = field(default_factory=dict)
    settings: dict[bytes, bytes] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    sets: dict[int, bytes] = field(default_factory=dict)
    stamps: dict[bytes, bytes] = field(default_factory=dict)
    refreshed: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.removed or self.links or self.settings or self.blobs or self.sets or self.stamps or self.refreshed
        )

    def record(
        self,
        index: Writing,
        old: Commit,
        *,
        blocks: int,
        records: tuple[int, bytes],
        documents: Mapping[int, OpenDocument],
        builders: Mapping[int, GistBuilder],
        images: Book,
        numbers: Mapping[str, int],
    ) -> Commit:
        """Put all facts of a commit.

        Args:
            index: the transaction that becomes the commit.
            old: the commit before.
            blocks: blocks placed from now on.
            records: the number of a page of block records, and the payloads of all pages from it on, joined.
            documents: documents that may have changed, by number.
            builders: what appended to gist sets, by number.
            images: what is new of images.
            numbers: the next free number of each kind.

        Returns:
            The commit's record.  Its arrays and tables are those of the transaction, which may still change.
        """
        _put_blocks(index, *records)
        dead_blocks, dead_tokens = self._put_removals(index) if self.removed else (0, 0)
        created, tokens = _put_documents(index, documents)
        if self:
            self._put_small_facts(index)
        added = {} if images.unused else images.record(index)
        for number in self.removed:
            index.end_version(Table.IMAGE, u64.pack(number))  # what changed of it before it was removed is put by now
        refreshed = old.refreshed
        if self or builders or added:
            refreshed = self._put_gist_sets(index, old, builders, added)
        return Commit(
            number=index.number,
            parent=old.number,
            time_ns=time.time_ns(),
            blocks=blocks,
            tokens=old.tokens + tokens - dead_tokens,
            documents=old.documents + created - len(self.removed),
            dead_blocks=old.dead_blocks + dead_blocks,
            arrays=index.arrays,
            refreshed=refreshed,
            next=dict(numbers),
            tables=index.tables,
        )

    def put_stamps(self, index: Writing) -> None:
        """Put the stamps, which no commit depends on."""
        for item, payload in self.stamps.items():
            if payload:
                index.put(Table.STAMP + item, payload)
            else:
                index.delete(Table.STAMP + item)

    def _put_removals(self, index: Writing) -> tuple[int, int]:
        """Let documents and their blocks die; how many blocks, and real tokens, did."""
        runs: list[tuple[int, int, int]] = []
        tokens = 0
        for number, removed in self.removed.items():
            key = u64.pack(number)
            index.end_version(Table.DOCUMENT, key)
            index.end_version(Table.SOURCE, source_digest(removed.source) + key)
            if removed.has_tail:
                index.end_version(Table.TAIL, key)
            tokens += removed.tail_tokens
            runs += [(*run, n) for run, n in zip(removed.runs, removed.tokens, strict=True)]
        joined: list[tuple[int, int, int]] = []
        for start, stop, n in sorted(runs):
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], stop, joined[-1][2] + n)
            else:
                joined.append((start, stop, n))
        for start, stop, n in joined:
            index.put(death_key(index.number, start), encode_death(stop, n))
        return sum(stop - start for start, stop, _ in joined), tokens + sum(n for _, _, n in joined)

    def _put_small_facts(self, index: Writing) -> None:
        for number, link in self.links.items():
            if link is None:
                end_link(index, number)
            else:
                put_link(index, number, link)
        for name, payload in self.settings.items():
            index.put_version(Table.SETTING, name, payload)
        for digest, data in self.blobs.items():
            index.put(Table.BLOB + digest, data)
        self.put_stamps(index)

    def _put_gist_sets(
        self, index: Writing, old: Commit, builders: Mapping[int, GistBuilder], images: Mapping[int, tuple[int, ...]]
    ) -> dict[int, int]:
        """Record gist sets and their new levels; up to which commits' deaths their gists account."""
        refreshed = dict(old.refreshed)
        for number, payload in self.sets.items():
            if not payload:
                ended = gist_sets(index, old.number)[number]
                for array in (*ended.levels, *ended.images):
                    index.end_version(Table.ARRAY, u32.pack(array))
                    index.arrays.pop(array, None)
                refreshed.pop(number, None)
            else:
                refreshed.setdefault(number, old.number)
            index.put_version(Table.GIST_SET, u32.pack(number), payload)
        for number, builder in builders.items():
            for array, layout in builder.added.items():
                index.put_version(Table.ARRAY, u32.pack(array), array_fact(layout))
            if builder.added:
                _put_levels(index, number, levels=builder.record.levels)
        for number, added in images.items():
            _put_levels(index, number, images=added)
        return {**refreshed, **self.refreshed}


def _put_levels(
    index: Writing,
    number: int,
    levels: tuple[int, ...] | None = None,
    images: tuple[int, ...] | None = None,
) -> None:
    """Let a gist set have other arrays, of the timeline or of images, if this commit does not end it."""
    payload = index.version(Table.GIST_SET, u32.pack(number), index.number)
    if payload is not None:
        record = GistSetRecord.decode(payload)
        record = replace(record, levels=levels or record.levels, images=images or record.images)
        index.put_version(Table.GIST_SET, u32.pack(number), record.encode())


def _put_blocks(index: Writing, page: int, payloads: bytes) -> None:
    """Put pages of block records from number `page` on, of which the last may be unfinished."""
    size = BLOCKS_PER_PAGE * BLOCK_DTYPE.itemsize
    for number, start in enumerate(range(0, len(payloads), size), page):
        index.put(block_page_key(number), payloads[start : start + size])


def _put_documents(index: Writing, documents: Mapping[int, OpenDocument]) -> tuple[int, int]:
    """Record documents and what was appended to them; how many are new, and their new tokens."""
    created = tokens = 0
    for number, document in documents.items():
        key, changes = u64.pack(number), document.changes
        if document.new:
            # Its number is new, so these facts have no earlier version to end.
            named = version_key(Table.SOURCE, source_digest(document.source) + key, index.number)
            index.put(named, b"\x01" + document.source)
            index.put(version_key(Table.DOCUMENT, key, index.number), document.record.encode())
            created += 1
        elif changes.record:
            index.put_version(Table.DOCUMENT, key, document.record.encode())
        for ordinal, run in changes.runs.items():
            index.put(Table.RUN + key + u64.pack(ordinal), run.encode())
        for start, original in changes.originals:
            index.put(Table.ORIGINAL + key + u64.pack(start), original.encode())
        if changes.tail and (document.has_tail or document.waiting):
            index.put_version(Table.TAIL, key, document.tail.encode() if document.waiting else b"")
        tokens += changes.tokens
    return created, tokens
