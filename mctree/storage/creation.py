"""How does a store come into being?  Whole, or not at all.

Everything is made in a sibling folder, made durable, and then renamed into place: LMDB does not sync its own
directory, and a folder that is half a store must never stand under the wanted name.

    .NAME.XXXXXXXX.creating   locked by the process that makes it; whoever can lock it knows that nobody does

So what a killed creation leaves is swept away by the next one of that name, and stands in nobody's way until then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress

import lmdb

from mctree.errors import StoreExistsError, WriterFailedError
from mctree.format.arrays import ArrayLayout
from mctree.format.commits import ArrayState, Commit, Meta, array_fact
from mctree.format.keys import Table, commit_key, u32, version_key
from mctree.format.zarr import array_metadata, group_metadata, root_metadata, rows_field
from mctree.storage.chunks import GENERATIONS_NAME
from mctree.storage.files import (
    exists,
    make_directory,
    open_directory,
    opened,
    pwrite_all,
    remove_tree,
    replace_file,
    replace_files,
    sync_directory,
    sync_tree,
    telling,
)
from mctree.storage.gate import MAX_READERS, preallocate_locks
from mctree.storage.index import Writing
from mctree.storage.leases import LEASES_NAME
from mctree.storage.pages import INDEX_NAME
from mctree.storage.place import check_place

__all__ = [
    "FIRST_NUMBERS",
    "build_store",
    "create_store",
    "describe_arrays",
    "making",
    "remove_store",
    "write_array_rows",
]

_ARRAYS_AT_ONCE = 32
"""Arrays whose metadata are on their way to the disk together: each holds some files open meanwhile."""
_MAP_BYTES = 1 << 30
"""Enough for the first commit; whoever opens the store maps more."""
FIRST_NUMBERS = {"document": 1, "gist_set": 1, "link": 1, "graft": 0, "arena": 0}
"""The first number of each kind that a new store gives out."""


def create_store(
    path: str,
    meta: Meta,
    *,
    first: int,
    time_ns: int,
    arrays: Sequence[ArrayLayout],
    facts: Mapping[bytes, bytes],
    numbers: Mapping[str, int] = FIRST_NUMBERS,
    alone: bool = False,
) -> None:
    """Make a store at `path`, whose first commit holds empty arrays and some facts.

    Args:
        path: where; nothing may be there.
        meta: what the store is.
        first: number of its first commit.
        time_ns: when, for the commit's record.
        arrays: layouts of arrays 0, 1, 2 …
        facts: more records, as (table and fact key without commit) → payload for versioned tables, or whole keys.
        numbers: the first number to give out of each kind: document, gist_set, link.
        alone: a lock of the caller's keeps everybody else away from `path`: whatever stands there half made is seen
            and removed by those who take that lock, so that the store may be made in its place at once.

    Raises:
        StoreExistsError: something is at `path`.
        PlaceError: it would be in a network file system.
    """
    with making(path, alone=alone) as (at, folder):
        build_store(at, folder, meta, first=first, time_ns=time_ns, arrays=arrays, facts=facts, numbers=numbers)


@contextmanager
def making(path: str, *, alone: bool = False) -> Iterator[tuple[int, str]]:
    """Make a store in a `with` block: what is in its folder when the block ends well is made durable, and put in place.

    Args:
        path: where; nothing may be there.
        alone: as `create_store` takes it.

    Yields:
        A descriptor of the folder, which is empty, and its path, which is that of a sibling until the end.

    Raises:
        StoreExistsError: something is at `path`.
        PlaceError: it would be in a network file system.
        WriterFailedError: it could not be made.
    """
    with telling(f"making {path}"):
        parent, name = os.path.split(os.path.abspath(path))
        _make_folders(parent)
        above = open_directory(parent)
        try:
            check_place(above, path)
            if exists(name, above):
                raise StoreExistsError(f"{path} exists already; open it, or choose another name")
            if not alone:
                _sweep(name, above)
            temporary, at = _make_folder(name, above, alone=alone)
            try:
                yield at, os.path.join(parent, temporary)
                sync_tree(at)
                if temporary != name:
                    _rename(temporary, name, above)
                sync_directory(".", above)
            except BaseException:
                with suppress(OSError):  # then the next creation removes it
                    remove_tree(temporary, above)
                raise
            finally:
                os.close(at)
        finally:
            os.close(above)


def remove_store(path: str) -> None:
    """Remove the store at `path`, whole or not; absence is no error."""
    above = open_directory(os.path.dirname(path))
    try:
        remove_tree(os.path.basename(path), above)
    finally:
        os.close(above)


def _make_folders(path: str) -> None:
    """Make a folder, and those above it, durably; one that is there already is somebody else's."""
    missing: list[str] = []
    while not os.path.isdir(path):
        path, name = os.path.split(path)
        missing.append(name)
    for name in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(os.path.join(path, name))
        above = open_directory(path)
        try:
            sync_directory(".", above)
        finally:
            os.close(above)
        path = os.path.join(path, name)


def _make_folder(name: str, above: int, *, alone: bool) -> tuple[str, int]:
    """Make the folder in which a store is made: its name, and a descriptor that keeps it locked until it is closed."""
    while True:
        temporary = name if alone else f".{name}.{secrets.token_hex(4)}.creating"
        os.mkdir(temporary, dir_fd=above)
        try:
            at = open_directory(temporary, above)
        except FileNotFoundError:
            continue  # swept away before it was locked
        with suppress(OSError):  # without locks nobody sweeps either
            fcntl.flock(at, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            there, here = os.stat(temporary, dir_fd=above, follow_symlinks=False), os.fstat(at)
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return temporary, at
        os.close(at)


def _sweep(name: str, above: int) -> None:
    """Remove what creations of a store of this name have left that were killed."""
    left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.creating")
    for entry in filter(left.fullmatch, os.listdir(above)):
        with suppress(OSError):
            at = open_directory(entry, above)
            try:
                fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error: somebody is making it
                remove_tree(entry, above)
            finally:
                os.close(at)


def _rename(temporary: str, name: str, above: int) -> None:
    try:
        # Renaming onto an empty folder would succeed: that is somebody's folder, but an empty one.
        os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise StoreExistsError(f"{name!r} exists already; open it, or choose another name") from None
        raise


def build_store(
    at: int,
    path: str,
    meta: Meta,
    *,
    first: int,
    time_ns: int,
    arrays: Sequence[ArrayLayout],
    facts: Mapping[bytes, bytes],
    numbers: Mapping[str, int],
) -> None:
    """Fill the empty directory open as `at` (at `path`) with a store; not yet durable."""
    for folder in (GENERATIONS_NAME, LEASES_NAME, INDEX_NAME):
        make_directory(folder, at)
    replace_file("zarr.json", root_metadata(meta.store, meta.epoch, meta.format), at, sync=False)
    describe_arrays(at, arrays, sync=False)
    preallocate_locks(at)
    try:
        _write_index(path, meta, first, time_ns, arrays, facts, numbers)
    except lmdb.Error as error:
        raise WriterFailedError(f"the index of {path} could not be written ({error})") from error


def _write_index(
    path: str,
    meta: Meta,
    first: int,
    time_ns: int,
    arrays: Sequence[ArrayLayout],
    facts: Mapping[bytes, bytes],
    numbers: Mapping[str, int],
) -> None:
    environment = lmdb.open(os.path.join(path, INDEX_NAME), map_size=_MAP_BYTES, max_dbs=0, max_readers=MAX_READERS)
    with closing(environment), environment.begin(write=True) as txn:
        index = Writing(txn, first, {})
        index.put(Table.META, meta.encode())
        for number, layout in enumerate(arrays):
            index.put(version_key(Table.ARRAY, u32.pack(number), first), array_fact(layout))
        for key, payload in facts.items():
            index.put(key, payload)
        commit = Commit(
            number=first,
            parent=0,
            time_ns=time_ns,
            arrays={number: ArrayState(0) for number in range(len(arrays))},
            next={
                **FIRST_NUMBERS,
                **{kind: numbers[kind] for kind in FIRST_NUMBERS.keys() & numbers.keys()},
                "array": len(arrays),
            },
            tables=index.tables,
        )
        index.put(commit_key(Table.COMMIT, first), commit.encode())


def describe_arrays(at: int, layouts: Sequence[ArrayLayout], *, sync: bool = True) -> list[str]:
    """Make the folders of new arrays and their `zarr.json`, and each folder above them a Zarr group, if it is none yet.

    Args:
        at: descriptor of the store's directory.
        layouts: the arrays, which have no rows yet.
        sync: let whatever gets a name be whole, also after a power cut; the names are not durable yet.

    Returns:
        The folders that must be synced before a commit names the arrays, those among them that were there: whoever made
        them may have died before their names were durable.
    """
    folders = dict[str, None]()
    for start in range(0, len(layouts), _ARRAYS_AT_ONCE):
        contents = dict[str, bytes]()
        for layout in layouts[start : start + _ARRAYS_AT_ONCE]:
            make_directory(layout.path, at)
            above = _above(layout.path)
            contents |= {f"{one}/zarr.json": group_metadata() for one in above if not exists(f"{one}/zarr.json", at)}
            contents[f"{layout.path}/zarr.json"] = array_metadata(layout, 0)
            folders.update(dict.fromkeys([*above, layout.path]))
        replace_files(contents, at, sync=sync)
    return [*folders, "."]


def _above(path: str) -> list[str]:
    """The folders that a path lies in, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def write_array_rows(at: int, layout: ArrayLayout, rows: int) -> None:
    """Let an array's `zarr.json` show so many rows.

    Only the bytes that say so are overwritten, and not synced: after a power cut they say this, or what they said
    before.  A file that is not as it was made (another's, or damaged) is replaced, durably.
    """
    name, wanted = f"{layout.path}/zarr.json", array_metadata(layout, rows)
    start, field = rows_field(rows)
    stop = start + len(field)
    with suppress(FileNotFoundError), opened(name, os.O_RDWR, at) as fd:
        found = os.pread(fd, len(wanted) + 1, 0)
        if len(found) == len(wanted) and found[:start] == wanted[:start] and found[stop:] == wanted[stop:]:
            pwrite_all(fd, field, start)
            return
    make_directory(layout.path, at)
    replace_file(name, wanted, at)
