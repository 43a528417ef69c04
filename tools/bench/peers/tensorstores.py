"""TensorStore: the same Zarr v3 arrays, read in C++ with many threads and, if asked, a cache of decoded chunks.

Many small reads are issued together and awaited together.  The cache is given more memory than the data need, is not
checked against the files again (nothing changes), and is warm when it is timed: that is TensorStore at its fastest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["TensorStore", "TensorStoreAppend"]

_CACHE = 4 << 30
_SHARD = 8
_RAW: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]


def _spec(path: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}


class TensorStore:
    """With or without a cache, with or without shards."""

    def __init__(self, sizes: Sizes, name: str, *, cached: bool = False, sharded: bool = False) -> None:
        self._sizes = sizes
        self._cached = cached
        self._sharded = sharded
        note = "cache of 4 GiB of decoded chunks, never revalidated" if cached else "no cache"
        if sharded:
            note += ", shards of 8 chunks, in parts that can be read by themselves"
        self.about = About(f"TensorStore {name}", "array store", f"zarr3; {note}", requires=("tensorstore",))

    def write(self, data: Data, folder: Path) -> None:
        """Two arrays, written a shard's rows at a time."""
        s = self._sizes
        for name, values, chunk, small in (
            ("gists", data.gists, [s.chunk_rows, s.dim], [s.small_rows, s.dim]),
            ("tokens", data.tokens, [s.chunk_tokens], [s.small_tokens]),
        ):
            codecs, grid = _RAW, chunk
            if self._sharded:
                grid = [chunk[0] * _SHARD, *chunk[1:]]
                codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": small, "codecs": _RAW}}]
            metadata = {
                "shape": list(values.shape),
                "data_type": str(values.dtype),
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid}},
                "codecs": codecs,
            }
            spec = _spec(folder / name) | {"metadata": metadata, "create": True}
            store = library("tensorstore").open(spec).result()
            step = chunk[0] * _SHARD
            for start in range(0, len(values), step):
                stop = min(start + step, len(values))
                store[start:stop].write(values[start:stop]).result()

    def open(self, folder: Path) -> _TensorStoreReader:
        """Open both arrays with one context."""
        ts = library("tensorstore")
        context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE if self._cached else 0}})
        checks = {"recheck_cached_data": False if self._cached else "open", "recheck_cached_metadata": "open"}
        gists, tokens = (
            ts.open(_spec(folder / name) | checks, read=True, context=context).result() for name in ("gists", "tokens")
        )
        return _TensorStoreReader(gists, tokens)


class _TensorStoreReader:
    def __init__(self, gists: Any, tokens: Any) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One read through an index array."""
        out[:] = self._gists[rows].read().result()

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """A read per run, all in flight at once."""
        reads = [self._gists[start : start + length].read() for start in starts.tolist()]
        for k, read in enumerate(reads):
            out[k * length : (k + 1) * length] = read.result()

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """A read per window, all in flight at once."""
        reads = [self._tokens[start : start + out.shape[1]].read() for start in starts.tolist()]
        for k, read in enumerate(reads):
            out[k] = read.result()

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """A read per piece, the next one in flight while one is copied."""
        size, rows = len(out), self._gists.shape[0]
        ahead = self._gists[:size].read()
        for start in range(0, rows, size):
            piece = ahead.result()
            if start + size < rows:
                ahead = self._gists[start + size : min(start + 2 * size, rows)].read()
            out[: len(piece)] = piece
            yield len(piece)

    def close(self) -> None:
        """Drop the arrays, and the cache with them."""
        del self._gists, self._tokens


class TensorStoreAppend:
    """Grows an array by a piece; TensorStore syncs what it writes."""

    def __init__(self, sizes: Sizes) -> None:
        self._chunk = sizes.small_tokens
        note = "resize and write; file_io_sync is on"
        self.about = About("TensorStore", "array store", note, requires=("tensorstore",))

    def create(self, folder: Path) -> None:
        """An empty array of one dimension."""
        metadata = {
            "shape": [0],
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self._chunk]}},
            "codecs": _RAW,
        }
        spec = _spec(folder / "tokens") | {"metadata": metadata, "create": True}
        self._array = library("tensorstore").open(spec).result()
        self._end = 0

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """The new size first, so that the rows lie inside."""
        start, self._end = self._end, self._end + len(tokens)
        self._array = self._array.resize(exclusive_max=[self._end]).result()
        self._array[start : self._end].write(tokens).result()

    def close(self) -> None:
        """Drop the array."""
        del self._array

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """The whole array."""
        store = library("tensorstore").open(_spec(folder / "tokens"), read=True).result()
        values: NDArray[np.uint16] = np.asarray(store[:].read().result())
        return values
