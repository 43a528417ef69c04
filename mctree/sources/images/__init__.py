"""Where imagery comes from: one protocol, `ImageSource`, that hands over boxes of pixels and says where some are."""

from __future__ import annotations

from mctree.sources.images.protocol import LARGEST_SIDE, Access, Box, ImageSource, Pixels, PixelValues

__all__ = ["LARGEST_SIDE", "Access", "Box", "ImageSource", "PixelValues", "Pixels"]
