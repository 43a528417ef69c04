"""How is a level opened?  Mapped as a whole, through a pool of slots, or through a cache: as size and platform allow.

The three differ in speed only.  What may be asked of each is in `mctree.storage.rows`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from mctree.errors import UsageError
from mctree.format.arrays import ArrayLayout
from mctree.storage.mapped import MappedLevel
from mctree.storage.pooled import PooledLevel
from mctree.storage.portable import PortableLevel
from mctree.storage.region import Region, maps_to_spare
from mctree.storage.rows import Level, OpenChunk

__all__ = ["Level", "OpenChunk", "open_level"]

_MOST_REGION_BYTES = 1 << 42  # of the 2^47 that a process has
_FEWEST_SLOTS = 16


def open_level(
    layout: ArrayLayout,
    open_chunk: OpenChunk,
    *,
    capacity_rows: int,
    slots: int | None = None,
    portable: bool = False,
    access: Literal["auto", "resident", "cold"] = "auto",
    decode: Callable[[bytes], bytes] | None = None,
) -> Level:
    """Open a level.  Takes the same time whatever the number of its chunks, and opens no file.

    Args:
        layout: how the rows lie in chunks.
        open_chunk: gives the file of a chunk.
        capacity_rows: the most rows that any caller will see; address space is reserved for them.
        slots: map at most so many chunks at once; by default, what the system's limit on mappings leaves room for.
        portable: do not map, even where the platform could.
        access: `resident` if all of it is expected to stay in memory, `cold` if not; `auto` takes levels of up to a
            quarter of the machine's memory to be resident.
        decode: makes a file's bytes the chunk's, where they are not the same; such levels are not mapped.  It must
            bound what it allocates; whatever it raises means that the file is corrupt.

    Raises:
        UsageError: capacity or slots are not positive.
    """
    if capacity_rows < 1 or (slots is not None and slots < 1):
        raise UsageError(f"array {layout.path!r}: capacity {capacity_rows} and slots {slots} must be at least 1")
    if portable or decode is not None or not Region.supports(layout.chunk_bytes):
        return PortableLevel(layout, open_chunk, capacity_rows=capacity_rows, decode=decode)
    if access == "auto":
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
        access = "resident" if capacity_rows * layout.row_bytes <= memory // 4 else "cold"
    chunks = layout.chunks(capacity_rows)
    if slots is None:
        per_slot = Region.maps_per_slot(layout.chunk_bytes, zero_fill=layout.fill == 0)
        # An eighth of what is left, so that there is always some left for the next level.
        most = min(maps_to_spare() // 8 // per_slot, _MOST_REGION_BYTES // layout.chunk_bytes)
        slots = max(most, _FEWEST_SLOTS)
    while slots >= 1:
        kind = MappedLevel if chunks <= slots else PooledLevel
        slots = min(slots, chunks)
        try:
            return kind(layout, open_chunk, capacity_rows, slots, resident=access == "resident")
        except MemoryError:  # the process may not have so much address space: make do with less
            slots //= 2
    return PortableLevel(layout, open_chunk, capacity_rows=capacity_rows)
