"""What a pool of slots is measured beside: caches of chunks, of as many bytes, over the same chunk files.

The plain one is what somebody would write who has no address space to share out: a dictionary of decoded chunks, the
one that was not used for longest making room.  zarr-python and TensorStore bring theirs.  The limit has all that exists
in one flat file, and knows where.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes
from tools.bench.sparse import SparseLevel

__all__ = ["CachedTensorStore", "CachedZarr", "ChunkDictionary", "FlatOfExisting"]


class FlatOfExisting:
    """The limit: a table from chunk to place, and one `take`; nothing is ever replaced."""

    def __init__(self, sizes: Sizes) -> None:
        self.about = About("flat memmap of what exists", "the limit", "a table of chunks, take(out=, mode='clip')")

    def open(self, level: SparseLevel) -> None:
        """Map the flat file."""
        self._flat, self._places, self._size = level.dense(), level.places(), level.chunk_rows

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One look-up for all rows, one `take`."""
        chunks, inside = np.divmod(rows, self._size)
        np.take(self._flat, self._places[chunks] * self._size + inside, axis=0, out=out, mode="clip")

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        del self._flat, self._places


class ChunkDictionary:
    """By hand: chunks read whole into a dictionary in order of use, rows grouped by chunk."""

    def __init__(self, sizes: Sizes) -> None:
        self.about = About(
            "dictionary of chunks", "by hand", "np.fromfile, least recently used out; rows sorted by chunk"
        )

    def open(self, level: SparseLevel) -> None:
        """Begin without any."""
        self._level = level
        self._exist = frozenset(level.chunks.tolist())
        self._chunks: OrderedDict[int, NDArray[np.float16]] = OrderedDict()

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """A `take` for each chunk."""
        chunks, inside = np.divmod(rows, self._level.chunk_rows)
        order = np.argsort(chunks, kind="stable")
        wanted, starts = np.unique(chunks[order], return_index=True)
        for chunk, part in zip(wanted.tolist(), np.split(order, starts[1:]), strict=True):
            if chunk in self._exist:
                out[part] = self._chunk(chunk).take(inside[part], axis=0, mode="clip")
            else:
                out[part] = 0

    def close(self) -> None:
        """Drop them."""
        self._chunks.clear()

    def _chunk(self, chunk: int) -> NDArray[np.float16]:
        found = self._chunks.get(chunk)
        if found is None:
            if len(self._chunks) >= self._level.slots:
                self._chunks.popitem(last=False)
            found = np.fromfile(self._level.file(chunk), np.float16).reshape(-1, self._level.dim)
            self._chunks[chunk] = found
        else:
            self._chunks.move_to_end(chunk)
        return found


class CachedZarr:
    """zarr-python over its own cache of chunk files, which are not compressed."""

    def __init__(self, sizes: Sizes) -> None:
        note = "CacheStore over a MemoryStore; orthogonal selection"
        self.about = About("zarr-python cached", "array store", note, requires=("zarr",))

    def open(self, level: SparseLevel) -> None:
        """An empty cache."""
        storage = library("zarr.storage")
        cached = library("zarr.experimental.cache_store").CacheStore(
            storage.LocalStore(level.folder, read_only=True),
            cache_store=storage.MemoryStore(),
            max_size=level.slots * level.chunk_bytes,
        )
        self._array: Any = library("zarr").open_array(cached, mode="r")

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One orthogonal selection."""
        out[:] = self._array.oindex[rows]

    def close(self) -> None:
        """Drop the cache."""
        del self._array


class CachedTensorStore:
    """TensorStore with its cache of decoded chunks, never checked against the files."""

    def __init__(self, sizes: Sizes) -> None:
        note = "zarr3; cache of decoded chunks, never revalidated"
        self.about = About("TensorStore cached", "array store", note, requires=("tensorstore",))

    def open(self, level: SparseLevel) -> None:
        """An empty cache."""
        ts = library("tensorstore")
        context = ts.Context({"cache_pool": {"total_bytes_limit": level.slots * level.chunk_bytes}})
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{level.folder}/"},
            "recheck_cached_data": False,
            "recheck_cached_metadata": "open",
        }
        self._array: Any = ts.open(spec, read=True, context=context).result()

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One read through an index array."""
        out[:] = self._array[rows].read().result()

    def close(self) -> None:
        """Drop the array, and the cache with it."""
        del self._array
