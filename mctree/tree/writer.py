"""How is a tree changed?  One writer at a time collects documents, removals and links, and commits them together.

Nothing that a writer does is seen by anybody before `commit` returns, and all of it is from then on, whatever happens
to the process or the machine.  A writer that is closed without a commit, or whose process dies, leaves the tree as it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import Commit, DocumentRecord, GistSetRecord, LinkRecord, Stamp
from mctree.format.keys import Table, source_digest, u32
from mctree.format.records import BLOCK
from mctree.geometry import World
from mctree.storage.chunks import row_sums
from mctree.storage.index import Writing
from mctree.storage.leases import held_commits
from mctree.storage.session import Session
from mctree.tree.building import GistBuilder
from mctree.tree.gists import gist_sets
from mctree.tree.links import checked_link, has_link
from mctree.tree.pending import Pending, Removed
from mctree.tree.placing import OpenDocument, Timeline, checked_locator, new_record
from mctree.tree.retention import KEEP, KEEP_DEFAULT, Freed, collect
from mctree.tree.snapshot import BEFORE, COUNT, LOD0, Snapshot, as_source
from mctree.tree.world import Deaths, TimelineWorld

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Writer"]

_GIST_LAG = 256
"""Blocks that may wait for their gists from one commit to the next, so that small appends stay cheap."""
_COLLECT_EVERY = 16
"""Every how many commits old ones are collected, whichever writer makes them."""


class Writer:
    """The one writer of a tree; made by `Tree.writer`, used as a `with` block that commits at its end.

    Documents that were begun and not closed stay open in the tree: `reopen` continues them, today or in years.
    """

    def __init__(self, tree: Tree, session: Session) -> None:
        self.tree = tree
        self._session = session
        self._snapshot = tree.snapshot()
        self._timeline = Timeline(self._snapshot.blocks)
        self._next = dict(self._snapshot.record.next)
        self._documents: dict[int, OpenDocument] = {}
        self._changed: dict[int, OpenDocument] = {}
        self._sources: dict[bytes, int] = {}
        self._pending = Pending()
        self._builders: dict[int, GistBuilder] = {}
        self._sets: dict[int, GistSetRecord] | None = None
        self._placed_tokens = self._count_placed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.commit(gists=True)
        finally:
            self.close()

    # Documents

    def begin(
        self,
        source: bytes | str,
        *,
        locator: Mapping[str, int | str] | None = None,
        media: str = "text",
        replace: bool = False,
    ) -> OpenDocument:
        """Start a new document.

        Args:
            source: the name of where it comes from; no two live documents share one.
            locator: where inside a container it lies.
            media: what it is.
            replace: the document of that source, if there is one, is superseded: its blocks die in the same commit.

        Raises:
            UsageError: a live document has that source, and `replace` was not given.
        """
        name = as_source(source)
        previous = self._live(name)
        record = new_record(name, locator, media, previous)
        if previous and not replace:
            shown = name.decode("utf-8", "backslashreplace")
            raise UsageError(f"source {shown!r} has a live document already; reopen it, or replace it")
        if previous:
            self.remove(previous)
        number = self._take_number("document")
        document = OpenDocument(
            number, record, self._timeline, self.tree.tokenizer, self.tree.vocabulary, finished=self._finished
        )
        self._sources[name] = number
        self._documents[number] = self._changed[number] = document
        return document

    def reopen(self, which: int | bytes | str, *, locator: Mapping[str, int | str] | None = None) -> OpenDocument:
        """Go on appending to a committed document: an open one goes on in its tail, a closed one in a new block.

        Args:
            which: its number, or its source.
            locator: where inside a container it lies now; None: where it lay.

        Raises:
            NotFoundError: there is no such live document.
        """
        number = self._number(which)
        known = self._documents.get(number)
        if known is not None:
            if not known.open:
                raise UsageError(f"document {number} was closed since the last commit; commit before reopening it")
            return known
        found = self._snapshot.document(number)
        document = OpenDocument(
            found.id,
            replace(
                found.record,
                open=True,
                size=found.size,
                tokens=0,
                digest=b"",
                locator=found.record.locator if locator is None else checked_locator(locator),
            ),
            self._timeline,
            self.tree.tokenizer,
            self.tree.vocabulary,
            runs=found.runs,
            tail=found.tail,
            start=found.placed_size if found.tail is None else found.tail.start,
            size=found.size,
            tokens=found.tokens,
            finished=self._finished,
        )
        document.changes.record = not found.open or locator is not None
        self._documents[found.id] = self._changed[found.id] = document
        return document

    def add(
        self,
        source: bytes | str,
        data: bytes | str | Iterable[bytes],
        *,
        locator: Mapping[str, int | str] | None = None,
        replace: bool = False,
    ) -> int:
        """Append a whole document.

        Returns:
            Its number.
        """
        before = self._timeline.blocks
        document = self.begin(source, locator=locator, replace=replace)
        try:
            for piece in [data] if isinstance(data, bytes | str) else data:
                document.write(piece)
            document.close()
        except BaseException:
            self._abandon(document, before)
            raise
        return document.id

    def remove(self, which: int | bytes | str) -> None:
        """Let a document be gone from the next commit on; older snapshots still see it.

        Raises:
            NotFoundError: there is no such live document.
            UsageError: it has changes that are not committed.
        """
        number = self._number(which)
        known = self._documents.get(number)
        if known is not None and known.changes:
            raise UsageError(f"document {number} has changes that are not committed; commit before removing it")
        found = self._snapshot.document(number)
        runs = [(run.block, run.block + run.blocks) for run in found.runs]
        tokens = [self._snapshot.world.placed(start, stop) for start, stop in runs]
        tail = found.tail
        self._pending.removed[found.id] = Removed(
            found.source, runs, tokens, has_tail=tail is not None, tail_tokens=0 if tail is None else len(tail.tokens)
        )
        if known is not None:
            known.discard()
        self._documents.pop(found.id, None)
        self._changed.pop(found.id, None)

    def link(
        self,
        source: tuple[int, int],
        target: tuple[int, int],
        *,
        kind: str,
        score: float = 1.0,
        spaces: tuple[int, int] = (0, 0),
    ) -> int:
        """Link two spans of LOD0 positions, each [start, stop).

        Returns:
            The link's number.

        Raises:
            UsageError: a span is empty or out of range, the score is not in [0, 1], or the kind is no text.
        """
        record = checked_link(source, target, kind, score, spaces)
        number = self._take_number("link")
        self._pending.links[number] = record
        return number

    def unlink(self, number: int) -> None:
        """Let a link be gone from the next commit on.

        Raises:
            NotFoundError: there is no such link.
        """
        if number in self._pending.links and self._pending.links[number] is not None:
            del self._pending.links[number]
            return
        with self._snapshot.reading() as index:
            if number in self._pending.links or not has_link(index, number, self._snapshot.commit):
                raise NotFoundError(f"there is no link {number}")
        self._pending.links[number] = None

    def stamp(self, item: bytes, stamp: Stamp | None) -> None:
        """Remember what was seen of an input, so that a sync can skip it (None: forget it)."""
        self._pending.stamps[source_digest(item)] = b"" if stamp is None else stamp.encode()

    def stamp_of(self, item: bytes) -> Stamp | None:
        """What is remembered of an input, or is about to be."""
        pending = self._pending.stamps.get(source_digest(item))
        if pending is None:
            return self._snapshot.stamp(item)
        return Stamp.decode(pending) if pending else None

    def keep_stamps(self) -> None:
        """Make the stamps given since the last commit durable without a commit: no snapshot depends on them."""
        if self._pending.stamps:
            self._session.jot(self._pending.put_stamps)
            self._pending.stamps.clear()

    @property
    def pending_blocks(self) -> int:
        """Blocks placed since the last commit."""
        return self._timeline.blocks - self._snapshot.blocks

    # Commits

    def commit(self, *, gists: bool | None = None) -> int:
        """Make everything since the last commit durable and visible, in one step.

        Args:
            gists: also make the gists of all new blocks; None: only if many wait for theirs, so that small appends stay
                cheap.

        Returns:
            The number of the newest commit; the old one if there was nothing to commit.

        Raises:
            WriterFailedError: it could not be made; reopen the tree to see what was committed.
        """
        self._session.check()
        with self._session.whole("a commit"):
            return self._commit(gists)

    def _commit(self, gists: bool | None) -> int:
        self._make_gists(gists)
        if not self._has_changes():
            return self._snapshot.commit
        grid, records = self._timeline.placed()
        if len(grid):
            self._append_rows(grid, records)
        # Looked at before the transaction begins: what was condemned in an earlier one is free if nobody holds it now.
        collecting = self._session.number % _COLLECT_EVERY == 0
        held = held_commits(self._session.store.at) if collecting else None
        freed = Freed()

        def record(index: Writing) -> Commit:
            nonlocal freed
            commit = self._pending.record(
                index,
                self._snapshot.record,
                blocks=self._timeline.blocks,
                records=records,
                documents=self._changed,
                builders=self._builders,
                numbers=self._next,
            )
            freed = collect(index, self._keep(index), held) if collecting else Freed()
            return commit

        commit = self._session.commit(record)
        self._session.remove(freed.generations, freed.arrays)
        self._placed_tokens += int(records["count"].sum(dtype=np.int64))
        self._forget()
        self._snapshot.advance(commit)
        return commit.number

    def close(self) -> None:
        """Give up the writer's lock; what was not committed is forgotten."""
        self._session.close()
        self._snapshot.close()

    # Within the room: gist sets and settings

    def put_setting(self, name: bytes, payload: bytes) -> None:
        """Let a setting say something from the next commit on."""
        self._pending.settings[name] = payload

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Keep a blob under its digest."""
        self._pending.blobs[digest] = data

    def put_set(self, number: int | None, payload: bytes) -> int:
        """Record a gist set, a new one if no number is given (an empty payload ends it)."""
        number = self._take_number("gist_set") if number is None else number
        self._pending.sets[number] = payload
        builder = self._builders.pop(number, None)
        if builder is not None and not payload:
            for array in builder.record.levels:
                self._session.drop_array(array)
        return number

    def builder(self, number: int) -> GistBuilder | None:
        """What appends to a gist set, or None if its encoder cannot be made here."""
        if number not in self._builders:
            found = self._gist_sets().get(number)
            encoder = None if found is None else self.tree.known_encoder(found)
            if found is None or encoder is None:
                return None
            self._builders[number] = GistBuilder(
                self._session,
                found,
                encoder,
                lambda: self._take_number("array"),
                self._snapshot.rows,
            )
        return self._builders[number]

    def advance(self, number: int, stop: int) -> int:
        """Make the gists of a set up to block `stop`; the next commit holds them.

        Returns:
            How many blocks have gists then.
        """
        builder = self.builder(number)
        if builder is None:
            raise UsageError("the gist set's encoder is not known here; pass it to `mctree.open(…, encoders=[…])`")
        with self._session.whole("making gists"):
            builder.append(min(stop, self._timeline.blocks), self.world(), self.block_tokens)
        return builder.blocks

    @property
    def session(self) -> Session:
        """What writes."""
        return self._session

    @property
    def snapshot(self) -> Snapshot:
        """The newest commit."""
        return self._snapshot

    def refreshed(self, number: int, commit: int) -> None:
        """Record that a set's gists account for all deaths up to a commit."""
        self._pending.refreshed[number] = commit

    # Within the room: taking over an older epoch

    def reserve(self, numbers: Mapping[str, int]) -> None:
        """Give out no document, gist set or link number below those that another epoch has given out."""
        for kind in ("document", "gist_set", "link"):
            self._next[kind] = max(self._next[kind], numbers[kind])

    def adopt(self, record: DocumentRecord, number: int) -> OpenDocument:
        """Begin a document of another epoch under the number that it has there."""
        document = OpenDocument(
            number, record, self._timeline, self.tree.tokenizer, self.tree.vocabulary, finished=self._finished
        )
        self._documents[number] = self._changed[number] = document
        return document

    def put_link(self, number: int, record: LinkRecord) -> None:
        """Enter a link under the number that it has in another epoch."""
        self._pending.links[number] = record

    def put_stamp(self, digest: bytes, payload: bytes) -> None:
        """Take over a stamp of another epoch: the digest of the item's name, and the record."""
        self._pending.stamps[digest] = payload

    # Parts of a commit

    def _has_changes(self) -> bool:
        arrays = self._snapshot.record.arrays
        grown = any(
            self._session.array(array).rows != (arrays[array].rows if array in arrays else 0)
            for builder in self._builders.values()
            for array in builder.record.levels
        )
        return bool(
            grown
            or self._timeline.blocks > self._snapshot.blocks
            or self._pending
            or any(document.changes for document in self._changed.values())
        )

    def _append_rows(self, grid: NDArray[np.uint32], records: NDArray[np.void]) -> None:
        first = self._snapshot.blocks
        counts = records["count"]
        stored = grid.astype(self._session.array(LOD0).layout.numpy)
        records["sum"] = row_sums(stored)
        self._session.append(LOD0, stored.reshape(-1))
        self._session.append(COUNT, counts.astype(np.uint8))
        groups = slice(-first % BLOCK, None, BLOCK)
        if groups.start < len(counts):
            before = self._placed_tokens + np.cumsum(counts, dtype=np.uint64) - counts
            self._session.append(BEFORE, before[groups])

    def _make_gists(self, gists: bool | None) -> None:
        if gists is False:
            return
        for number, record in self._gist_sets().items():
            if number in self._pending.sets:
                continue
            array = record.levels[0] if record.levels else None
            done = 0 if array is None else self._session.array(array).rows
            waiting = self._timeline.blocks - done
            if waiting > 0 and (gists or waiting >= _GIST_LAG) and self.builder(number) is not None:
                self.advance(number, self._timeline.blocks)

    def _keep(self, index: Writing) -> int:
        payload = index.version(Table.SETTING, KEEP, index.number)
        return KEEP_DEFAULT if payload is None else int(u32.unpack(payload)[0])

    def _forget(self) -> None:
        for document in self._changed.values():
            document.committed()
        self._timeline.clear()
        self._changed = {n: d for n, d in self._documents.items() if d.open}
        self._documents = dict(self._changed)
        self._sources.clear()
        if self._pending.sets or any(builder.added for builder in self._builders.values()):
            self._sets = None
        self._pending = Pending()
        for builder in self._builders.values():
            builder.added.clear()

    def _gist_sets(self) -> dict[int, GistSetRecord]:
        """The gist sets of the newest commit, read once."""
        if self._sets is None:
            with self._snapshot.reading() as index:
                self._sets = gist_sets(index, self._snapshot.commit)
        return self._sets

    # Looking at what is there and what is about to be

    def world(self) -> World:
        """What exists once this commit is made."""
        runs = [run for removed in self._pending.removed.values() for run in removed.runs]
        pending = np.array(runs, np.int64).reshape(-1, 2) * BLOCK
        dead = np.concatenate([self._snapshot.world.deaths.intervals, pending])
        return World(positions=self._timeline.blocks * BLOCK, dead=dead)

    def block_tokens(self, first: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The tokens of blocks, committed or about to be, and how many of each are real."""
        old = self._snapshot.blocks
        grids, counts = [], []
        if first < old:
            last = min(stop, old)
            grids.append(self._snapshot.tokens(first * BLOCK, last * BLOCK).astype(np.uint32).reshape(-1, BLOCK))
            counts.append(self._snapshot.counts(first, last).astype(np.int64))
        if stop > old:
            grid, records = self._timeline.placed()
            grids.append(grid[max(first - old, 0) : stop - old])
            counts.append(records["count"][max(first - old, 0) : stop - old].astype(np.int64))
        return np.concatenate(grids), np.concatenate(counts)

    def _count_placed(self) -> int:
        snapshot = self._snapshot
        everything = TimelineWorld(snapshot.blocks, Deaths.none(), snapshot.rows(BEFORE), snapshot.rows(COUNT))
        return int(everything.tokens_before(np.array([snapshot.blocks]))[0])

    def _live(self, source: bytes) -> int:
        """The live document of a source, committed or about to be (0: none)."""
        if source in self._sources:
            return self._sources[source]
        number = self._snapshot.number(source)
        return 0 if number in self._pending.removed else number

    def _number(self, which: int | bytes | str) -> int:
        """The number of a live document, committed or about to be.

        Raises:
            NotFoundError: there is none.
        """
        number = which if isinstance(which, int) else self._live(as_source(which))
        if not number or number in self._pending.removed:
            shown = which if isinstance(which, int) else as_source(which).decode("utf-8", "backslashreplace")
            raise NotFoundError(f"there is no live document {shown!r}; `mctree docs` lists them")
        return number

    def _abandon(self, document: OpenDocument, blocks: int) -> None:
        """Forget a document that was begun since the last commit, and the blocks placed since; nobody saw them."""
        document.discard()
        self._timeline.truncate(blocks)
        self._documents.pop(document.id, None)
        self._changed.pop(document.id, None)
        self._sources.pop(document.source, None)
        self._pending.removed.pop(document.record.previous, None)

    def _finished(self, document: OpenDocument) -> None:
        self._changed[document.id] = document

    def _take_number(self, kind: str) -> int:
        number = self._next[kind]
        self._next[kind] = number + 1
        return number
