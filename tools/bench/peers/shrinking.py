"""What makes the coarser levels of an image: NumPy by hand, Pillow, libvips and ome-zarr-py; and the limit, a copy.

All get the same image in memory.  Those that halve a side from level to level make all levels; those that can shrink by
any factor make the levels that mctree has: 16, 128, 256 … pixels to one.  Only dzsave writes files, as mctree does.
Values are of uint8, so that each of these rounds once for each level; mctree does not round.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["Copy", "NumpyMeans", "OmeZarrScaler", "OmeZarrWriter", "PillowReduce", "VipsDzsave", "VipsShrink"]

_TILE = 128
_KIND = "image library"


class Copy:
    """The limit: every pixel is read once, and written once."""

    about = About("a copy", "the limit", "np.copyto")
    tolerance = 1e-9

    def __init__(self, sizes: Sizes) -> None:
        self._pixels = np.zeros((0, 0, 3), np.uint8)
        self._copy = self._pixels

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """Keep it, and room for another."""
        self._pixels, self._copy = pixels, np.empty_like(pixels)

    def make(self) -> None:
        """Copy."""
        np.copyto(self._copy, self._pixels)

    def means(self) -> NDArray[np.float64]:
        """Of the copy."""
        height, width, channels = self._copy.shape
        squares = self._copy.reshape(height // _TILE, _TILE, width // _TILE, _TILE, channels)
        found: NDArray[np.float64] = squares.mean(axis=(1, 3))
        return found


class NumpyMeans:
    """By hand: means of 2 × 2 in float32, level by level."""

    about = About("NumPy, halving", "by hand", "means of 2 × 2 in float32, all levels kept")
    tolerance = 1e-3

    def __init__(self, sizes: Sizes) -> None:
        self._pixels = np.zeros((0, 0, 3), np.uint8)
        self._levels: list[NDArray[np.float32]] = []

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """Keep it."""
        self._pixels = pixels

    def make(self) -> None:
        """Halve until one pixel is left."""
        level: NDArray[Any] = self._pixels
        self._levels = []
        while level.shape[0] > 1:
            four = [level[y::2, x::2].astype(np.float32) for y in (0, 1) for x in (0, 1)]
            level = (four[0] + four[1] + four[2] + four[3]) * np.float32(0.25)
            self._levels.append(level)

    def means(self) -> NDArray[np.float64]:
        """The seventh level."""
        return self._levels[6].astype(np.float64)


class PillowReduce:
    """Pillow's box filter."""

    about = About("Pillow reduce", _KIND, "reduce(16), reduce(8), reduce(2) … of uint8", ("PIL",))
    tolerance = 1.0

    def __init__(self, sizes: Sizes) -> None:
        self._image: Any = None
        self._levels: list[Any] = []

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """As an image of its own."""
        self._image = library("PIL.Image").fromarray(pixels)

    def make(self) -> None:
        """Reduce until one pixel is left."""
        self._levels = [self._image.reduce(16)]
        self._levels.append(self._levels[0].reduce(8))
        while self._levels[-1].height > 1:
            self._levels.append(self._levels[-1].reduce(2))

    def means(self) -> NDArray[np.float64]:
        """The second level."""
        return np.asarray(self._levels[1], np.float64)


class VipsShrink:
    """libvips' box filter, without files."""

    about = About("libvips shrink", _KIND, "shrink(16), shrink(8), shrink(2) … of uint8, to memory", ("pyvips",))
    tolerance = 1.0

    def __init__(self, sizes: Sizes) -> None:
        self._image: Any = None
        self._levels: list[NDArray[np.uint8]] = []

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """As an image over the same memory."""
        self._image = _vips_image(pixels)

    def make(self) -> None:
        """Shrink until one pixel is left."""
        self._levels = []
        image, factor = self._image, 16
        while not self._levels or self._levels[-1].shape[0] > 1:
            shrunk = image.shrink(factor, factor)
            level = np.frombuffer(shrunk.write_to_memory(), np.uint8).reshape(shrunk.height, shrunk.width, 3)
            self._levels.append(level)
            image, factor = _vips_image(level), {16: 8}.get(factor, 2)

    def means(self) -> NDArray[np.float64]:
        """The second level."""
        return self._levels[1].astype(np.float64)


class VipsDzsave:
    """libvips' maker of tiled pyramids: all levels as files."""

    about = About(
        "libvips dzsave", _KIND, "PNG without compression, tiles of 256, means, levels to one pixel", ("pyvips",)
    )
    tolerance = 4.0

    def __init__(self, sizes: Sizes) -> None:
        self._image: Any = None
        self._folder = Path()

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """As an image over the same memory."""
        self._image = _vips_image(pixels)
        self._folder = folder / "pyramid"

    def make(self) -> None:
        """Write all levels, in place of those of the last call."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self._image.dzsave(
            str(self._folder / "made"),
            suffix=".png[compression=0]",
            depth="onepixel",
            tile_size=256,
            overlap=0,
            region_shrink="mean",
        )

    def means(self) -> NDArray[np.float64]:
        """The level seven above the finest, read again from its only tile."""
        found = (self._folder / "made_files").iterdir()
        levels = sorted((level for level in found if level.name.isdecimal()), key=lambda level: int(level.name))
        tile = library("pyvips").Image.new_from_file(str(levels[-8] / "0_0.png"))
        pixels = np.frombuffer(tile.write_to_memory(), np.uint8).reshape(tile.height, tile.width, 3)
        return pixels.astype(np.float64)


class OmeZarrScaler:
    """The scaler of ome-zarr-py, which is scikit-image's local mean, level by level."""

    about = About("ome-zarr-py local mean", _KIND, "Scaler.local_mean of uint8 [c, y, x]", ("ome_zarr",))
    tolerance = 8.0  # it cuts the fraction off, at each of seven levels

    def __init__(self, sizes: Sizes) -> None:
        self._planes = np.zeros((3, 0, 0), np.uint8)
        self._levels: list[NDArray[np.uint8]] = []

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """As planes, the way such files have them."""
        self._planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def make(self) -> None:
        """Halve until one pixel is left."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            scaler = library("ome_zarr.scale").Scaler(downscale=2, max_layer=self._planes.shape[1].bit_length() - 1)
        self._levels = scaler.local_mean(self._planes)

    def means(self) -> NDArray[np.float64]:
        """The level seven above the finest."""
        return self._levels[7].transpose(1, 2, 0).astype(np.float64)


class OmeZarrWriter:
    """The writer of ome-zarr-py: all levels as one OME-Zarr, by Dask's threads."""

    about = About(
        "ome-zarr-py write_image",
        _KIND,
        "local means of uint8 [c, y, x], chunks of 256 × 256, all levels stored",
        ("ome_zarr", "zarr", "skimage"),
    )
    tolerance = 8.0  # as the scaler

    def __init__(self, sizes: Sizes) -> None:
        self._planes = np.zeros((3, 0, 0), np.uint8)
        self._folder = Path()

    def take(self, pixels: NDArray[np.uint8], folder: Path) -> None:
        """As planes, the way such files have them."""
        self._planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        self._folder = folder / "image.ome.zarr"

    def make(self) -> None:
        """Halve until one pixel is left, in place of what the last call wrote."""
        shutil.rmtree(self._folder, ignore_errors=True)
        factors = [2**level for level in range(1, self._planes.shape[1].bit_length())]
        library("ome_zarr.writer").write_image(
            self._planes,
            str(self._folder),
            scale_factors=factors,
            method=library("ome_zarr.scale").Methods.LOCAL_MEAN,
            axes="cyx",
            storage_options={"chunks": (1, 256, 256)},
        )

    def means(self) -> NDArray[np.float64]:
        """The level seven above the finest."""
        group = library("zarr").open_group(str(self._folder), mode="r")
        path = group.attrs["ome"]["multiscales"][0]["datasets"][7]["path"]
        return np.asarray(group[path][:]).transpose(1, 2, 0).astype(np.float64)


def _vips_image(pixels: NDArray[np.uint8]) -> Any:
    height, width, channels = pixels.shape
    return library("pyvips").Image.new_from_memory(pixels.data, width, height, channels, "uchar")
