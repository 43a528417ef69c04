"""Which pixels are kept, and what are they?  Pieces of one tile each, somewhere in one long column of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.images import NODES_PER_PAGE, PIECE_DTYPE, decode_pieces
from mctree.format.keys import Table, group_key
from mctree.format.pixels import unpack_pixels
from mctree.format.values import crc32c

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["read_piece", "read_pieces"]


def read_pieces(snapshot: Snapshot, array: int, group: int) -> NDArray[np.void]:
    """What is kept of a group of 64 tiles: `PIECE_DTYPE`, ascending by tile."""
    with snapshot.reading() as index:
        payload = index.version(Table.PIECES, group_key(array, group), snapshot.commit)
    return np.empty(0, PIECE_DTYPE) if payload is None else decode_pieces(payload, group)


def read_piece(
    snapshot: Snapshot, tile: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
    """The kept pixels of a tile, and which of them are real; None if there are none.

    Args:
        snapshot: where to look.
        tile: its number in the arena.
        shape: `(h, w, c)` of what of it lies in the image.
        dtype: of the samples.

    Raises:
        CorruptError: they are not what was committed.
    """
    array = snapshot.gallery.pixels_array
    if array is None:
        return None
    pieces = read_pieces(snapshot, array, tile // NODES_PER_PAGE)
    found = pieces[pieces["tile"] == tile]
    if not len(found):
        return None
    start, size = int(found["start"][0]), int(found["size"][0])
    rows = snapshot.rows(array)
    if start + size > len(rows):
        raise CorruptError(f"the kept pixels of tile a1/1:{tile} lie behind all there are; run `mctree verify`")
    packed = rows.read(start, start + size).tobytes()
    if crc32c(packed) != int(found["sum"][0]):
        raise CorruptError(f"the kept pixels of tile a1/1:{tile} are not those that were committed; restore a copy")
    return unpack_pixels(packed, shape, dtype)
