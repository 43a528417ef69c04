"""What will the next commit hold, and how is it made?  All that a writer has collected, put together in one step.

Belongs to one `Writer`, which lets one call at a time reach it.  What it holds (documents, gists, images, and the facts
beside them) is each in the hands of a part that knows how it becomes rows and records; here they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.commits import Commit
from mctree.format.facts import DocumentRecord, GistSetRecord, LinkRecord
from mctree.format.keys import Table
from mctree.format.values import number
from mctree.storage.index import Writing, whole_table
from mctree.storage.leases import held_commits
from mctree.storage.session import Session
from mctree.tree.building import GistBuilder
from mctree.tree.gistwork import GistWork
from mctree.tree.images.painting import Painter
from mctree.tree.opened import OpenedDocuments
from mctree.tree.pending import Pending
from mctree.tree.placing import OpenDocument
from mctree.tree.retention import KEEP, Freed, collect, forget_all
from mctree.tree.timeline import Timeline
from mctree.tree.upcoming import Upcoming

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["NextCommit"]

_COLLECT_EVERY = 16
"""Every how many commits old ones are collected, whichever writer makes them."""


class NextCommit:
    """What one writer is about to commit.

    Args:
        tree: the tree.
        session: what writes.

    Attributes:
        session: the same.
        snapshot: the newest commit, wherever it goes.
        timeline: what was placed since.
        opened: the documents that are worked on.
        painter: what works on images.
    """

    def __init__(self, tree: Tree, session: Session) -> None:
        self.session = session
        self.snapshot = tree.snapshot()
        self.timeline = Timeline(self.snapshot.blocks, session.check)
        self.opened = OpenedDocuments(tree, self.snapshot, self.timeline)
        self._upcoming = Upcoming(session, self.snapshot, self.timeline, self.opened)
        self._numbers = dict(self.snapshot.record.next)
        self._pending = Pending(removed=self.opened.removed)
        self.painter = Painter(tree, session, self.snapshot, self.opened, self._numbers, self._commit)
        self._whole_commit = session.whole("a commit")
        self._gists = GistWork(tree, session, self.snapshot, self.painter.book, lambda: self.take_number("array"))

    @property
    def pending(self) -> Pending:
        """Changes beside those of documents, of gists and of images."""
        return self._pending

    @property
    def new_blocks(self) -> int:
        """Blocks placed since the newest commit."""
        return self.timeline.new

    def take_number(self, kind: str) -> int:
        """The next free number of a kind, which is taken with that."""
        number = self._numbers[kind]
        self._numbers[kind] = number + 1
        return number

    # Making it

    def make_gists(self) -> None:
        """Make the gists of all blocks placed so far; see `Writer.make_gists`."""
        # Found without writing anything: where one is damaged that they build on, the writer can go on.
        behind = self._gists.behind(self._upcoming, self._pending, all_of_them=True)
        with self.session.whole("making gists"):
            self._gists.catch_up(behind, self._upcoming)

    def commit(self, *, gists: bool | None) -> int:
        """Make everything since the last commit durable and visible; see `Writer.commit`."""
        # As above.
        behind = [] if gists is False else self._gists.behind(self._upcoming, self._pending, all_of_them=gists is True)
        with self._whole_commit:
            self._gists.catch_up(behind, self._upcoming)
            return self._commit() if self._has_changes() else self.snapshot.commit

    def close(self) -> None:
        """Give up the writer's lock; what was not committed is forgotten."""
        self.session.close()
        self.snapshot.close()

    # Gist sets and settings

    def put_setting(self, name: bytes, payload: bytes) -> None:
        """Let a setting say something from the next commit on."""
        self._pending.settings[name] = payload

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Keep a blob under its digest."""
        self._pending.blobs[digest] = data

    def begin_set(self, record: GistSetRecord) -> int:
        """Record a new gist set; returns its number."""
        number = self.take_number("gist_set")
        self.put_set(number, record)
        return number

    def put_set(self, number: int, record: GistSetRecord | None) -> None:
        """Record a gist set under a number (None ends it)."""
        self._pending.sets[number] = b"" if record is None else record.encode()
        self._gists.recorded(number, record)
        if record is None:
            self.painter.book.forget_set(number)

    def builder(self, number: int) -> GistBuilder | None:
        """What appends to a gist set, or None if its encoder cannot be made here."""
        return self._gists.builder(number)

    def advance(self, number: int, stop: int) -> int:
        """Make the gists of a set up to block `stop`; the next commit holds them.

        Returns:
            How many blocks have gists then.
        """
        builder = self.builder(number)
        if builder is None:
            raise UsageError("the gist set's encoder is not known here; pass it to `mctree.open(…, encoders=[…])`")
        with self.session.whole("making gists"):
            self._gists.append(number, builder, self._upcoming, min(stop, self._upcoming.blocks))
        return builder.blocks

    def cover_images(self, number: int, budget: int) -> bool:
        """Make gists of a set for images that lack some, of so many blocks of pixels at most.

        Returns:
            Whether there may be more to do.
        """
        record = self._gists.record(number)
        if record is None:
            raise NotFoundError("the gist set was dropped while it was built; build it again")
        return self.painter.cover(number, record, budget)

    def block_tokens(self, first: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The tokens of blocks, committed or about to be, and how many of each are real."""
        return self._upcoming.block_tokens(first, stop)

    def refreshed(self, number: int, commit: int) -> None:
        """Record that a set's gists account for all deaths up to a commit."""
        self._pending.refreshed[number] = commit

    # Taking over an older epoch

    def adopt(self, record: DocumentRecord, number: int) -> OpenDocument:
        """Begin a document of another epoch under the number that it has there."""
        return self.opened.begin(number, record)

    def put_link(self, number: int, record: LinkRecord) -> None:
        """Enter a link under the number that it has in another epoch."""
        self._pending.links[number] = record

    def put_stamp(self, digest: bytes, payload: bytes) -> None:
        """Take over a stamp: the digest of the item's name, and the record; none forgets it."""
        self._pending.stamps[digest] = payload

    def finish_epoch(self) -> None:
        """Make the commit that others will see first, with all gists; the steps up to it open no more."""
        with self._whole_commit:
            self._gists.catch_up(self._gists.behind(self._upcoming, self._pending, all_of_them=True), self._upcoming)
            self._commit(forget_all)

    # Parts of it

    def _collecting(self) -> Callable[[Writing], Freed]:
        """What collects old commits in the transaction of the next one."""
        # Looked at before the transaction begins: what was condemned in an earlier one is free if nobody holds it now.
        held = held_commits(self.session.store.at)
        return lambda index: collect(index, self._keep(index), held)

    def _commit(self, collecting: Callable[[Writing], Freed] | None = None) -> int:
        if collecting is None and not self.session.number % _COLLECT_EVERY:
            collecting = self._collecting()
        if self.painter.book.slots_changed:
            self._gists.refresh_slots(self._upcoming, self._pending)
        records = self._upcoming.append_rows()
        freed: Freed | None = None

        def record(index: Writing) -> Commit:
            nonlocal freed
            commit = self._pending.record(
                index,
                self.session.newest,
                blocks=self.timeline.blocks,
                records=records,
                documents=self.opened.changed,
                builders=self._gists.builders,
                images=self.painter.book,
                numbers=self._numbers,
            )
            freed = None if collecting is None else collecting(index)
            return commit

        commit = self.session.commit(record)
        if freed is not None:
            self.session.remove(freed.generations, freed.arrays)
        self._upcoming.committed()
        self.opened.committed()
        self._gists.committed(self._pending, self.painter.book)
        self.painter.book.committed()
        if self._pending:
            self._pending = Pending(removed=self.opened.removed)
        self.snapshot.advance(commit)
        return commit.number

    def _has_changes(self) -> bool:
        return bool(
            self.timeline.new
            or self._pending
            or self.painter.book
            or self._gists.has_grown()
            or any(document.changes for document in self.opened.changed.values())
        )

    def _keep(self, index: Writing) -> int:
        payload = index.version(Table.SETTING, KEEP, index.number)
        keep = 0 if payload is None else number(payload, 4, "the setting of how much is kept")
        # Where a setting is lost, nothing may go because of that: if it is this one, it may have said more than it did
        # before, and every store has it from its creation on.
        return keep if whole_table(index, Table.SETTING, index.tables) is not None else 0
