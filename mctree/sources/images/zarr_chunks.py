"""How does a chunk of a Zarr array become values?  Step by step, and never more of them than the chunk has.

Zarr's own library takes whatever a compressed chunk unpacks to, and several chunks at a time; here the size is known
beforehand and is the limit.  Steps that are understood (Zarr v3, section 5; v2 in their terms): transposition, byte
order, one of Blosc, Zstandard, gzip, zlib and LZ4, a CRC-32C, and shards of chunks made by these.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

__all__ = ["Coding", "Sharding", "coding_of", "coding_of_v2"]

Step = TypeVar("Step")

MOST_INNER = 1 << 20
"""Chunks of one shard: their places take 16 bytes each."""

_CHECKSUM = 4
_PLACE = 16
_NOT_THERE = (1 << 64) - 1
_SLACK = 1 << 16


def _inflated(data: bytes, size: int) -> bytes:
    member = zlib.decompressobj(wbits=47)
    out = member.decompress(data, size + 1)
    if len(out) > size or not member.eof:
        raise ValueError(f"it does not unpack to {size} bytes")
    return out


_UNPACKERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "blosc": lambda data, size: bytes(imagecodecs.blosc_decode(data, out=size)),
    "zstd": lambda data, size: bytes(imagecodecs.zstd_decode(data, out=size)),
    "lz4": lambda data, size: bytes(imagecodecs.lz4_decode(data, header=True, out=size)),
    "gzip": _inflated,
    "zlib": _inflated,
}


@dataclass(frozen=True, slots=True)
class Coding:
    """How the values of one chunk are stored.

    Attributes:
        dtype: stored, with its byte order.
        axes: the order in which the axes are stored.
        packing: what they are compressed by; None for nothing.
        checksum: a CRC-32C follows.
    """

    dtype: np.dtype[Any]
    axes: tuple[int, ...]
    packing: str | None
    checksum: bool

    def longest(self, shape: Sequence[int]) -> int:
        """Bytes that a chunk of this shape can have, stored."""
        return 2 * self._size(shape) + _SLACK

    def decode(self, data: bytes, shape: Sequence[int]) -> NDArray[Any]:
        """The values of a chunk of this shape, in the machine's byte order.

        Raises:
            Exception: of any kind, where the bytes are not such a chunk.
        """
        size = self._size(shape)
        if self.checksum:
            data, stated = data[:-_CHECKSUM], data[-_CHECKSUM:]
            if google_crc32c.value(data).to_bytes(_CHECKSUM, "little") != stated:
                raise ValueError("its checksum is wrong")
        if self.packing is not None:
            data = _UNPACKERS[self.packing](data, size)
        if len(data) != size:
            raise ValueError(f"it has {len(data)} bytes instead of {size}")
        stored = np.frombuffer(data, self.dtype).reshape([shape[axis] for axis in self.axes])
        values = stored.transpose(np.argsort(self.axes))
        return values.astype(self.dtype.newbyteorder("="), copy=False)

    def _size(self, shape: Sequence[int]) -> int:
        size = self.dtype.itemsize
        for side in shape:
            size *= side
        return size


@dataclass(frozen=True, slots=True)
class Sharding:
    """How chunks lie together in a shard.

    Attributes:
        chunk: the shape of each.
        coding: of each.
        checksum: the index has a CRC-32C.
        at_end: the index is at the end of the shard.
    """

    chunk: tuple[int, ...]
    coding: Coding
    checksum: bool
    at_end: bool

    def index_size(self, chunks: int) -> int:
        """Bytes of an index of so many chunks."""
        return _PLACE * chunks + (_CHECKSUM if self.checksum else 0)

    def index(self, data: bytes, shape: Sequence[int]) -> NDArray[np.uint64]:
        """Where the chunks of a shard are: `uint64 [*shape, 2]`, the place and the number of bytes.

        Raises:
            ValueError: it is damaged.
        """
        if self.checksum:
            data, stated = data[:-_CHECKSUM], data[-_CHECKSUM:]
            if google_crc32c.value(data).to_bytes(_CHECKSUM, "little") != stated:
                raise ValueError("the checksum of a shard's index is wrong")
        return np.frombuffer(data, "<u8").reshape(*shape, 2)

    @staticmethod
    def place(index: NDArray[np.uint64], inside: tuple[int, ...]) -> tuple[int, int] | None:
        """Where a chunk is; None if it is not there."""
        offset, size = (int(number) for number in index[inside])
        return None if offset == size == _NOT_THERE else (offset, size)


def coding_of(codecs: Sequence[object], dtype: np.dtype[Any], dimensions: int) -> Coding | Sharding:
    """What the codecs of a Zarr v3 array mean.

    Raises:
        ValueError: one of them is not understood, or they stand in another order.
    """
    if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
        shards = codecs[0]
        inner = coding_of(shards.codecs, dtype, dimensions)
        index = coding_of(shards.index_codecs, np.dtype("<u8"), dimensions + 1)
        if not (isinstance(inner, Coding) and isinstance(index, Coding)):
            raise ValueError("it has shards of shards")
        if index != Coding(np.dtype("<u8"), tuple(range(dimensions + 1)), None, index.checksum):
            raise ValueError("it has shards with an index of another kind")
        return Sharding(shards.chunk_shape, inner, index.checksum, shards.index_location.value == "end")
    axes = tuple(range(dimensions))
    steps = list(codecs)
    while (transposed := _taken(steps, TransposeCodec)) is not None:
        axes = tuple(axes[axis] for axis in transposed.order)
    plain = _taken(steps, BytesCodec)
    if plain is not None and plain.endian is not None:
        dtype = dtype.newbyteorder("<" if plain.endian.value == "little" else ">")
    kinds = ((BloscCodec, "blosc"), (ZstdCodec, "zstd"), (GzipCodec, "gzip"))
    packing = next((called for kind, called in kinds if _taken(steps, kind) is not None), None)
    checksum = _taken(steps, Crc32cCodec) is not None
    if plain is None or steps:
        raise ValueError(f"its chunks are stored by {', '.join(type(step).__name__ for step in codecs) or 'nothing'}")
    return Coding(dtype, axes, packing, checksum)


def coding_of_v2(
    compressor: Mapping[str, Any] | None, filters: object, order: object, dtype: np.dtype[Any], dimensions: int
) -> Coding:
    """What the metadata of a Zarr v2 array mean.

    Args:
        compressor: its configuration.
        filters: None, if there are none.
        order: `C` or `F`.
        dtype: with its byte order.
        dimensions: of the array.

    Raises:
        ValueError: it is stored by other means.
    """
    packing = None if compressor is None else str(compressor.get("id"))
    if filters or (packing is not None and packing not in _UNPACKERS):
        raise ValueError(f"its chunks are stored by {packing or 'filters'}")
    axes = tuple(range(dimensions))
    return Coding(dtype, axes[::-1] if order == "F" else axes, packing, checksum=False)


def _taken(steps: list[object], kind: type[Step]) -> Step | None:
    """The first step, taken from the list, if it is of a kind."""
    if steps and isinstance(steps[0], kind):
        first = steps[0]
        del steps[0]
        return first
    return None
