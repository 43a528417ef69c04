"""What should a committed row's bytes sum up to?  What the index says of it, in the generation that a commit sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout
from mctree.format.keys import Table, checksum_key, u32, u64
from mctree.format.records import SUMS_PER_PAGE, decode_sums
from mctree.storage.index import Reading
from mctree.storage.rows import distinct

__all__ = ["committed_sums"]


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
