"""When was the chunk written that a row is read from?  Rows of equal array, number and generation are the same row.

Committed rows never change, save by a new generation of their chunk.  So whoever keeps copies of rows, on a device say,
keeps the generation with each, and sees by it which copies a refresh has made stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.keys import Table, u32, u64

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["chunk_generations"]


def chunk_generations(snapshot: Snapshot, array: int, chunks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The commits that wrote the files of chunks, as a snapshot sees them: `int64 [n]`, in the order given.

    Raises:
        CorruptError: a chunk that holds committed rows is not in the index.
    """
    found = np.empty(len(chunks), np.int64)
    with snapshot.reading() as index:
        for i, chunk in enumerate(chunks.tolist()):
            version = index.floor(Table.CHUNK + u32.pack(array) + u64.pack(chunk), u64.pack(snapshot.commit))
            if version is None or not version[1]:
                raise CorruptError(f"chunk {chunk} of array {array} is not in the index; run `mctree verify`")
            found[i] = u64.unpack(version[0])[0]
    return found
