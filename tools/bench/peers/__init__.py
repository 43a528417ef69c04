"""The stores that mctree is measured beside, one module each, all behind the protocols of `protocol`.

flat (the limit), megatron, zarr_python, tensorstores, hdf5, arrow (files, and Hugging Face datasets), lances,
lmdb_records; `tokenizing` holds what ingest is measured beside, `shrinking` what pyramids of images are, `tiled_arrays`
and `tiled_files` what tiles are read from, `caches` what a pool of slots is measured beside, `loops` what feeds
training loops.
"""

from __future__ import annotations

from tools.bench.peers.protocol import (
    READS,
    About,
    Appender,
    Grower,
    Grown,
    Ingested,
    Ingester,
    Peer,
    PyramidMaker,
    Reader,
    SparseReader,
    TileReader,
    TileStore,
)

__all__ = [
    "READS",
    "About",
    "Appender",
    "Grower",
    "Grown",
    "Ingested",
    "Ingester",
    "Peer",
    "PyramidMaker",
    "Reader",
    "SparseReader",
    "TileReader",
    "TileStore",
]
