"""Lance: a columnar format made for random access, with versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data, expand
from tools.bench.peers.columns import batches, joined, windows_of_records
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["Lance", "LanceAppend"]


class Lance:
    """A table per column: gists as fixed lists, tokens in records of one training window."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        note = "fixed lists, take; tokens in records of one window"
        self.about = About("Lance", "table store", note, requires=("lance", "pyarrow"))

    def write(self, data: Data, folder: Path) -> None:
        """Two tables, from batches of a chunk each."""
        s = self._sizes
        for name, values, width, step in (
            ("gists", data.gists, s.dim, s.chunk_rows),
            ("tokens", data.tokens, s.window, s.chunk_tokens // s.window),
        ):
            table = library("pyarrow").Table.from_batches(list(batches(values, name, width, step)))
            library("lance").write_dataset(table, str(folder / f"{name}.lance"))

    def open(self, folder: Path) -> _LanceReader:
        """Open both tables."""
        lance = library("lance")
        return _LanceReader(lance.dataset(str(folder / "gists.lance")), lance.dataset(str(folder / "tokens.lance")))


class _LanceReader:
    def __init__(self, gists: Any, tokens: Any) -> None:
        self._gists = gists
        self._tokens = tokens

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One take."""
        out[:] = joined(self._gists.take(rows).column(0)).reshape(out.shape)

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """One take of all rows."""
        self.gather(expand(starts, length), out)

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """One take of all the records that are needed."""
        records, places = windows_of_records(starts, out)
        tokens = joined(self._tokens.take(records).column(0))
        for k, start, stop in places:
            out[k] = tokens[start:stop]

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """Batches of the buffer's length, in order."""
        for batch in self._gists.to_batches(batch_size=len(out), scan_in_order=True):
            piece = joined(batch.column(0)).reshape(-1, out.shape[1])
            out[: len(piece)] = piece
            yield len(piece)

    def close(self) -> None:
        """Drop both tables."""
        del self._gists, self._tokens


class LanceAppend:
    """A new version, with a new fragment, per piece."""

    def __init__(self, sizes: Sizes) -> None:
        note = "write_dataset(mode='append'); durable as far as Lance makes it so"
        self.about = About("Lance", "table store", note, requires=("lance", "pyarrow"))

    def create(self, folder: Path) -> None:
        """An empty table."""
        arrow = library("pyarrow")
        self._path = str(folder / "tokens.lance")
        empty = arrow.table({"tokens": arrow.array([], arrow.uint16())})
        self._dataset = library("lance").write_dataset(empty, self._path)

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """One append, to the open dataset."""
        arrow = library("pyarrow")
        table = arrow.table({"tokens": arrow.array(tokens)})
        self._dataset = library("lance").write_dataset(table, self._dataset, mode="append")

    def close(self) -> None:
        """Drop the table."""
        del self._dataset

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """The whole column."""
        table = library("lance").dataset(str(folder / "tokens.lance")).to_table()
        values: NDArray[np.uint16] = table.column(0).to_numpy()
        return values
