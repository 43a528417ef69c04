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

__all__ = ["Pieces", "read_pieces"]


def read_pieces(snapshot: Snapshot, array: int, group: int) -> NDArray[np.void]:
    """What is kept of a group of 64 tiles: `PIECE_DTYPE`, ascending by tile."""
    with snapshot.reading() as index:
        payload = index.version(Table.PIECES, group_key(array, group), snapshot.commit)
    return np.empty(0, PIECE_DTYPE) if payload is None else decode_pieces(payload, group)


class Pieces:
    """Reads kept pixels of a snapshot, tile by tile; neighbours in Z-order share one look at the index.

    Args:
        snapshot: where to look.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._array = snapshot.gallery.pixels_array
        self._rows = None if self._array is None else snapshot.rows(self._array)
        self._group = -1
        self._records: NDArray[np.void] = np.empty(0, PIECE_DTYPE)

    def read(
        self, tile: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
        """The kept pixels of a tile, and which of them are real; None if there are none.

        Args:
            tile: its number in the arena.
            shape: `(h, w, c)` of what of it lies in the image.
            dtype: of the samples.

        Raises:
            CorruptError: they are not what was committed.
        """
        if self._array is None or self._rows is None:
            return None
        if (group := tile // NODES_PER_PAGE) != self._group:
            self._records, self._group = read_pieces(self._snapshot, self._array, group), group
        at = int(np.searchsorted(self._records["tile"], np.uint64(tile)))
        if at == len(self._records) or int(self._records["tile"][at]) != tile:
            return None
        _, start, size, wanted = self._records[at].item()
        if start + size > len(self._rows):
            raise CorruptError(f"the kept pixels of tile a1/1:{tile} lie behind all there are; run `mctree verify`")
        packed = self._rows.read(start, start + size).tobytes()
        if crc32c(packed) != wanted:
            raise CorruptError(f"the kept pixels of tile a1/1:{tile} are not those that were committed; restore a copy")
        return unpack_pixels(packed, shape, dtype)
