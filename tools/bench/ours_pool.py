"""mctree's levels, by the storage layer alone: chunks that share slots, chunks that all are mapped, decoded ones."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools.bench.ours import KIND, NAME
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes
from tools.bench.sparse import SparseLevel

__all__ = ["MctreeLevel"]

How = Literal["pooled", "mapped", "decoded"]
_NOTES = {
    "pooled": "slots of one region, least recently used out; memory is the page cache",
    "mapped": "a slot for every chunk that there could be; nothing makes room",
    "decoded": "what serves where nothing can be mapped: decoded chunks, least recently used out",
}
_NAMES = {"pooled": NAME, "mapped": f"{NAME}, all mapped", "decoded": f"{NAME}, not mapped"}


class MctreeLevel:
    """A level over the chunk files."""

    def __init__(self, sizes: Sizes, how: How) -> None:
        self._how = how
        self.about = About(_NAMES[how], KIND, _NOTES[how])

    def open(self, level: SparseLevel) -> None:
        """Nothing is mapped yet, or read."""
        exist = frozenset(level.chunks.tolist())
        layout = library("mctree.format.arrays").ArrayLayout("level", "float16", (level.dim,), level.chunk_rows)

        def opener(chunk: int) -> int | None:
            return os.open(level.file(chunk), os.O_RDONLY) if chunk in exist else None

        self._rows = level.rows
        if self._how == "decoded":
            self._level: Any = library("mctree.storage.portable").PortableLevel(
                layout, opener, capacity_rows=level.rows, cache_bytes=level.slots * level.chunk_bytes
            )
            return
        slots = level.slots if self._how == "pooled" else level.rows // level.chunk_rows
        self._level = library("mctree.storage.level").open_level(
            layout, opener, capacity_rows=level.rows, slots=slots, access="resident"
        )

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One call."""
        self._level.gather(rows, out, limit=self._rows)

    def close(self) -> None:
        """Unmap, when the last array is gone."""
        self._level.close()
