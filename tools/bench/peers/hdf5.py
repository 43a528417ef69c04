"""h5py: datasets in one HDF5 file, contiguous or chunked.

Each request takes the fastest way that was found: one fancy selection of sorted rows for a contiguous dataset, and the
low-level read of one hyperslab at a time for everything else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["H5py", "H5pyAppend"]


class H5py:
    """Contiguous, or in small chunks."""

    def __init__(self, sizes: Sizes, *, chunked: bool) -> None:
        self._sizes = sizes
        self._chunked = chunked
        name, note = (
            ("chunked", "small chunks, not compressed") if chunked else ("contiguous", "no chunks; cannot grow")
        )
        self.about = About(f"h5py {name}", "array store", note, requires=("h5py",))

    def write(self, data: Data, folder: Path) -> None:
        """Two datasets, written a chunk of the other stores at a time."""
        s = self._sizes
        with library("h5py").File(folder / "data.h5", "w") as file:
            for name, values, step, chunk in (
                ("gists", data.gists, s.chunk_rows, (s.small_rows, s.dim)),
                ("tokens", data.tokens, s.chunk_tokens, (s.small_tokens,)),
            ):
                options = {"chunks": chunk} if self._chunked else {}
                dataset = file.create_dataset(name, shape=values.shape, dtype=values.dtype, **options)
                for start in range(0, len(values), step):
                    dataset[start : start + step] = values[start : start + step]

    def open(self, folder: Path) -> _H5Reader:
        """Open the file."""
        return _H5Reader(library("h5py").File(folder / "data.h5", "r"), self._chunked)


class _H5Reader:
    def __init__(self, file: Any, chunked: bool) -> None:
        self._file = file
        self._chunked = chunked
        self._gists = file["gists"]
        self._tokens = file["tokens"]
        self._h5s = library("h5py").h5s

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """Contiguous: one fancy selection, which must be ascending and unique.  Chunked: row by row."""
        if self._chunked:
            self._rows(rows, 1, out)
            return
        unique, places = np.unique(rows, return_inverse=True)
        np.take(self._gists[unique], places, axis=0, out=out, mode="clip")

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """Run by run."""
        self._rows(starts, length, out)

    def _rows(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        dim = out.shape[1]
        file_space = self._gists.id.get_space()
        memory_space = self._h5s.create_simple((length, dim))
        read = self._gists.id.read
        for k, start in enumerate(starts.tolist()):
            file_space.select_hyperslab((start, 0), (length, dim))
            read(memory_space, file_space, out[k * length : (k + 1) * length])

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """Window by window."""
        length = out.shape[1]
        file_space = self._tokens.id.get_space()
        memory_space = self._h5s.create_simple((length,))
        for k, start in enumerate(starts.tolist()):
            file_space.select_hyperslab((start,), (length,))
            self._tokens.id.read(memory_space, file_space, out[k])

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """Piece by piece, straight into the buffer."""
        rows = self._gists.shape[0]
        for start in range(0, rows, len(out)):
            count = min(len(out), rows - start)
            self._gists.read_direct(out, np.s_[start : start + count], np.s_[:count])
            yield count

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class H5pyAppend:
    """Grows a chunked dataset by a piece, flushes, and syncs the file."""

    def __init__(self, sizes: Sizes) -> None:
        self._chunk = sizes.small_tokens
        note = "resize and write, flush, fsync; a torn write may lose the file"
        self.about = About("h5py", "array store", note, requires=("h5py",))

    def create(self, folder: Path) -> None:
        """An empty dataset that may grow."""
        self._file = library("h5py").File(folder / "data.h5", "w")
        self._dataset = self._file.create_dataset(
            "tokens", shape=(0,), dtype=np.uint16, maxshape=(None,), chunks=(self._chunk,)
        )

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """Resize, write, flush, sync."""
        start = self._dataset.shape[0]
        self._dataset.resize(start + len(tokens), axis=0)
        self._dataset[start:] = tokens
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """The whole dataset."""
        with library("h5py").File(folder / "data.h5", "r") as file:
            values: NDArray[np.uint16] = file["tokens"][:]
            return values
