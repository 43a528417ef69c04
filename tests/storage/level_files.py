"""Chunk files of one level beside the array that they stand for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.format.arrays import ArrayLayout
from mctree.storage.level import Level, open_level

KINDS = ("mapped", "mapped cold", "pooled", "pooled cold", "portable")


class Files:
    """Chunk files in a folder, an opener that counts, and a model of what the level must read as."""

    def __init__(self, folder: Path, layout: ArrayLayout) -> None:
        self.folder = folder
        self.layout = layout
        self.opened: list[int] = []
        self.chunks: dict[int, NDArray[Any]] = {}

    def path(self, chunk: int) -> Path:
        return self.folder / self.layout.chunk_key(chunk)

    def write(self, chunk: int, seed: int = 0, stop: int | None = None) -> None:
        """Make a chunk file of which the rows below `stop` are written, the others fill."""
        rows = np.full((self.layout.rows_per_chunk, *self.layout.row), self.layout.fill, self.layout.numpy)
        rng = np.random.default_rng([seed, chunk])
        rows[:stop] = rng.integers(1, 100, rows[:stop].shape)
        self.path(chunk).write_bytes(rows.tobytes())
        self.chunks[chunk] = rows

    def append(self, start: int, rows: NDArray[Any]) -> None:
        """Write rows in place, making chunk files of their full size where needed, as a writer does."""
        size = self.layout.rows_per_chunk
        for row, value in enumerate(rows, start):
            chunk, place = divmod(row, size)
            if chunk not in self.chunks:
                self.write(chunk, stop=0)
            self.chunks[chunk][place] = value
            with self.path(chunk).open("r+b") as file:
                file.seek(place * self.layout.row_bytes)
                file.write(value.tobytes())

    def open(self, chunk: int) -> int | None:
        self.opened.append(chunk)
        return os.open(self.path(chunk), os.O_RDONLY) if chunk in self.chunks else None

    def level(self, kind: str, capacity_rows: int, slots: int = 2) -> Level:
        how, _, access = kind.partition(" ")
        return open_level(
            self.layout,
            self.open,
            capacity_rows=capacity_rows,
            slots=slots if how == "pooled" else None,
            portable=how == "portable",
            access="cold" if access else "resident",
        )

    def expected(self, rows: Any) -> NDArray[Any]:
        found = np.full((len(rows), *self.layout.row), self.layout.fill, self.layout.numpy)
        for i, row in enumerate(rows):
            chunk, place = divmod(int(row), self.layout.rows_per_chunk)
            if chunk in self.chunks:
                found[i] = self.chunks[chunk][place]
        return found


def paged_layout(dtype: str = "uint16", row: tuple[int, ...] = (), pages: int = 1, fill: int = 0) -> ArrayLayout:
    """The smallest layout of so many times as many rows as fill whole pages."""
    row_bytes = ArrayLayout("x", dtype, row, 1).row_bytes
    page = os.sysconf("SC_PAGESIZE")
    return ArrayLayout("gists/one/lod1", dtype, row, pages * page // math.gcd(row_bytes, page), fill)
