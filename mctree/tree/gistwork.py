"""How do the gist sets of a tree keep up with its writer?  What appends to each, and what of it the next commit says.

Belongs to one `Writer`.  A builder is made when a set first gets a gist in this session, and remembers of each level
what waits for its parent; the set's record, and those of its new levels, go into the next commit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mctree.format.facts import GistSetRecord
from mctree.storage.session import Session
from mctree.tree.building import GistBuilder
from mctree.tree.gists import GistView, gist_sets
from mctree.tree.images.book import Book
from mctree.tree.intact import intact_gists
from mctree.tree.pending import Pending
from mctree.tree.refreshing import Refresher
from mctree.tree.upcoming import Upcoming

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot
    from mctree.tree.tree import Tree

__all__ = ["GistWork"]

_LAG = 256
"""Blocks that may wait for their gists from one commit to the next, so that small appends stay cheap."""


class GistWork:
    """The builders of one writing session.

    Args:
        tree: gives encoders.
        session: what writes.
        snapshot: the newest commit, wherever it goes.
        book: what the next commit says of images.
        new_array: gives the number of a new array.

    Attributes:
        builders: what appends to gist sets in this session, by number.
    """

    def __init__(
        self, tree: Tree, session: Session, snapshot: Snapshot, book: Book, new_array: Callable[[], int]
    ) -> None:
        self._tree = tree
        self._session = session
        self._snapshot = snapshot
        self._book = book
        self._new_array = new_array
        self.builders: dict[int, GistBuilder] = {}
        self._sets: dict[int, GistSetRecord] | None = None
        self._begun: dict[int, GistSetRecord] = {}

    def builder(self, number: int) -> GistBuilder | None:
        """What appends to a gist set, or None if its encoder cannot be made here."""
        if number not in self.builders:
            found = self.record(number)
            if found is not None and "text" not in found.modalities:
                return None
            encoder = None if found is None else self._tree.known_encoder(found)
            if found is None or encoder is None:
                return None
            self.builders[number] = GistBuilder(
                self._session, found, encoder, self._new_array, partial(intact_gists, self._snapshot, found)
            )
        return self.builders[number]

    def record(self, number: int) -> GistSetRecord | None:
        """What is said of a set, or about to be."""
        return self._begun.get(number) or self._known().get(number)

    def refresh_slots(self, upcoming: Upcoming, pending: Pending) -> None:
        """Let blocks that are images whose root's gist changed have it in the sets that cover text too."""
        changed = np.array(sorted(self._book.slots_changed), np.int64)
        for number, record in self._known().items():
            rows = self._session.array(record.levels[0]).rows if record.levels else 0
            committed = self._snapshot.state(record.levels[0]).rows if record.levels else 0
            blocks = changed[changed < min(rows, committed)]
            if number in pending.sets or not len(blocks) or self.builder(number) is None:
                continue
            found = self._book.slots(number, record)
            parts = [found.within(block, block + 1, self._book.rows) for block in blocks.tolist()]
            fresh = [part for some in parts for part in some]
            if fresh:
                index, gists = (np.concatenate(column) for column in zip(*fresh, strict=True))
                view = GistView(self._snapshot, number, record)
                world = found.without(upcoming.world())
                Refresher(self._session, self._snapshot, view, world, upcoming.block_tokens).above(
                    index, index, (index, gists)
                )

    def recorded(self, number: int, record: GistSetRecord | None) -> None:
        """Build on with what the next commit says of a set; if that ends it, append no more to its arrays."""
        builder = self.builders.pop(number, None)
        if record is not None:
            self._begun[number] = record
        elif builder is not None:
            for array in builder.record.levels:
                self._session.drop_array(array)

    def catch_up(self, behind: list[tuple[int, GistBuilder]], upcoming: Upcoming) -> None:
        """Make all gists that wait of the sets that `behind` has found."""
        for number, builder in behind:
            self.append(number, builder, upcoming, upcoming.blocks)

    def behind(self, upcoming: Upcoming, pending: Pending, *, all_of_them: bool) -> list[tuple[int, GistBuilder]]:
        """What appends to the sets whose gists wait, by number; nothing is written.

        Args:
            upcoming: the timeline as the next commit will see it.
            pending: what that commit says of sets; those are left alone.
            all_of_them: also sets for which only few wait.

        Raises:
            CorruptError: a gist that waits for its parent is not the one that was committed, or an encoder is damaged.
        """
        found = []
        for number, record in self._known().items():
            if number in pending.sets or "text" not in record.modalities:
                continue
            array = record.levels[0] if record.levels else None
            waiting = upcoming.blocks - (0 if array is None else self._session.array(array).rows)
            builder = self.builder(number) if waiting > 0 and (all_of_them or waiting >= _LAG) else None
            if builder is not None:
                found.append((number, builder))
        return found

    def append(self, number: int, builder: GistBuilder, upcoming: Upcoming, stop: int) -> None:
        """Make the gists of a set up to block `stop`."""
        found = self._book.slots(number, builder.record)
        grafted = partial(found.within, rows=self._book.rows) if (found.array >= 0).any() else None
        builder.append(stop, found.without(upcoming.world()), upcoming.block_tokens, grafted)

    def has_grown(self) -> bool:
        """Whether a level has rows that no commit holds."""
        arrays = self._snapshot.record.arrays
        return any(
            self._session.array(array).rows != (arrays[array].rows if array in arrays else 0)
            for builder in self.builders.values()
            for array in builder.record.levels
        )

    def committed(self, pending: Pending, images: Book) -> None:
        """Go on from the commit that was just made of `pending` and of what was new of images."""
        if pending.sets or images.new_levels:
            self._sets = None
        self._begun.clear()
        for builder in self.builders.values():
            if builder.added:
                self._sets = None
                builder.added.clear()

    def _known(self) -> dict[int, GistSetRecord]:
        """The gist sets of the newest commit, read once."""
        if self._sets is None:
            with self._snapshot.reading() as index:
                self._sets = gist_sets(index, self._snapshot.commit)
        return self._sets
