"""How does a process hold a commit?  By a lease on the files that it needs, and a store open in this very process.

A commit is a number: every fact in the store says since which commit it holds, so looking something up *as of* the
number is all there is to it.  Index transactions last one look-up, so a commit held for days pins no index pages; the
lease keeps its files.  After a fork the child opens the store anew, and takes a lease of its own, at its first use.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Self

from mctree.errors import UsageError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import ArrayState, Commit
from mctree.storage.index import Reading
from mctree.storage.store import Store
from mctree.tree.rows import Rows
from mctree.tree.text_arrays import TEXT_ARRAYS, check_text

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Held"]


class Held:
    """A commit of a tree that is held until `close`, or the end of a `with` block.

    Attributes:
        tree: the tree it was taken from.
        commit: its number.
    """

    def __init__(self, tree: Tree, store: Store, record: Commit) -> None:
        """Take over a commit that `store` already holds for it."""
        self.tree = tree
        self.commit = record.number
        self._record = record
        self._store = store
        self._held = self._leased = True
        self._rows: dict[int, Rows] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_held", False):
            self.close()

    def close(self) -> None:
        """Let the commit be collected once nobody else holds it; arrays already handed out stay readable."""
        if self._held:
            self._held = False
            self._give_up_lease()
            self._forget()

    def advance(self, record: Commit) -> None:
        """Become a view of the commit that the one writer, whose snapshot this is, has just made."""
        # Nobody but that writer collects commits, and never the newest: from here on no lease is needed.  A forked
        # child, which must take one of its own, may find that the commit has gone.
        self._give_up_lease()
        self.commit, self._record = record.number, record
        self._forget()

    @property
    def store(self) -> Store:
        """The open store in this process; a forked child gets one of its own at its first use."""
        if not self._held:
            raise UsageError("this snapshot was closed; take a new one")
        if self._store.pid != os.getpid():
            store = Store(self.tree.path, writable=False, identity=self._store.identity)
            store.hold(self.commit)
            self._store, self._leased = store, True
            self._forget()
        return self._store

    @property
    def record(self) -> Commit:
        """The commit's record."""
        return self._record

    def reading(self) -> AbstractContextManager[Reading]:
        """Look things up in the index; keep the block short.

        Raises:
            CommitGoneError: this user may not take leases, and the commit was collected meanwhile.
        """
        store = self.store
        return store.reading() if store.leases.writable else store.reading(self.commit)

    def rows(self, array: int) -> Rows:
        """An array of the store as this commit sees it."""
        store = self.store
        rows = self._rows.get(array)
        if rows is None:
            # Kept, for the store finds a level again only by what its newest users see.
            state = self.state(array)
            level = store.level(array, state, self.commit, portable=self.tree.portable)
            if array in TEXT_ARRAYS:
                check_text(array, level.layout)
            rows = self._rows[array] = Rows(level, state.rows)
        return rows

    def layout(self, array: int) -> ArrayLayout:
        """How the rows of an array lie.

        Raises:
            CorruptError: it is not described, or not as such an array is.
        """
        layout = self.store.array(array, self.commit)
        if array in TEXT_ARRAYS:
            check_text(array, layout)
        return layout

    def state(self, array: int) -> ArrayState:
        """What the commit sees of an array: how many rows, and when a chunk of it was last replaced."""
        return self._record.arrays.get(array, ArrayState(0))

    def _give_up_lease(self) -> None:
        if self._leased:
            self._leased = False
            self._store.unhold(self.commit)

    def _forget(self) -> None:
        """What was read of another commit, or through another store, is not this one's."""
        self._rows.clear()
