"""How is a store read by somebody who trusts none of it?  Record by record, row by row, never mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.keys import Table, checked_key, u32, u64
from mctree.format.values import describe, unframe
from mctree.storage.chunks import open_generation, read_chunk
from mctree.storage.files import check_plain, read_small
from mctree.storage.index import Reading
from mctree.storage.store import Store

__all__ = ["bad_records", "committed_rows", "small_file", "sound_records"]

_MOST_TRIED = 1 << 20
"""Bytes of a value that is compared with hundreds of keys; those whose keys lead to nodes or documents are shorter."""


def bad_records(index: Reading) -> Iterator[tuple[bytes, str]]:
    """Index records that fail their checksum, or whose key belongs to no table: (key, what is wrong).

    Where one bit of a key has changed, it is given as it was: the checksum covers it, and tells.
    """
    for key, value in index.raw():
        if checked_key(key) and _fits(key, value):
            continue
        true = _key_before(key, value)
        if true is not None:
            yield true, f"stands under another key, {describe(key)}"
        else:
            yield key, "fails its checksum" if checked_key(key) else "belongs to no table"


def _fits(key: bytes, value: bytes) -> bool:
    """Whether a value has the checksum of its key and payload."""
    try:
        unframe(key, value)
    except CorruptError:
        return False
    return True


def _key_before(key: bytes, value: bytes) -> bytes | None:
    """The key, one bit of which was another, that a value has the checksum of; None if there is none."""
    if len(value) > _MOST_TRIED:
        return None
    keys = (key[:at] + bytes([key[at] ^ 1 << bit]) + key[at + 1 :] for at in range(len(key)) for bit in range(8))
    return next((other for other in keys if checked_key(other) and _fits(other, value)), None)


def sound_records(index: Reading, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """The records of a table that pass their checksum: the key behind the tag, and the payload."""
    for key, value in index.raw(table):
        with suppress(CorruptError):
            yield key[1:], unframe(key, value)


def small_file(store: Store, name: str) -> bytes:
    """The content of a small file of the store, such as a `zarr.json`.

    Raises:
        FileNotFoundError: there is none.
        CorruptError: it is no small file, or a link stands on the way to it.
    """
    check_plain(name, store.at)
    return read_small(name, store.at)


def committed_rows(
    store: Store, array: int, layout: ArrayLayout, start: int, stop: int, commit: int
) -> NDArray[np.generic]:
    """Rows [start, stop) of an array as of a commit, each chunk in the generation that the commit sees.

    Raises:
        CorruptError: a file is missing or has another size.
    """
    parts = []
    for chunk in range(start // layout.rows_per_chunk, layout.chunks(stop)):
        first = chunk * layout.rows_per_chunk
        with store.reading() as index:
            found = index.floor(Table.CHUNK + u32.pack(array) + u64.pack(chunk), u64.pack(commit))
        if found is None:
            raise CorruptError(f"chunk {chunk} of {layout.path} holds committed rows but is not in the index")
        fd = open_generation(store.at, array, layout, chunk, u64.unpack(found[0])[0])
        try:
            parts.append(read_chunk(fd, layout, min(stop - first, layout.rows_per_chunk), max(start - first, 0)))
        finally:
            os.close(fd)
    return np.concatenate(parts) if parts else np.empty((0, *layout.row), layout.numpy)
