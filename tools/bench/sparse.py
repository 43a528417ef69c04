"""What is the huge sparse level of a run, and who asks for what of it?

Of its chunks one in 32 exists: clusters of eight neighbours, as an image's covered parts leave them, far apart.  They
are chunk files as mctree writes them, and thereby a Zarr v3 array that all contenders read where it lies.  Beside them
lies one flat file of the chunks that exist, which the limit reads and against which every answer is held.

Requests follow attention that drifts: each is for random rows of a *window* of neighbouring chunks (of those that
exist), which takes three quarters of the room that a contender has, and moves on by one chunk with every request.  So
one of its chunks is new each time, and was let go long ago.  One row in sixteen lies just beyond the end of a cluster,
where nothing exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.sizes import Sizes

__all__ = ["SparseLevel", "make_level", "requests"]

_SEED = 20_261_128
_CLUSTER, _STRIDE = 8, 256
_MISSED = 16


@dataclass(frozen=True, slots=True, eq=False)
class SparseLevel:
    """A level most of which does not exist.

    Attributes:
        folder: where its chunk files and its `zarr.json` lie.
        rows: how many it would have if all of it existed.
        dim: length of a row, float16.
        chunk_rows: rows in a chunk.
        chunks: the chunks that exist, int64 `[n]`, ascending.
        slots: how many chunks find room at a time.
        flat: the chunks that exist one after another, and one of zeros behind them, without a header.
    """

    folder: Path
    rows: int
    dim: int
    chunk_rows: int
    chunks: NDArray[np.int64]
    slots: int
    flat: Path

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk."""
        return self.chunk_rows * self.dim * 2

    def file(self, chunk: int) -> Path:
        """The file of a chunk, whether it exists or not."""
        return self.folder / f"c.{chunk}.0"

    def dense(self) -> NDArray[np.float16]:
        """The flat file, mapped: float16 `[(n + 1) * chunk_rows, dim]`."""
        return np.asarray(np.memmap(self.flat, np.float16, mode="r")).reshape(-1, self.dim)

    def places(self) -> NDArray[np.int64]:
        """Which chunk of the flat file stands for each that there could be: int64 `[rows / chunk_rows]`."""
        found = np.full(self.rows // self.chunk_rows, len(self.chunks), np.int64)
        found[self.chunks] = np.arange(len(self.chunks))
        return found


def make_level(sizes: Sizes, folder: Path) -> SparseLevel:
    """Write the level of these sizes below an empty folder; always the same one."""
    # Loaded here, since processes that measure peers read the protocols, which name this module.
    from mctree.format.arrays import ArrayLayout, rows_per_chunk  # noqa: PLC0415
    from mctree.format.zarr import array_metadata  # noqa: PLC0415

    chunk_rows = rows_per_chunk(2 * sizes.dim, sizes.sparse_chunk_bytes)
    numbers = np.arange(sizes.sparse_chunks)
    chunks = numbers // _CLUSTER * _STRIDE + numbers % _CLUSTER
    rows = -(-sizes.sparse_chunks // _CLUSTER) * _STRIDE * chunk_rows
    level = SparseLevel(folder / "level", rows, sizes.dim, chunk_rows, chunks, sizes.slots, folder / "flat.f16")
    level.folder.mkdir()
    layout = ArrayLayout("level", "float16", (sizes.dim,), chunk_rows)
    (level.folder / "zarr.json").write_bytes(array_metadata(layout, rows))
    rng = np.random.default_rng(_SEED)
    with level.flat.open("wb") as flat:
        for chunk in chunks.tolist():
            values = rng.standard_normal((chunk_rows, sizes.dim), dtype=np.float32).astype(np.float16).tobytes()
            level.file(chunk).write_bytes(values)
            flat.write(values)
        flat.write(bytes(level.chunk_bytes))
        flat.flush()
        os.fsync(flat.fileno())
    return level


def requests(level: SparseLevel, gathered: int) -> Iterator[NDArray[np.int64]]:
    """The rows of one request after another, int64 `[gathered]` each, without end; always the same ones."""
    rng = np.random.default_rng(_SEED + 1)
    width = min(level.slots * 3 // 4, len(level.chunks))
    start = 0
    while True:
        window = level.chunks[(start + np.arange(width)) % len(level.chunks)]
        chunks = rng.choice(window, gathered)
        missed = rng.integers(0, _MISSED, gathered) == 0
        chunks[missed] += _CLUSTER - chunks[missed] % _STRIDE
        yield chunks * level.chunk_rows + rng.integers(0, level.chunk_rows, gathered)
        start += 1
