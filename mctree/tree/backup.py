"""How does a tree get a copy that can be trusted?  Copied as of one commit, and verified before it has a name.

The copy is made in a sibling folder of its place (see `mctree.storage.creation`), compared with all checksums, made
durable, and put into its place in one step.  So whatever stands there is whole: damage in the tree ends the copying,
and a copy that was killed leaves a hidden folder that the next one of that name takes away.

It is the same store, with the same commits to travel back to, but for those that were about to be collected.  Access
counts do not come along, nor older epochs that somebody still reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mctree.errors import CorruptError
from mctree.storage.backup import copied_bytes, copy_store, held_still
from mctree.storage.creation import making
from mctree.storage.index import Writing
from mctree.storage.pages import damaged_pages
from mctree.tree.arguments import as_path_outside
from mctree.tree.retention import collect

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["backup"]

Progress = Callable[[int, int], None]


def backup(tree: Tree, path: str, *, progress: Progress | None = None) -> int:
    """Copy a tree as of its newest commit; anybody may read it and write to it meanwhile.

    Args:
        tree: the tree.
        path: where the copy is to be; nothing may be there, and it may not lie in the tree's own folder.
        progress: called now and then with (bytes done, all): each byte is read, and then verified.

    Returns:
        The commit that is the newest of the copy.

    Raises:
        StoreExistsError: something is at `path`.
        UsageError: it lies in the tree's own folder.
        PlaceError: it is in a network file system.
        CorruptError: something in the tree is not what was committed; there is no copy then.
        CommitGoneError: this user may not hold commits, and one was collected meanwhile.
    """
    target = as_path_outside(path, tree.path)
    for fault in damaged_pages(tree.store):
        raise CorruptError(f"page {fault.page} of the index of {tree.path} {fault.what}; run `mctree verify`")
    with making(target) as (at, folder):
        while True:
            store = tree.store
            with held_still(store) as index:
                # Else a compaction came between, which may not have seen the leases.
                if store is tree.store:
                    meter = _Meter(progress, copied_bytes(store, index))
                    copy_store(store, index, at, folder, _tidy, meter.add)
                    break
        with tree.beside(folder) as copy:
            copy.store.environment.fill_out(at)
            for problem in copy.verify(progress=meter.verified):
                raise CorruptError(
                    f"{tree.path} is damaged, so there is no copy of it: {problem.where} {problem.what}; "
                    "run `mctree verify`"
                )
            return copy.commits()[-1].number


def _tidy(index: Writing) -> None:
    """Free what only commits need that were condemned, as the next writer would."""
    collect(index, 0, set())


class _Meter:
    """How many bytes were read and verified, of how many."""

    def __init__(self, progress: Progress | None, size: int) -> None:
        self._progress = progress
        self._size = max(size, 1)
        self._done = 0

    def add(self, count: int) -> None:
        """So many more were read."""
        self._done = min(self._done + count, self._size)
        self._show(self._done)

    def verified(self, done: int, whole: int) -> None:
        """So much of the copy was verified."""
        self._show(self._size + self._size * done // max(whole, 1))

    def _show(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, 2 * self._size)
