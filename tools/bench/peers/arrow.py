"""Arrow IPC files and Hugging Face datasets: columns of fixed lists, mapped.

An Arrow file of one batch, seen as one NumPy array, comes close to the limit; but a file that is written piece by piece
has many batches, and a Hugging Face dataset always has.  Tokens lie in records of one training window, as packed
datasets have them: a window at any alignment then needs two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data, expand
from tools.bench.peers.columns import batches, joined, windows_of_records
from tools.bench.peers.flat import FlatReader
from tools.bench.peers.protocol import About, Reader, library
from tools.bench.sizes import Sizes

__all__ = ["ArrowAppend", "ArrowFile", "HuggingFace"]


def _write(path: Path, values: NDArray[Any], name: str, width: int, step: int, *, stream: bool) -> None:
    """Write an IPC file, or stream, of batches of `step` rows."""
    arrow = library("pyarrow")
    ipc = library("pyarrow.ipc")
    schema = next(batches(values[:1] if values.ndim == 2 else values[:width], name, width, 1)).schema
    with arrow.OSFile(str(path), "wb") as file, (ipc.new_stream if stream else ipc.new_file)(file, schema) as writer:
        for batch in batches(values, name, width, step):
            writer.write_batch(batch)


class ArrowFile:
    """An IPC file of one batch, or of batches of a chunk each."""

    def __init__(self, sizes: Sizes, *, whole: bool) -> None:
        self._sizes = sizes
        self._whole = whole
        name, note = (
            ("one batch", "one NumPy view of the mapped column; cannot grow")
            if whole
            else ("batches", "a NumPy view per mapped batch of a chunk's rows")
        )
        self.about = About(f"Arrow IPC {name}", "column file", note, ("pyarrow",), ("pyarrow.ipc", "pandas"))

    def write(self, data: Data, folder: Path) -> None:
        """A file per column."""
        s = self._sizes
        rows, records = (s.rows, s.tokens) if self._whole else (s.chunk_rows, s.chunk_tokens)
        _write(folder / "gists.arrow", data.gists, "gist", s.dim, rows, stream=False)
        _write(folder / "tokens.arrow", data.tokens, "tokens", s.window, records // s.window, stream=False)

    def open(self, folder: Path) -> Reader:
        """Map both files."""
        columns = [self._column(folder / "gists.arrow"), self._column(folder / "tokens.arrow")]
        gists = [joined(chunk).reshape(-1, self._sizes.dim) for chunk in columns[0].chunks]
        tokens = [joined(chunk) for chunk in columns[1].chunks]
        if self._whole:
            return FlatReader(gists[0], tokens[0])
        return _BatchReader(gists, tokens)

    @staticmethod
    def _column(path: Path) -> Any:
        arrow = library("pyarrow")
        return library("pyarrow.ipc").open_file(arrow.memory_map(str(path))).read_all().column(0)


class _BatchReader:
    """Reads from many mapped arrays of one size each."""

    def __init__(self, gists: list[NDArray[np.float16]], tokens: list[NDArray[np.uint32]]) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """Row by row: faster than grouping by batch where a batch gives few rows, and than pyarrow's own take."""
        size = len(self._gists[0])
        for k, row in enumerate(rows.tolist()):
            batch, place = divmod(row, size)
            out[k] = self._gists[batch][place]

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """Run by run; none spans batches, since both are aligned."""
        size = len(self._gists[0])
        for k, start in enumerate(starts.tolist()):
            batch, place = divmod(start, size)
            out[k * length : (k + 1) * length] = self._gists[batch][place : place + length]

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """Window by window, from two batches at most."""
        size, length = len(self._tokens[0]), out.shape[1]
        for k, start in enumerate(starts.tolist()):
            batch, place = divmod(start, size)
            head = self._tokens[batch][place : place + length]
            out[k, : len(head)] = head
            if len(head) < length:
                out[k, len(head) :] = self._tokens[batch + 1][: length - len(head)]

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """As much of a batch as the buffer takes."""
        for batch in self._gists:
            for start in range(0, len(batch), len(out)):
                piece = batch[start : start + len(out)]
                out[: len(piece)] = piece
                yield len(piece)

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        self._gists, self._tokens = [], []


class HuggingFace:
    """Datasets on a mapped Arrow stream, in the `arrow` format, which was the fastest."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        note = "mapped Arrow stream, format 'arrow' seen through NumPy"
        self.about = About("HF datasets", "table store", note, requires=("datasets", "pyarrow"))

    def write(self, data: Data, folder: Path) -> None:
        """A stream per column, as datasets keeps them."""
        s = self._sizes
        _write(folder / "gists.arrow", data.gists, "gist", s.dim, s.chunk_rows, stream=True)
        _write(folder / "tokens.arrow", data.tokens, "tokens", s.window, s.chunk_tokens // s.window, stream=True)

    def open(self, folder: Path) -> _HuggingFaceReader:
        """Open both datasets."""
        dataset = library("datasets").Dataset
        return _HuggingFaceReader(
            dataset.from_file(str(folder / "gists.arrow")).with_format("arrow"),
            dataset.from_file(str(folder / "tokens.arrow")).with_format("arrow"),
        )


class _HuggingFaceReader:
    def __init__(self, gists: Any, tokens: Any) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One indexing by an array."""
        out[:] = joined(self._gists[rows].column(0)).reshape(out.shape)

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """One indexing by an array of all rows."""
        self.gather(expand(starts, length), out)

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """One indexing by all the records that are needed."""
        records, places = windows_of_records(starts, out)
        tokens = joined(self._tokens[records].column(0))
        for k, start, stop in places:
            out[k] = tokens[start:stop]

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """Slices in order."""
        for start in range(0, len(self._gists), len(out)):
            piece = joined(self._gists[start : start + len(out)].column(0)).reshape(-1, out.shape[1])
            out[: len(piece)] = piece
            yield len(piece)

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        del self._gists, self._tokens


class ArrowAppend:
    """A batch per piece at the end of a stream, synced; it grows by about 200 bytes of framing per batch."""

    def __init__(self, sizes: Sizes) -> None:
        self.about = About("Arrow IPC stream", "column file", "a batch per piece, fsync", requires=("pyarrow",))

    def create(self, folder: Path) -> None:
        """An empty stream."""
        arrow = library("pyarrow")
        self._schema = arrow.schema([("tokens", arrow.uint16())])
        self._file = (folder / "tokens.arrow").open("wb", buffering=0)
        self._writer = library("pyarrow.ipc").new_stream(self._file, self._schema)

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """Write a batch, sync the file."""
        arrow = library("pyarrow")
        self._writer.write_batch(arrow.record_batch([arrow.array(tokens)], schema=self._schema))
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Finish the stream."""
        self._writer.close()
        self._file.close()

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """All batches."""
        arrow = library("pyarrow")
        with arrow.OSFile(str(folder / "tokens.arrow")) as file:
            values: NDArray[np.uint16] = library("pyarrow.ipc").open_stream(file).read_all().column(0).to_numpy()
            return values
