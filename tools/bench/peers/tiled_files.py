"""What tiles are read from: one TIFF with tiles of 256 × 256 pixels and two levels, by tifffile, OpenSlide and libvips.

Nothing is lost: differences of neighbours are compressed with deflate, which all three read, or with zstd.  tifffile's
own Zarr interface was measured to take three times as long as decoding tile by tile, as is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["OpenSlideTiles", "TiffTiles", "VipsTiles"]

_TILE = 256
_KIND = "image file"
_FILE = "image.tif"
_COARSER = 16
Compression = Literal["deflate", "zstd"]


def _write(levels: Sequence[NDArray[np.uint8]], folder: Path, compression: Compression) -> None:
    with library("tifffile").TiffWriter(folder / _FILE) as file:
        for number, level in enumerate(levels):
            file.write(
                level,
                tile=(_TILE, _TILE),
                compression=compression,
                predictor=True,
                photometric="rgb",
                subfiletype=int(number > 0),
            )


class TiffTiles:
    """tifffile: the tiles that a square touches are read and decoded, and what of them it needs is copied."""

    def __init__(self, sizes: Sizes, compression: Compression) -> None:
        self._compression: Compression = compression
        note = f"{compression} of differences, tiles of {_TILE} × {_TILE}; TiffPage.decode"
        self.about = About(f"tifffile {compression}", _KIND, note, requires=("tifffile", "imagecodecs"))

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """A page for each level."""
        _write(levels, folder, self._compression)

    def open(self, folder: Path) -> _TiffReader:
        """Open the file, and read where its tiles lie."""
        return _TiffReader(library("tifffile").TiffFile(folder / _FILE))


class _TiffReader:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._pages = [file.pages[number] for number in (0, 1)]

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """Tile by tile."""
        page, handle = self._pages[level], self._file.filehandle
        out = np.empty((side, side, 3), np.uint8)
        across = -(-page.imagewidth // _TILE)
        for top in range(y // _TILE * _TILE, y + side, _TILE):
            for left in range(x // _TILE * _TILE, x + side, _TILE):
                number = top // _TILE * across + left // _TILE
                handle.seek(page.dataoffsets[number])
                tile = page.decode(handle.read(page.databytecounts[number]), number)[0][0]
                y0, y1, x0, x1 = max(y, top), min(y + side, top + _TILE), max(x, left), min(x + side, left + _TILE)
                out[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class OpenSlideTiles:
    """OpenSlide, which keeps decoded tiles in a cache of its own and gives pixels with an alpha channel."""

    about = About(
        "OpenSlide", _KIND, "deflate of differences; read_region, alpha dropped; its cache as it comes",
        requires=("openslide", "tifffile", "imagecodecs"),
    )  # fmt: skip

    def __init__(self, sizes: Sizes) -> None:
        pass

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """A directory for each level."""
        _write(levels, folder, "deflate")

    def open(self, folder: Path) -> _SlideReader:
        """Open the file as a slide."""
        return _SlideReader(library("openslide").OpenSlide(folder / _FILE))


class _SlideReader:
    def __init__(self, slide: Any) -> None:
        self._slide = slide

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """A region, whose corner is said in pixels of the finest level."""
        finer = _COARSER**level
        found: NDArray[np.uint8] = np.asarray(self._slide.read_region((x * finer, y * finer), level, (side, side)))
        return found[..., :3].copy()

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()


class VipsTiles:
    """libvips, which keeps decoded tiles in a cache of its own."""

    about = About(
        "libvips", _KIND, "deflate of differences; Region.fetch; its cache as it comes",
        requires=("pyvips", "tifffile", "imagecodecs"),
    )  # fmt: skip

    def __init__(self, sizes: Sizes) -> None:
        pass

    def write(self, levels: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        """A directory for each level."""
        _write(levels, folder, "deflate")

    def open(self, folder: Path) -> _VipsReader:
        """Open each level as an image, and a region of it; what it cannot decode shall raise, not read as zeros."""
        vips = library("pyvips")
        return _VipsReader(
            [
                vips.Region.new(vips.Image.new_from_file(str(folder / _FILE), page=page, fail_on="error"))
                for page in (0, 1)
            ]
        )


class _VipsReader:
    def __init__(self, regions: list[Any]) -> None:
        self._regions = regions

    def read(self, level: int, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """A region's bytes, which are copied once, since the array over them could not be written to."""
        held = self._regions[level].fetch(x, y, side, side)
        return np.frombuffer(held, np.uint8).reshape(side, side, 3).copy()

    def close(self) -> None:
        """Drop the images."""
        self._regions.clear()
