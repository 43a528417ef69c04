"""What should a committed row's bytes sum up to?  What the index says of it, in the generation that a commit sees.

Sums of the rows of one chunk stand in pages of the index, by the chunk's generation: rows that are appended fill up the
last page, and a new generation has pages of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.keys import Table, checksum_key, u32, u64
from mctree.format.records import SUMS_PER_PAGE, decode_sums
from mctree.storage.index import Reading, Writing
from mctree.storage.rows import distinct

__all__ = ["RowSums", "committed_sums", "put_sums"]


@dataclass(frozen=True, slots=True)
class RowSums:
    """Checksums of consecutive rows of an array.

    Attributes:
        array: its number.
        first: the first row.
        values: `uint32 [n]`.
    """

    array: int
    first: int
    values: NDArray[np.uint32]


def committed_sums(
    index: Reading, array: int, layout: ArrayLayout, rows: NDArray[np.int64], commit: int
) -> NDArray[np.uint32]:
    """The checksums of rows of an array that was appended to with them.

    Args:
        index: where they stand.
        array: the array's number.
        layout: how its rows lie in chunks.
        rows: `int64 [n]`, in any order, all of them committed.
        commit: which generation of each chunk is meant.

    Returns:
        `uint32 [n]`.

    Raises:
        CorruptError: some are missing.
    """
    found = np.empty(len(rows), np.uint32)
    chunks, inside = np.divmod(rows, layout.rows_per_chunk)
    for chunk in distinct(chunks).tolist():
        prefix = Table.CHUNK + u32.pack(array) + u64.pack(chunk)
        current = index.floor(prefix, u64.pack(commit))
        if current is None:
            raise CorruptError(f"chunk {chunk} of {layout.path} is not in the index; run `mctree verify`")
        generation = u64.unpack(current[0])[0]
        mine = np.flatnonzero(chunks == chunk)
        pages, at = np.divmod(inside[mine], SUMS_PER_PAGE)
        for page in distinct(pages).tolist():
            here = pages == page
            payload = index.get(checksum_key(array, chunk, generation, page))
            sums = np.empty(0, np.uint32) if payload is None else decode_sums(payload)
            if int(at[here].max()) >= len(sums):
                raise CorruptError(
                    f"checksums of rows in chunk {chunk} of {layout.path} are missing; run `mctree verify`"
                )
            found[mine[here]] = sums[at[here]]
    return found


def put_sums(index: Writing, sums: RowSums, layout: ArrayLayout, commit: int) -> None:
    """Record checksums of rows that a commit appends or replaces, behind those of rows before them in their pages.

    Args:
        index: where they go; it knows the generations of their chunks.
        sums: the checksums.
        layout: how rows of the array lie in chunks.
        commit: the commit's number.

    Raises:
        CorruptError: a chunk that holds such rows is not recorded, or checksums of rows before them are lost: theirs
            would be taken for those.
    """
    row, values = sums.first, sums.values
    while len(values):
        chunk, inside = divmod(row, layout.rows_per_chunk)
        page, offset = divmod(inside, SUMS_PER_PAGE)
        n = min(len(values), SUMS_PER_PAGE - offset, layout.rows_per_chunk - inside)
        found = index.floor(Table.CHUNK + u32.pack(sums.array) + u64.pack(chunk), u64.pack(commit))
        if found is None:  # a chunk is recorded before the sums of its rows
            raise CorruptError(f"chunk {chunk} of {layout.path} is not in the index; run `mctree verify`")
        key = checksum_key(sums.array, chunk, u64.unpack(found[0])[0], page)
        before = (index.get(key) or b"")[: 4 * offset]
        if len(before) != 4 * offset:
            raise CorruptError(f"checksums of rows in chunk {chunk} of {layout.path} are missing; run `mctree verify`")
        index.put(key, before + values[:n].tobytes())
        row, values = row + n, values[n:]
