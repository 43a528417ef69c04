"""What does a writer find that a crash has left?  What was committed is finished; what was not is swept away.

Nothing here is needed to read the store: a reader finds the right files at every step of everything that can be broken
off.  The caller holds the writer's lock, so whatever is unfinished is nobody's work.

Of an index that has lost a record nothing is believed that would take a file away: what no record names any more may be
what a commit needs, and `verify` goes on naming the record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import Commit, array_layout
from mctree.format.keys import Table, u32, u64
from mctree.format.values import number as decode_number
from mctree.storage.chunks import GENERATIONS_NAME, publish
from mctree.storage.epochs import drop_epochs, settle
from mctree.storage.files import exists, leftover_name, list_names, remove_tree
from mctree.storage.index import Reading, whole_table
from mctree.storage.store import Store

__all__ = ["check_free", "recover"]


def recover(store: Store, newest: Commit) -> set[tuple[int, int]]:
    """Publish committed generations; drop staged ones, folders and half-written files that no commit knows.

    Args:
        store: the store; its writer's lock is held.
        newest: its newest commit.

    Returns:
        (array, chunk) of the generations that the index still names as to be published, and that are by now.

    Raises:
        CorruptError: the record of a generation is lost that would be dropped.
    """
    at = store.at
    settle(store)
    drop_epochs(at)
    with store.reading() as index:
        published = _publish(store, index, newest.number)
        _sweep_generations(at, index, newest)
        paths, knows_all = _paths(index, newest)
    parts = [path.split("/") for path in paths]
    # Also the folder of all gist sets, while it holds none that a commit names.
    folders = {"gists", *("/".join(path[:i]) for path in parts for i in range(1, len(path) + 1))}
    # What is known only to a record that is lost is no leftover: it stays for whoever restores the index.
    for name in list_names("gists", at) if knows_all else ():
        if f"gists/{name}" not in folders:
            with suppress(NotADirectoryError):  # a file, which is not ours to remove
                remove_tree(f"gists/{name}", at)
    for folder in folders:
        with suppress(FileNotFoundError):
            os.unlink(leftover_name(f"{folder}/zarr.json"), dir_fd=at)
    return published


def check_free(store: Store, newest: Commit, layouts: Iterable[ArrayLayout]) -> None:
    """Refuse new arrays whose first chunk is that of another: what led to it is lost, and its rows would go.

    A chunk that a crash has left belongs to no array, which only an index that has all of them can say.

    Raises:
        CorruptError: there is one.
    """
    taken = [layout.path for layout in layouts if exists(f"{layout.path}/{layout.chunk_key(0)}", store.at)]
    if not taken:
        return
    with store.reading() as index:
        paths, knows_all = _paths(index, newest)
    for path in taken:
        if not knows_all or path in paths:
            raise CorruptError(f"{path} holds rows of an array that the index does not lead to; run `mctree verify`")


def _paths(index: Reading, newest: Commit) -> tuple[set[str], bool]:
    """Where the arrays lie that the index knows, and whether it knows all there are."""
    paths = {array_layout(payload).path for _, payload in index.scan(Table.ARRAY) if payload}
    return paths, whole_table(index, Table.ARRAY, newest.tables) is not None


def _sweep_generations(at: int, index: Reading, newest: Commit) -> None:
    """Remove the generations that no commit needs, if the index knows all that one does."""
    unknown = {name: _key_of(name) for name in list_names(GENERATIONS_NAME, at)}
    unknown = {name: key for name, key in unknown.items() if key is None or index.get(Table.CHUNK + key) is None}
    known = whole_table(index, Table.CHUNK, newest.tables) if unknown else None
    for name, key in unknown.items():
        if known is not None and key not in known:
            with suppress(IsADirectoryError):  # a folder, which is not ours to remove
                os.unlink(f"{GENERATIONS_NAME}/{name}", dir_fd=at)


def _publish(store: Store, index: Reading, newest: int) -> set[tuple[int, int]]:
    published = set()
    for key, payload in index.scan(Table.PUBLISH):
        number, chunk = u32.unpack(key[:4])[0], u64.unpack(key[4:])[0]
        generation = decode_number(payload, 8, "the record of a generation to be published")
        before = index.floor(Table.CHUNK + key, u64.pack(generation - 1))
        if before is not None:  # else the record of what stands under the key is lost, which stays there
            publish(store.at, number, store.array(number, newest), chunk, u64.unpack(before[0])[0], generation)
            published.add((number, chunk))
    return published


def _key_of(name: str) -> bytes | None:
    """The key, behind its tag, under which a generation of this name is known; None if it is the name of none."""
    parts = name.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    array, chunk, generation = (int(part) for part in parts)
    if array >= 1 << 32 or chunk >= 1 << 64 or generation >= 1 << 64:
        return None
    return u32.pack(array) + u64.pack(chunk) + u64.pack(generation)
