"""How does a compacted store take the place of the one it was made from?  As a new epoch, in one exchange of names.

    NAME               the store, epoch e
    .NAME.compacting   epoch e + 1 while it is made; after the exchange, epoch e
    NAME/epochs/e      epoch e, until no living process holds a snapshot of it

Whoever has epoch e open goes on with it, for a store is reached through its directory and not through its path.
Whoever opens the path gets epoch e + 1.  A crash leaves one of the states above, and the next writer settles it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from mctree.errors import BusyError, MctreeError
from mctree.storage.files import exchange, list_names, make_directory, open_directory, remove_tree, sync_directory
from mctree.storage.leases import held_commits
from mctree.storage.store import EPOCHS_NAME, Store, compacting_path

__all__ = ["compacting_path", "drop_epochs", "replace_epoch", "settle"]


def replace_epoch(store: Store) -> None:
    """Let the complete next epoch stand at the store's path, and keep this one for those who use it.

    The caller holds the writer's lock of both.

    Raises:
        BusyError: the store was moved away meanwhile; whatever stands at its path stays there.
    """
    parent, name = os.path.split(store.path)
    above = open_directory(parent)
    try:
        beside = os.path.basename(compacting_path(store.path))
        refusal = BusyError(f"{store.path} was moved while it was compacted; compact it where it is now")
        if store.moved:
            remove_tree(beside, above)
            raise refusal
        try:
            exchange(beside, name, above)
        except FileNotFoundError:
            remove_tree(beside, above)
            raise refusal from None
        there, here = os.stat(beside, dir_fd=above, follow_symlinks=False), os.fstat(store.at)
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            exchange(beside, name, above)  # it was moved between the two steps, and this is somebody else's
            remove_tree(beside, above)
            raise refusal
        sync_directory(".", above)
    finally:
        os.close(above)
    at = open_directory(store.path)
    try:
        _keep_epoch(store.path, at, store.meta.epoch)
        drop_epochs(at)
    finally:
        os.close(at)


def settle(store: Store) -> None:
    """Finish, or undo, a compaction that a crash interrupted; the caller holds the writer's lock.

    Raises:
        BusyError, OSError: whether it was one cannot be told just now, and nothing is taken away.
    """
    beside = compacting_path(store.path)
    if not os.path.lexists(beside) or os.path.realpath(os.path.dirname(store.path)) != os.path.dirname(store.path):
        return
    epoch = _epoch_of(beside, store.meta.store)
    if epoch is not None and epoch < store.meta.epoch:
        _keep_epoch(store.path, store.at, epoch)
        return
    above = open_directory(os.path.dirname(beside))
    try:
        remove_tree(os.path.basename(beside), above)
    finally:
        os.close(above)


def drop_epochs(at: int) -> None:
    """Remove the epochs that nobody holds a snapshot of from the store whose directory is open as `at`.

    An epoch that was compacted brings the older ones that it kept: they move up first, to where they are looked for.
    """
    for _, old in _kept_epochs(at):
        for name in list_names(EPOCHS_NAME, old):
            with suppress(FileNotFoundError):  # somebody else, who came by without the lock, was faster
                os.rename(f"{EPOCHS_NAME}/{name}", f"{EPOCHS_NAME}/{name}", src_dir_fd=old, dst_dir_fd=at)
    for folder, old in _kept_epochs(at):
        if held_commits(old) == set():
            with suppress(FileNotFoundError):
                remove_tree(folder, at)


def _kept_epochs(at: int) -> Iterator[tuple[str, int]]:
    """The folders of older epochs, and a descriptor of each; a link is none: it might lead out of the store."""
    for epoch in list_names(EPOCHS_NAME, at):
        folder = f"{EPOCHS_NAME}/{epoch}"
        try:
            old = open_directory(folder, at)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            yield folder, old
        finally:
            os.close(old)


def _keep_epoch(path: str, at: int, epoch: int) -> None:
    """Move the former epoch from beside the store into it."""
    above = open_directory(os.path.dirname(path))
    try:
        make_directory(EPOCHS_NAME, at)
        with suppress(FileNotFoundError):
            beside = os.path.basename(compacting_path(path))
            os.rename(beside, f"{EPOCHS_NAME}/{epoch}", src_dir_fd=above, dst_dir_fd=at)
        sync_directory(EPOCHS_NAME, at)
        sync_directory(".", at)
        sync_directory(".", above)
    finally:
        os.close(above)


def _epoch_of(path: str, identity: bytes) -> int | None:
    """The epoch of the store at `path`, or None if it is no whole store, or another one.

    Raises:
        BusyError, OSError: this process cannot look at it just now: it may be one that somebody reads.
    """
    try:
        store = Store(path, writable=False)
    except BusyError:
        raise
    except MctreeError:
        return None
    epoch = store.meta.epoch if store.meta.store == identity else None
    store.close()
    return epoch
