"""zarr-python: Zarr v3 arrays in a local folder, read by the reference implementation.

Gathers use orthogonal selection, which groups rows by chunk; runs use it too, which is faster than a slice per run for
large chunks.  zarr-python does not sync what it writes, so the append syncs the files by hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data, expand
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["ZarrAppend", "ZarrPython"]

Form = Literal["raw", "crc32c", "zstd", "sharded"]
_SHARD = 8
_NOTES = {
    "raw": "uncompressed chunks",
    "crc32c": "uncompressed chunks, each with a checksum",
    "zstd": "chunks compressed with zstd, level 1",
    "sharded": "shards of 8 chunks, in parts that can be read by themselves",
}


class ZarrPython:
    """One of four ways to lay out an array."""

    def __init__(self, sizes: Sizes, form: Form) -> None:
        self._sizes = sizes
        self._form = form
        self.about = About(f"zarr-python {form}", "array store", _NOTES[form], requires=("zarr", "numcodecs"))

    def write(self, data: Data, folder: Path) -> None:
        """Two arrays, written a shard's rows at a time."""
        s = self._sizes
        for name, values, chunk, small in (
            ("gists", data.gists, (s.chunk_rows, s.dim), (s.small_rows, s.dim)),
            ("tokens", data.tokens, (s.chunk_tokens,), (s.small_tokens,)),
        ):
            array = self._create(folder / name, values, chunk, small)
            step = chunk[0] * _SHARD
            for start in range(0, len(values), step):
                array[start : start + step] = values[start : start + step]

    def _create(self, path: Path, values: NDArray[Any], chunk: tuple[int, ...], small: tuple[int, ...]) -> Any:
        codecs = library("zarr.codecs")
        options: dict[str, Any] = {"chunks": chunk, "compressors": None}
        if self._form == "crc32c":
            options["compressors"] = [codecs.Crc32cCodec()]
        elif self._form == "zstd":
            options["compressors"] = [codecs.ZstdCodec(level=1)]
        elif self._form == "sharded":
            options |= {"chunks": small, "shards": (chunk[0] * _SHARD, *chunk[1:])}
        return library("zarr").create_array(str(path), shape=values.shape, dtype=values.dtype, **options)

    def open(self, folder: Path) -> _ZarrReader:
        """Open both arrays."""
        zarr = library("zarr")
        return _ZarrReader(
            zarr.open_array(str(folder / "gists"), mode="r"), zarr.open_array(str(folder / "tokens"), mode="r")
        )


class _ZarrReader:
    def __init__(self, gists: Any, tokens: Any) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One orthogonal selection."""
        out[:] = self._gists.oindex[rows]

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """One orthogonal selection of all rows."""
        out[:] = self._gists.oindex[expand(starts, length)]

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """A slice per window."""
        for k, start in enumerate(starts.tolist()):
            out[k] = self._tokens[start : start + out.shape[1]]

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """A slice per piece."""
        for start in range(0, self._gists.shape[0], len(out)):
            piece = self._gists[start : start + len(out)]
            out[: len(piece)] = piece
            yield len(piece)

    def close(self) -> None:
        """Nothing is held open."""
        del self._gists, self._tokens


class ZarrAppend:
    """Appends as zarr-python does, then syncs by hand what it wrote."""

    def __init__(self, sizes: Sizes) -> None:
        self._chunk = sizes.small_tokens
        note = "Array.append, then fsync of chunk, metadata and folder by hand"
        self.about = About("zarr-python raw", "array store", note, requires=("zarr",))

    def create(self, folder: Path) -> None:
        """An empty array of one dimension."""
        self._path = folder / "tokens"
        self._array = library("zarr").create_array(
            str(self._path), shape=(0,), dtype="uint16", chunks=(self._chunk,), compressors=None
        )

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """A piece never spans chunks, since the chunk is a multiple of it."""
        chunk = self._array.shape[0] // self._chunk
        self._array.append(tokens)
        for path in (self._path / "c" / str(chunk), self._path / "zarr.json", self._path / "c", self._path):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Nothing is held open."""
        del self._array

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """The whole array."""
        values: NDArray[np.uint16] = library("zarr").open_array(str(folder / "tokens"), mode="r")[:]
        return values
