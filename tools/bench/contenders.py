"""Who takes part?  Every configuration of every store, the limits first."""

from __future__ import annotations

from tools.bench.ours import Mctree, MctreeAppend, MctreeGrowth, MctreeIngest, MctreeTokenizer
from tools.bench.ours_images import MctreePyramid
from tools.bench.ours_loop import MctreeLoop
from tools.bench.ours_pool import MctreeLevel
from tools.bench.ours_tiles import MctreeTiles
from tools.bench.peers import Appender, Grower, Ingester, Peer, PyramidMaker, SparseReader, TileStore
from tools.bench.peers.arrow import ArrowAppend, ArrowFile, HuggingFace
from tools.bench.peers.caches import CachedTensorStore, CachedZarr, ChunkDictionary, FlatOfExisting
from tools.bench.peers.flat import ByHand, FlatMemmap, SyncedFile
from tools.bench.peers.hdf5 import H5py, H5pyAppend
from tools.bench.peers.lances import Lance, LanceAppend
from tools.bench.peers.lmdb_records import LmdbAppend, LmdbRecords
from tools.bench.peers.loops import (
    BareMemmap,
    GetBatch,
    HuggingFaceRows,
    LitData,
    MegatronSamples,
    Mosaic,
    WindowLoop,
)
from tools.bench.peers.megatron import MegatronBinIdx
from tools.bench.peers.shrinking import (
    Copy,
    NumpyMeans,
    OmeZarrScaler,
    OmeZarrWriter,
    PillowReduce,
    VipsDzsave,
    VipsShrink,
)
from tools.bench.peers.tensorstores import TensorStore, TensorStoreAppend
from tools.bench.peers.tiled_arrays import FlatTiles, TensorStoreTiles, ZarrTiles
from tools.bench.peers.tiled_files import OpenSlideTiles, TiffTiles, VipsTiles
from tools.bench.peers.tokenizing import HuggingFaceIngest, MegatronIngest, TokenizerAlone
from tools.bench.peers.zarr_python import ZarrAppend, ZarrPython
from tools.bench.sizes import Sizes

__all__ = [
    "appenders",
    "growers",
    "ingesters",
    "large_pyramid_makers",
    "loops",
    "pyramid_makers",
    "references",
    "sparse_readers",
    "stores",
    "tile_stores",
]


def references(sizes: Sizes) -> tuple[Peer, ...]:
    """The stores that stand beside every other one: the limits, and ours."""
    return (FlatMemmap(sizes), Mctree(sizes), MegatronBinIdx(sizes))


def stores(sizes: Sizes) -> tuple[Peer, ...]:
    """All stores of gists and tokens."""
    return (
        *references(sizes),
        ArrowFile(sizes, whole=True),
        ArrowFile(sizes, whole=False),
        HuggingFace(sizes),
        LmdbRecords(sizes),
        TensorStore(sizes, "cached", cached=True),
        TensorStore(sizes, "uncached"),
        TensorStore(sizes, "sharded", sharded=True),
        H5py(sizes, chunked=False),
        H5py(sizes, chunked=True),
        Lance(sizes),
        ZarrPython(sizes, "raw"),
        ZarrPython(sizes, "crc32c"),
        ZarrPython(sizes, "zstd"),
        ZarrPython(sizes, "sharded"),
    )


def appenders(sizes: Sizes) -> tuple[Appender, ...]:
    """All stores that small pieces can be appended to."""
    return (
        ByHand(sizes),
        MctreeAppend(sizes),
        ByHand(sizes, grows=True),
        SyncedFile(sizes),
        LmdbAppend(sizes),
        ArrowAppend(sizes),
        H5pyAppend(sizes),
        LanceAppend(sizes),
        TensorStoreAppend(sizes),
        ZarrAppend(sizes),
    )


def ingesters(sizes: Sizes) -> tuple[Ingester, ...]:
    """All ways from text to stored tokens."""
    return (
        TokenizerAlone(sizes),
        MctreeTokenizer(sizes),
        MctreeIngest(sizes, gists=False),
        MctreeIngest(sizes, gists=True),
        MctreeIngest(sizes, gists=True, cores=1),
        MegatronIngest(sizes),
        HuggingFaceIngest(sizes),
    )


def growers(sizes: Sizes) -> tuple[Grower, ...]:
    """All stores that are asked how they behave as they grow."""
    return (MctreeGrowth(sizes),)


def pyramid_makers(sizes: Sizes) -> tuple[PyramidMaker, ...]:
    """All makers of the coarser levels of an image."""
    return (
        Copy(sizes),
        MctreePyramid(sizes, vectors=False),
        MctreePyramid(sizes, vectors=True),
        MctreePyramid(sizes, vectors=True, process=True),
        MctreePyramid(sizes, vectors=True, cores=1),
        MctreePyramid(sizes, vectors=True, keep=True),
        MctreePyramid(sizes, vectors=True, keep=True, process=True),
        MctreePyramid(sizes, vectors=True, keep=True, cores=1),
        NumpyMeans(sizes),
        PillowReduce(sizes),
        VipsShrink(sizes),
        VipsDzsave(sizes),
        OmeZarrScaler(sizes),
        OmeZarrWriter(sizes),
    )


def large_pyramid_makers(sizes: Sizes) -> tuple[PyramidMaker, ...]:
    """Ours of the pyramid of an image whose pixels are too many to be kept."""
    return (MctreePyramid(sizes, vectors=True, cores=1), MctreePyramid(sizes, vectors=True, process=True))


def tile_stores(sizes: Sizes) -> tuple[TileStore, ...]:
    """All that tiles of an image are read from."""
    return (
        FlatTiles(sizes),
        MctreeTiles(sizes),
        ZarrTiles(sizes, "raw"),
        ZarrTiles(sizes, "zstd"),
        TensorStoreTiles(sizes, "raw", cached=False),
        TensorStoreTiles(sizes, "raw", cached=True),
        TensorStoreTiles(sizes, "zstd", cached=False),
        TensorStoreTiles(sizes, "zstd", cached=True),
        TiffTiles(sizes, "deflate"),
        TiffTiles(sizes, "zstd"),
        OpenSlideTiles(sizes),
        VipsTiles(sizes),
    )


def sparse_readers(sizes: Sizes) -> tuple[SparseReader, ...]:
    """All that reads a level whose chunks do not all find room."""
    return (
        FlatOfExisting(sizes),
        MctreeLevel(sizes, "pooled"),
        MctreeLevel(sizes, "mapped"),
        MctreeLevel(sizes, "decoded"),
        ChunkDictionary(sizes),
        CachedTensorStore(sizes),
        CachedZarr(sizes),
    )


def loops(sizes: Sizes) -> tuple[WindowLoop | MctreeLoop, ...]:
    """All that feeds training loops."""
    return (
        BareMemmap(sizes),
        MctreeLoop(sizes),
        MctreeLoop(sizes, everything=True),
        MctreeLoop(sizes, documents=True),
        MctreeLoop(sizes, documents=True, everything=True),
        GetBatch(sizes),
        MegatronSamples(sizes),
        HuggingFaceRows(sizes),
        LitData(sizes),
        Mosaic(sizes),
    )
