"""How does a dataset hold on to a commit?  By its number: each process opens the store when it first reads.

What travels to a worker is a path and a few numbers, however it gets there.  The process that made it keeps the commit
from being collected for as long as it lives.
"""

from __future__ import annotations

import os

from mctree.tree import Snapshot, Tree
from mctree.tree.arguments import as_integer, as_path

__all__ = ["Held"]


class Held:
    """A commit of a store, open when it is needed.

    Args:
        on: a snapshot, or a tree or the path of a store, of which the newest commit is held.
        commit: another commit of it.

    Attributes:
        commit: the commit's number.
        store: the store's name, in hexadecimal digits, and its epoch.
    """

    def __init__(self, on: Snapshot | Tree | str | os.PathLike[str], commit: int | None = None) -> None:
        wanted = None if commit is None else as_integer(commit, "the number of a commit")
        if isinstance(on, Snapshot):
            tree, wanted = on.tree, on.commit if wanted is None else wanted
            self._path, self._portable, self._identity = tree.path, tree.portable, on.store.identity
        elif isinstance(on, Tree):
            self._path, self._portable, self._identity = on.path, on.portable, on.store.identity
        else:
            with Tree(as_path(on), writable=False) as tree:
                self._path, self._portable, self._identity = tree.path, tree.portable, tree.store.identity
        self._snapshot: Snapshot | None = self._open(wanted)
        self.commit = self._snapshot.commit

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_snapshot": None}

    @property
    def store(self) -> tuple[str, int]:
        """The store's name, in hexadecimal digits, and its epoch."""
        name, epoch = self._identity
        return name.hex(), epoch

    @property
    def snapshot(self) -> Snapshot:
        """The commit, open in this process.

        Raises:
            CommitGoneError: it was collected meanwhile.
            NotAStoreError: the store is no longer there.
        """
        if self._snapshot is None:
            self._snapshot = self._open(self.commit)
        return self._snapshot

    def move(self, commit: int) -> None:
        """Hold another commit of the same store.

        Raises:
            CommitGoneError: it was collected; the one that was held is held still.
        """
        if commit != self.commit:
            self._snapshot = self._open(commit)
            self.commit = commit

    def _open(self, commit: int | None) -> Snapshot:
        return Tree(self._path, writable=False, identity=self._identity, portable=self._portable).snapshot(commit)
