"""What tiles are read from: one flat file, which is the limit, and Zarr v3 arrays of square chunks.

The array stores hold each level in chunks of 256 × 256 pixels with all channels, raw or compressed with zstd, level 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["CHUNK", "FlatTiles", "TensorStoreTiles", "ZarrTiles"]

CHUNK = 256
_CACHE = 4 << 30
Form = Literal["raw", "zstd"]


class FlatTiles:
    """The limit: a flat file for each level, mapped, and a copy of the square."""

    def __init__(self, sizes: Sizes) -> None:
        self.about = About("flat memmap", "the limit", "np.memmap [y, x, c], a copy of a slice")
        self._image = sizes.image

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """Rows of pixels one after another."""
        for number, level in enumerate(levels):
            (folder / str(number)).write_bytes(level.tobytes())

    def open(self, folder: Path) -> _FlatTileReader:
        """Map all levels."""
        sides = (self._image, self._image // 16)
        return _FlatTileReader(
            [
                np.asarray(np.memmap(folder / str(number), np.uint8, mode="r", shape=(side, side, 3)))
                for number, side in enumerate(sides)
            ]
        )


class _FlatTileReader:
    def __init__(self, levels: list[NDArray[np.uint8]]) -> None:
        self._levels = levels

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """Copy a slice."""
        return self._levels[level][y : y + side, x : x + side].copy()

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        self._levels.clear()


class ZarrTiles:
    """zarr-python, which has no cache of decoded chunks."""

    def __init__(self, sizes: Sizes, form: Form) -> None:
        self._form = form
        self.about = About(
            f"zarr-python {form}", "array store", f"chunks of {CHUNK} × {CHUNK}", requires=("zarr", "numcodecs")
        )

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """An array for each level."""
        codecs = [library("zarr.codecs").ZstdCodec(level=1)] if self._form == "zstd" else None
        for number, level in enumerate(levels):
            array = library("zarr").create_array(
                str(folder / str(number)),
                shape=level.shape,
                dtype=level.dtype,
                chunks=(CHUNK, CHUNK, level.shape[2]),
                compressors=codecs,
            )
            array[:] = level

    def open(self, folder: Path) -> _SlicedReader:
        """Open both arrays."""
        return _SlicedReader([library("zarr").open_array(str(folder / str(number)), mode="r") for number in (0, 1)])


class _SlicedReader:
    def __init__(self, levels: list[Any]) -> None:
        self._levels = levels

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """One slice."""
        found: NDArray[np.uint8] = np.asarray(self._levels[level][y : y + side, x : x + side])
        return found

    def close(self) -> None:
        """Nothing is held open."""
        self._levels.clear()


class TensorStoreTiles:
    """TensorStore, with or without a cache that has room for everything, never checked against the files."""

    def __init__(self, sizes: Sizes, form: Form, *, cached: bool) -> None:
        self._form = form
        self._cached = cached
        note = "cache of 4 GiB of decoded chunks, never revalidated" if cached else "no cache"
        self.about = About(
            f"TensorStore {form}{', cached' if cached else ''}",
            "array store",
            f"zarr3, chunks of {CHUNK} × {CHUNK}; {note}",
            requires=("tensorstore",),
        )

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """An array for each level."""
        codecs: list[dict[str, Any]] = [{"name": "bytes"}]
        if self._form == "zstd":
            codecs.append({"name": "zstd", "configuration": {"level": 1}})
        for number, level in enumerate(levels):
            metadata = {
                "shape": list(level.shape),
                "data_type": "uint8",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [CHUNK, CHUNK, level.shape[2]]}},
                "codecs": codecs,
            }
            spec = _spec(folder / str(number)) | {"metadata": metadata, "create": True}
            library("tensorstore").open(spec).result().write(level).result()

    def open(self, folder: Path) -> _AwaitedReader:
        """Open both arrays with one context."""
        ts = library("tensorstore")
        context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE if self._cached else 0}})
        checks = {"recheck_cached_data": False if self._cached else "open", "recheck_cached_metadata": "open"}
        return _AwaitedReader(
            [ts.open(_spec(folder / str(number)) | checks, read=True, context=context).result() for number in (0, 1)]
        )


class _AwaitedReader(_SlicedReader):
    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """One read."""
        found: NDArray[np.uint8] = self._levels[level][y : y + side, x : x + side].read().result()
        return found


def _spec(path: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
