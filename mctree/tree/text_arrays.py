"""Which arrays does every tree have?  Three of its text; those of gist sets and of images come later.

Tokens are level 0 of the timeline.  Beside it stand how many of each block's 32 positions hold real ones, and how many
real ones there are before every 32nd block, so that both are known without looking at a record.
"""

from __future__ import annotations

from mctree.errors import CorruptError
from mctree.format.arrays import ArrayLayout, rows_per_chunk
from mctree.format.commits import Meta
from mctree.format.records import BLOCK

__all__ = ["BEFORE", "COUNT", "LOD0", "TEXT_ARRAYS", "check_text", "text_arrays"]

LOD0, COUNT, BEFORE = 0, 1, 2
"""Their numbers: tokens, real tokens per block, real tokens before every 32nd block."""
TEXT_ARRAYS = (LOD0, COUNT, BEFORE)
_COUNT_CHUNK_BYTES = 256 << 10


def text_arrays(vocabulary: int, meta: Meta) -> list[ArrayLayout]:
    """How they lie in a store, in the order of their numbers."""
    token = next(name for name, bits in (("uint8", 8), ("uint16", 16), ("uint32", 32)) if vocabulary <= 1 << bits)

    def array(path: str, dtype: str) -> ArrayLayout:
        row_bytes = ArrayLayout(path, dtype, (), 1).row_bytes
        return ArrayLayout(path, dtype, (), rows_per_chunk(row_bytes, meta.chunk_bytes))

    # Most blocks are full, so the fill value of the counts is that of a full block: appending one writes nothing.
    # For that their files are written whole, so they are kept small.
    small = min(meta.chunk_bytes, _COUNT_CHUNK_BYTES)
    count = ArrayLayout("text/count", "uint8", (), rows_per_chunk(1, small), BLOCK)
    return [array("text/lod0", token), count, array("text/before", "uint64")]


def check_text(array: int, layout: ArrayLayout) -> None:
    """Make sure that an array of text is what all who read it take it for: a column of unsigned integers.

    Raises:
        CorruptError: it is not.
    """
    if layout.row or layout.numpy.kind != "u":
        raise CorruptError(f"array {array} ({layout.path}) is no column of whole numbers; run `mctree verify`")
