"""How is one Zarr array a level of an image?  Its axes are y, x and perhaps channels; of others one place is looked at.

What describes the array is read by the `zarr` package, from memory; chunks are read here, one after the other, straight
from their files, and decoded in `zarr_chunks` within limits.

A chunk that has no file is one without pixels, unless other channels of the same place have one: then it holds the
fill value, as Zarr says.  So an array that was written sparsely is a sparse image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.buffer import Buffer as AnyBuffer
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from mctree.errors import SourceError
from mctree.sources.files import OpenFile
from mctree.sources.images.folder_names import number
from mctree.sources.images.listing import Listing, listed
from mctree.sources.images.local import damage_named, open_local
from mctree.sources.images.mosaic import Layout, assembled
from mctree.sources.images.protocol import Box, Pixels, PixelValues
from mctree.sources.images.recent import Recent
from mctree.sources.images.zarr_chunks import MOST_INNER, Coding, Sharding, coding_of, coding_of_v2
from mctree.sources.names import failure, shown

__all__ = ["ZarrArray", "described", "read_document"]

_LONGEST_DOCUMENT = 1 << 24
_RECENT_INDICES = 1 << 24


def read_document(root: bytes, key: str) -> bytes | None:
    """A file of metadata; None if there is none.

    Raises:
        SourceError: it cannot be read, is too long, or lies outside.
    """
    return _read_file(root, key, _LONGEST_DOCUMENT)


def described(root: bytes, path: str) -> zarr.Array[Any]:
    """The description of an array below a root folder; its chunks cannot be read by it.

    Raises:
        SourceError: there is none, or it is damaged.
    """
    name = f"{shown(root)}: array '{shown(path.encode())}'"
    documents: dict[str, AnyBuffer] = {}
    for document in ("zarr.json", ".zarray", ".zattrs"):
        data = read_document(root, f"{path}/{document}" if path else document)
        if data is not None:
            documents[document] = Buffer.from_bytes(data)
    with damage_named(name, "Zarr array"):
        return zarr.open_array(MemoryStore(documents, read_only=True), mode="r")


class ZarrArray:
    """A Zarr array as a level.

    Args:
        root: the folder of the hierarchy, absolute.
        path: of the array in it.
        array: its description.
        axes: a letter for each axis, `y` and `x` among them.
        at: the places that are looked at, for axes other than `y`, `x` and `c`.
        max_pixels: refuse chunks that have more.

    Attributes:
        layout: of the chunks; of those inside shards, if there are shards.
        channels: values of each pixel.
        dtype: of the values.

    Raises:
        SourceError: it is stored in a way that cannot be read.
    """

    def __init__(
        self, root: bytes, path: str, array: zarr.Array[Any], axes: str, at: Mapping[str, int], max_pixels: int
    ) -> None:
        self.name = f"{shown(root)}: array '{shown(path.encode())}'"
        self._root = root
        self._path = path
        self._axes = axes
        self._metadata = array.metadata
        dimensions = len(array.shape)
        y, x = axes.index("y"), axes.index("x")
        self._channel_axis = axes.find("c")
        self.channels = array.shape[self._channel_axis] if self._channel_axis >= 0 else 1
        self.dtype = array.dtype.newbyteorder("=")
        try:
            self._coding = self._understood(dimensions)
        except ValueError as error:
            raise SourceError(f"{self.name}: {error}, which cannot be read") from error
        self._shard = tuple(array.shards or array.chunks)
        self._chunk = tuple(array.chunks)
        if isinstance(self._coding, Sharding) and self._coding.chunk != self._chunk:
            raise SourceError(f"{self.name} is damaged: its shards have chunks of two shapes")
        self._inner = tuple(shard // chunk for shard, chunk in zip(self._shard, self._chunk, strict=True))
        most = max_pixels * max(1, min(self.channels, self._chunk[self._channel_axis] if "c" in axes else 1))
        if np.prod(self._chunk, dtype=np.float64) > most:
            raise SourceError(
                f"{self.name} has chunks of {' × '.join(map(str, self._chunk))} values, each decoded at once: allow "
                f"that by max_pixels, or make an array with small chunks of it"
            )
        if np.prod(self._inner, dtype=np.float64) > MOST_INNER:
            raise SourceError(f"{self.name} has shards of more than {MOST_INNER} chunks")
        self.layout = Layout(array.shape[y], array.shape[x], self._chunk[y], self._chunk[x])
        self._fixed = {axis: at[letter] for axis, letter in enumerate(axes) if letter not in "yxc"}
        self._recent: Recent[tuple[int, ...], NDArray[Any]] = Recent()
        self._indices: Recent[tuple[int, ...], NDArray[np.uint64]] = Recent(_RECENT_INDICES)
        self._listing: Listing | None = None
        fill = self._metadata.fill_value
        self._fill = 0 if fill is None else int(fill)

    @property
    def folder(self) -> bytes:
        """Where its files are."""
        return os.path.join(self._root, os.fsencode(self._path)) if self._path else self._root

    def read(self, box: Box) -> Pixels:
        """The pixels of a box; what lies beyond the array is masked."""
        return assembled(box, self.layout, self.channels, self.dtype, self._part)

    def covered(self, box: Box) -> Iterator[Box]:
        """What of a box lies in chunks, or in shards, that have files."""
        if self._listing is None:
            self._listing = self._listed()
        y, x = self._axes.index("y"), self._axes.index("x")
        shards = Layout(self.layout.height, self.layout.width, self._shard[y], self._shard[x])
        r0, r1, c0, c1 = shards.cells(box)
        for row, start, stop in self._listing.runs(r0, r1, c0, c1):
            first, last = shards.box(row, start), shards.box(row, stop - 1)
            found = Box(first.x0, first.y0, last.x1, last.y1).common(box)
            if found is not None:
                yield found

    def _understood(self, dimensions: int) -> Coding | Sharding:
        metadata: Any = self._metadata
        if metadata.zarr_format == 3:
            return coding_of(metadata.codecs, self.dtype, dimensions)
        compressor = metadata.compressor
        return coding_of_v2(
            None if compressor is None else compressor.get_config(),
            metadata.filters,
            metadata.order,
            metadata.dtype.to_native_dtype(),
            dimensions,
        )

    def _part(self, row: int, column: int, part: Box) -> PixelValues | None:
        """A part of the piece at a row and column, with all channels."""
        size = self._chunk[self._channel_axis] if self._channel_axis >= 0 else 1
        numbers = range(-(-self.channels // size))
        chunks = [self._chunk_at(row, column, number) for number in numbers]
        if all(chunk is None for chunk in chunks):
            return None
        values = np.empty((part.height, part.width, self.channels), self.dtype)
        for place, chunk in zip(numbers, chunks, strict=True):
            start = place * size
            stop = min(start + size, self.channels)
            if chunk is None:
                values[:, :, start:stop] = self._fill
            else:
                values[:, :, start:stop] = chunk[part.slices][:, :, : stop - start]
        return values

    def _chunk_at(self, row: int, column: int, channel: int) -> NDArray[Any] | None:
        """The values of a chunk at the places that are looked at: `[h, w, c]`."""
        places = {"y": row, "x": column, "c": channel}
        numbers = tuple(
            places[letter] if letter in places else self._fixed[axis] // self._chunk[axis]
            for axis, letter in enumerate(self._axes)
        )
        held = self._recent.get(numbers)
        if held is not None:
            return held
        with damage_named(f"{self.name}, chunk {'.'.join(map(str, numbers))}", "chunk of a Zarr array"):
            data = self._stored(numbers)
            if data is None:
                return None
            coding = self._coding.coding if isinstance(self._coding, Sharding) else self._coding
            values = coding.decode(data, self._chunk)
        kept = tuple(
            slice(None) if letter in places else self._fixed[axis] % self._chunk[axis]
            for axis, letter in enumerate(self._axes)
        )
        left = "".join(letter for letter in self._axes if letter in places)
        values = values[kept]
        values = values.transpose([left.index(letter) for letter in "yxc" if letter in left])
        values = np.ascontiguousarray(values.reshape(*values.shape[:2], -1))
        self._recent.put(numbers, values)
        return values

    def _stored(self, numbers: tuple[int, ...]) -> bytes | None:
        """The bytes of a chunk; None if it is not there."""
        if isinstance(self._coding, Coding):
            return _read_file(self._root, self._key(numbers), self._coding.longest(self._chunk))
        shard = tuple(number // inner for number, inner in zip(numbers, self._inner, strict=True))
        key = self._key(shard)
        opened = _opened(self._root, key)
        if opened is None:
            return None
        with opened:
            size = opened.file.stamp.size
            index = self._indices.get(shard)
            if index is None:
                length = self._coding.index_size(int(np.prod(self._inner)))
                data = opened.read_at(size - length if self._coding.at_end else 0, length) if length <= size else b""
                index = self._coding.index(data, self._inner)
                self._indices.put(shard, index)
            place = Sharding.place(index, tuple(n % inner for n, inner in zip(numbers, self._inner, strict=True)))
            if place is None:
                return None
            offset, length = place
            if length > self._coding.coding.longest(self._chunk) or offset + length > size:
                raise SourceError(f"{self.name} is damaged: shard {key} has a chunk of {length} bytes at {offset}")
            data = opened.read_at(offset, length)
            opened.confirm()
        return data

    def _key(self, numbers: tuple[int, ...]) -> str:
        key: str = self._metadata.encode_chunk_key(numbers)
        return f"{self._path}/{key}" if self._path else key

    def _listed(self) -> Listing:
        """Which shards have files, by their rows and columns."""
        y, x = self._axes.index("y"), self._axes.index("x")
        wanted = {axis: place // self._shard[axis] for axis, place in self._fixed.items()}
        try:
            return listed((numbers[y], (numbers[x],)) for numbers in self._files(wanted))
        except ValueError as error:
            raise SourceError(f"{self.name}: {error}: make its chunks larger, or put them into shards") from error

    def _files(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, ...]]:
        """The numbers of all shards that have files, and of which those along some axes are wanted."""
        dimensions = len(self._axes)
        key: str = self._metadata.encode_chunk_key((0,) * dimensions)
        prefix = key[:2].encode() if key.startswith("c") else b""
        separator = key.removeprefix("c").strip("0")[:1].encode()
        if separator == b".":
            for name in _names(self.folder):
                parts = name.removeprefix(prefix).split(separator)
                numbers = tuple(found for part in parts if (found := number(part)) is not None)
                if (
                    name.startswith(prefix)
                    and len(numbers) == len(parts) == dimensions
                    and self._wants(numbers, wanted)
                ):
                    yield numbers
            return
        waiting: list[tuple[bytes, tuple[int, ...]]] = [(os.path.join(self.folder, prefix.strip(b"/")), ())]
        while waiting:
            folder, begun = waiting.pop()
            for name in _names(folder):
                found = number(name)
                if found is None or not self._wants((*begun, found), wanted):
                    continue
                if len(begun) + 1 == dimensions:
                    yield (*begun, found)
                else:
                    waiting.append((os.path.join(folder, name), (*begun, found)))

    def _wants(self, numbers: tuple[int, ...], wanted: Mapping[int, int]) -> bool:
        """Whether shards whose numbers begin so are inside the array, and at the places that are looked at."""
        return all(
            found * self._shard[axis] < self._metadata.shape[axis] and wanted.get(axis, found) == found
            for axis, found in enumerate(numbers)
        )


def _names(folder: bytes) -> Iterator[bytes]:
    """The names in a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SourceError(f"{shown(folder)} cannot be listed: {failure(error)}") from error


def _opened(root: bytes, key: str) -> OpenFile | None:
    """A file below a root folder; None if there is none.

    Raises:
        SourceError: it cannot be opened, or is reached by a link that leads out of the folder.
    """
    path = os.path.join(root, os.fsencode(key))
    if not os.path.lexists(path):
        return None
    inside = os.path.realpath(root).rstrip(b"/") + b"/"
    if not os.path.realpath(path).startswith(inside):
        raise SourceError(f"{shown(path)} lies outside of {shown(root)}: copy it there")
    return open_local(path)


def _read_file(root: bytes, key: str, limit: int) -> bytes | None:
    opened = _opened(root, key)
    if opened is None:
        return None
    with opened:
        size = opened.file.stamp.size
        if size > limit:
            raise SourceError(f"{shown(opened.file.path)} has {size} bytes: at most {limit} are read")
        data = opened.read_at(0, size)
        opened.confirm(len(data))
    return data
