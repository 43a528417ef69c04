"""How is a PMTiles file (version 3) an archive of tiles?  By its directories, read as they are needed.

Tiles are numbered zoom by zoom, and along the Hilbert curve within each, so that a square of tiles whose side is a
power of two, and which is aligned to it, is one run of ids.  Which tiles there are in a rectangle is found by halving
squares and leaving those of which no id is listed; the answer for an empty one comes from a few bisections.

Header and curve are those of the `pmtiles` package; directories are decoded in `pmtiles_directory`, within limits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pmtiles.tile import Compression, TileType, deserialize_header, tileid_to_zxy, zxy_to_tileid

from mctree.errors import SourceError
from mctree.sources.files import OpenFile
from mctree.sources.images.folder_names import DEEPEST_ZOOM
from mctree.sources.images.local import damage_named, digest_of
from mctree.sources.images.pmtiles_directory import LONGEST_DIRECTORY, Directory, inflated_within, parse_directory
from mctree.sources.images.pyramid import MOST_TILE_BYTES, Cells
from mctree.sources.images.recent import Recent
from mctree.sources.names import shown

__all__ = ["PmtilesArchive"]

_HEADER = 127
_DEEPEST_LEAF = 4
_JOINED = 1 << 12
_RECENT_DIRECTORIES = 1 << 26
_PICTURES = (TileType.PNG, TileType.JPEG, TileType.WEBP, TileType.UNKNOWN)

_Square = tuple[int, int, int]
"""Zoom, column and row of a tile, which stands for all tiles of a finer zoom below it."""


class PmtilesArchive:
    """A PMTiles file.

    Args:
        opened: the file; it is closed with the archive.

    Attributes:
        name: the path, printable.
        zooms: see `Archive`.

    Raises:
        SourceError: it is damaged, holds no pictures, or is compressed in a way that cannot be read.
    """

    in_one_file = True

    def __init__(self, opened: OpenFile) -> None:
        self.name = shown(opened.file.path)
        self._opened = opened
        self._directories: Recent[tuple[int, int, int, int], Directory] = Recent(_RECENT_DIRECTORIES)
        with damage_named(self.name, "PMTiles archive of version 3"):
            header = deserialize_header(self._bytes(0, _HEADER))
        if header["tile_type"] not in _PICTURES:
            raise SourceError(
                f"{self.name} holds tiles of kind {header['tile_type'].name}: make one with PNG, JPEG or WebP tiles"
            )
        packings = header["internal_compression"], header["tile_compression"]
        if any(packing in (Compression.BROTLI, Compression.ZSTD) for packing in packings):
            raise SourceError(f"{self.name} is compressed by Brotli or Zstandard: make one with gzip, or without")
        self._packed, self._packed_tiles = (packing is Compression.GZIP for packing in packings)
        self._leaves = header["leaf_directory_offset"]
        self._tiles = header["tile_data_offset"]
        finest, coarsest = header["max_zoom"], header["min_zoom"]
        if not coarsest <= finest <= DEEPEST_ZOOM:
            raise SourceError(f"{self.name} has tiles of zoom {coarsest} to {finest}: they end at zoom {DEEPEST_ZOOM}")
        self._root = self._directory(header["root_offset"], header["root_length"], 0, _first_id(DEEPEST_ZOOM + 1))
        self.zooms = tuple(
            zoom
            for zoom in range(finest, coarsest - 1, -1)
            if next(self._runs(_first_id(zoom), _first_id(zoom + 1)), None) is not None
        )
        if not self.zooms:
            raise SourceError(f"{self.name} holds no tiles")

    @property
    def fingerprint(self) -> str:
        """Of the file's size, and when it was modified last."""
        return digest_of(self._opened.file.stamp.size, self._opened.file.stamp.mtime_ns)

    def tile(self, zoom: int, column: int, row: int) -> bytes | None:
        """A tile; see `Archive.tile`."""
        wanted = zxy_to_tileid(zoom, column, row)
        directory = self._root
        for _ in range(_DEEPEST_LEAF + 1):
            place = int(np.searchsorted(directory.ids, wanted, "right")) - 1
            if place < 0:
                return None
            run = int(directory.runs[place])
            if run:
                return self._tile(directory, place) if wanted < int(directory.ids[place]) + run else None
            directory = self._leaf(directory, place)
        raise self._too_deep()

    def covered(self, zoom: int, cells: Cells) -> Iterator[Cells]:
        """Which tiles there are; see `Archive.covered`."""
        c0, r0, c1, r1 = cells
        # The least aligned square that holds them all.
        size = ((c0 ^ (c1 - 1)) | (r0 ^ (r1 - 1))).bit_length()
        waiting: list[_Square] = [(zoom - size, c0 >> size, r0 >> size)]
        while waiting:
            coarse, column, row = waiting.pop()
            size = zoom - coarse
            left, top, right, bottom = column << size, row << size, (column + 1) << size, (row + 1) << size
            if left >= c1 or right <= c0 or top >= r1 or bottom <= r0:
                continue
            begin = _first_id(zoom) + ((zxy_to_tileid(coarse, column, row) - _first_id(coarse)) << 2 * size)
            runs = self._runs(begin, begin + (1 << 2 * size))
            if c0 <= left and right <= c1 and r0 <= top and bottom <= r1:
                for first, stop in _joined(runs):
                    yield from _squares(zoom, first, stop)
            elif next(runs, None) is not None:
                waiting += [
                    (coarse + 1, 2 * column + right_half, 2 * row + lower_half)
                    for lower_half in (1, 0)
                    for right_half in (1, 0)
                ]

    def close(self) -> None:
        """Close the file."""
        self._directories.clear()
        self._opened.close()

    def _runs(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """The tiles with ids from `begin` to below `end`, as runs `[first, stop)`, ascending."""
        waiting = [(self._root, 0)]
        while waiting:
            directory, start = waiting.pop()
            if start == 0:
                start = max(int(np.searchsorted(directory.ids, begin, "right")) - 1, 0)
            for place in range(start, len(directory.ids)):
                first, run = int(directory.ids[place]), int(directory.runs[place])
                if first >= end:
                    break
                if run == 0:
                    if len(waiting) >= _DEEPEST_LEAF:
                        raise self._too_deep()
                    waiting += [(directory, place + 1), (self._leaf(directory, place), 0)]
                    break
                if first + run > begin:
                    yield max(first, begin), min(first + run, end)

    def _tile(self, directory: Directory, place: int) -> bytes:
        length = int(directory.lengths[place])
        if length > MOST_TILE_BYTES:
            raise SourceError(f"{self.name} has a tile of {length} bytes: at most {MOST_TILE_BYTES} are read")
        data = self._bytes(self._tiles + int(directory.offsets[place]), length)
        if not self._packed_tiles:
            return data
        with damage_named(self.name, "PMTiles archive"):
            return inflated_within(data, MOST_TILE_BYTES)

    def _leaf(self, directory: Directory, place: int) -> Directory:
        ids = directory.ids
        end = int(ids[place + 1]) if place + 1 < len(ids) else directory.end
        offset, length = int(directory.offsets[place]), int(directory.lengths[place])
        return self._directory(self._leaves + offset, length, int(ids[place]), end)

    def _directory(self, offset: int, length: int, begin: int, end: int) -> Directory:
        key = offset, length, begin, end
        held = self._directories.get(key)
        if held is not None:
            return held
        if length > LONGEST_DIRECTORY:
            raise SourceError(f"{self.name} has a directory of {length} bytes: at most {LONGEST_DIRECTORY} are read")
        data = self._bytes(offset, length)
        with damage_named(self.name, "PMTiles archive"):
            parsed = parse_directory(inflated_within(data, LONGEST_DIRECTORY) if self._packed else data, begin, end)
        self._directories.put(key, parsed)
        return parsed

    def _bytes(self, offset: int, size: int) -> bytes:
        there = self._opened.file.stamp.size
        if offset + size > there:
            raise SourceError(f"{self.name} is cut short: it should reach byte {offset + size}, and has {there}")
        data = self._opened.read_at(offset, size)
        self._opened.confirm()
        return data

    def _too_deep(self) -> SourceError:
        return SourceError(f"{self.name} has directories that lead to others more than {_DEEPEST_LEAF} times")


def _first_id(zoom: int) -> int:
    """How many tiles the coarser zooms have together."""
    return ((1 << 2 * zoom) - 1) // 3


def _joined(runs: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs of which some follow upon one another, as fewer; what comes is never held back for long."""
    begun: tuple[int, int] | None = None
    joined = 0
    for first, stop in runs:
        joined += 1
        if begun is not None and begun[1] == first and joined % _JOINED:
            begun = begun[0], stop
            continue
        if begun is not None:
            yield begun
        begun = first, stop
    if begun is not None:
        yield begun


def _squares(zoom: int, first: int, stop: int) -> Iterator[Cells]:
    """A run of ids of a zoom as squares of tiles, the largest that are aligned to their size."""
    base = _first_id(zoom)
    first, stop = first - base, stop - base
    while first < stop:
        largest = (stop - first).bit_length() - 1
        aligned = (first & -first).bit_length() - 1 if first else 2 * zoom
        size = min(largest, aligned) // 2
        _, column, row = tileid_to_zxy(_first_id(zoom - size) + (first >> 2 * size))
        yield column << size, row << size, (column + 1) << size, (row + 1) << size
        first += 1 << 2 * size
