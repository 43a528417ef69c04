"""Which tiles does a directory of a PMTiles archive list?  Four columns of numbers, decoded all at once (spec v3, §4).

A directory has entries in ascending order of their tile ids.  An entry stands for a run of tiles with the same bytes,
or, if the run is 0, for the *leaf* directory that lists the tiles from its own id to that of the next entry.

Directories come from strangers: what is inflated is limited before it is, and entries out of order are refused, so
that no tile is listed twice and no walk through leaves is longer than what they list.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LONGEST_DIRECTORY", "Directory", "inflated_within", "parse_directory"]

LONGEST_DIRECTORY = 1 << 24
"""Bytes of a directory, inflated; writers keep it to thousands."""

_GZIP_ONLY = 31
_LONGEST_NUMBER = 9
_END = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """The entries of a directory, `int64 [n]` each.

    Attributes:
        ids: the first tile of each entry, ascending.
        runs: how many tiles it stands for; 0 for a leaf.
        lengths: bytes of the tile, or of the leaf.
        offsets: where they begin, in the archive's part for tiles, or in that for leaves.
        end: no tile has this id or a higher one.
    """

    ids: NDArray[np.int64]
    runs: NDArray[np.int64]
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    end: int

    @property
    def nbytes(self) -> int:
        """Of all columns."""
        return 4 * self.ids.nbytes


def inflated_within(data: bytes, limit: int) -> bytes:
    """What a gzip stream of one member holds.

    Raises:
        ValueError: it holds more than `limit` bytes, or ends early.
        zlib.error: it is damaged.
    """
    member = zlib.decompressobj(_GZIP_ONLY)
    out = member.decompress(data, limit + 1)
    if len(out) > limit:
        raise ValueError(f"more than {limit} bytes are compressed in it")
    if not member.eof:
        raise ValueError("the compressed bytes end too early")
    return out


def parse_directory(data: bytes, begin: int, end: int) -> Directory:
    """Decode a directory whose tiles all have ids from `begin` to below `end`.

    Args:
        data: not compressed.
        begin: the least id that it may list.
        end: all ids are below.

    Raises:
        ValueError: it is damaged.
    """
    numbers = _numbers(np.frombuffer(data, np.uint8))
    if len(numbers) == 0 or len(numbers) != 1 + 4 * int(numbers[0]):
        raise ValueError("a directory does not have the entries that it says")
    steps, runs, lengths, places = numbers[1:].reshape(4, -1)
    if len(steps) == 0:
        return Directory(steps, runs, lengths, places, end)
    # Sums of doubles are near enough to tell whether sums of integers would overflow.
    if max(np.sum(steps, dtype=np.float64), np.sum(lengths, dtype=np.float64), places.max()) >= _END:
        raise ValueError("a directory lists tiles beyond the last zoom")
    ids = np.cumsum(steps)
    stops = ids + np.maximum(runs, 1)
    if ids[0] < begin or runs.max() >= _END or (stops[:-1] > ids[1:]).any() or stops[-1] > end:
        raise ValueError("the entries of a directory are not in order")
    if (lengths == 0).any() or places[0] == 0:
        raise ValueError("a directory lists tiles without bytes")
    # A place of 0 means: just behind the bytes of the entry before.  Others are one more than the offset.
    before = np.cumsum(lengths) - lengths
    anchor = np.maximum.accumulate(np.where(places > 0, np.arange(len(places)), 0))
    offsets = places[anchor] - 1 + before - before[anchor]
    return Directory(ids, runs, lengths, offsets, end)


def _numbers(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers of a string of varints (7 bits a byte, lowest first; the highest bit says that more follow)."""
    if len(data) == 0 or data[-1] & 0x80:
        raise ValueError("a directory ends too early")
    stops = np.flatnonzero(data < 0x80)
    starts = np.concatenate(([0], stops[:-1] + 1))
    sizes = stops - starts + 1
    longest = int(sizes.max())
    if longest > _LONGEST_NUMBER:
        raise ValueError("a directory holds a number of more than 63 bits")
    numbers = np.zeros(len(stops), np.int64)
    for place in range(longest):
        longer = np.flatnonzero(sizes > place)
        numbers[longer] |= (data[starts[longer] + place].astype(np.int64) & 0x7F) << (7 * place)
    return numbers
