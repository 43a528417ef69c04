"""Where imagery comes from: one protocol, `ImageSource`, that hands over boxes of pixels and says where some are.

    with open_image("slide.tif") as image:
        pixels = image.read(Box(0, 0, 512, 512))       # values [512, 512, c], and a mask where some are missing
        coarse = image.read(Box(0, 0, 64, 64), level=3)

    protocol        what an image hands over, and what a source of one's own must provide
    opening         which kind of image is at a path
    array           an array in memory
    pictures        PNG, JPEG, WebP, GIF, BMP
    tiff            TIFF, BigTIFF, cloud-optimised GeoTIFF
    zarr_source     Zarr and OME-Zarr
    pyramid         tiles numbered by zoom, column and row: PMTiles, MBTiles, folders

What reads a kind of file is loaded when one is met, with the libraries that it needs.
"""

from __future__ import annotations

from mctree.sources.images.array import ArraySource
from mctree.sources.images.opening import open_image
from mctree.sources.images.protocol import LARGEST_SIDE, Access, Box, ImageSource, OpenedImage, Pixels, PixelValues

__all__ = [
    "LARGEST_SIDE",
    "Access",
    "ArraySource",
    "Box",
    "ImageSource",
    "OpenedImage",
    "PixelValues",
    "Pixels",
    "open_image",
]
