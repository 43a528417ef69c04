"""Of which image is only a part wanted, and which?  One image, looked at before anything is written.

A region or a coarse view makes sense for the one image that was named, and for nothing else: of many inputs, it would
be another part of each.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from mctree.errors import UsageError
from mctree.geometry import Raster
from mctree.sources import Item, RawImage, Skipped, Source
from mctree.sources.images import Box, ImageSource
from mctree.sources.images.folder_names import holds_tiles
from mctree.sources.images.telling import speaks_against
from mctree.sources.names import shown
from mctree.tree import Image
from mctree.tree.images.blocks import blocks_from
from mctree.tree.images.given import widened
from mctree.tree.images.image import STATES
from mctree.tree.images.overviews import codes, own_level, version_for
from mctree.tree.images.patches import TILE_PIXELS

__all__ = ["PartWanted", "is_there", "lacks_sizes", "require_one_image"]

_WIDEST_STEP = 6
"""A node that is so many levels above tiles of the next smaller size has 64 blocks of it: more are not read for one."""

_OF_ONE = "a region or a coarse view is taken of one image"


@dataclass(frozen=True, slots=True)
class PartWanted:
    """How much of an image is to be read.

    Attributes:
        region: in pixels at its full size; None: all of it.
        finest: the level down to which; 0: down to its pixels.
    """

    region: Box | None = None
    finest: int = 0

    def __bool__(self) -> bool:
        return self.region is not None or self.finest != 0


def require_one_image(source: Source, wanted: PartWanted) -> None:
    """Make sure that a source is one image which has the part that is wanted; the source is walked for it.

    Raises:
        UsageError: it is not, or has not.
        SourceError: the image cannot be opened.
    """
    found = list(islice(source, 2))
    if len(found) == 1:
        (item,) = found
        plain = isinstance(item, Item) and not item.container and item.stamp is not None
        documents = list(islice(item.documents(), 2)) if isinstance(item, Item) and plain else found
        if len(documents) == 1:
            (document,) = documents
            if isinstance(document, RawImage):
                _require_part(document, wanted)
                return
            if isinstance(document, Skipped):
                raise UsageError(f"{_OF_ONE}, and '{shown(document.name)}' cannot be read as one: {document.reason}")
    if why := _other_than_tiles(source):
        raise UsageError(f"{_OF_ONE}, and this folder is none: {why}")
    raise UsageError(f"{_OF_ONE}: give the path of one image, and nothing else")


def _other_than_tiles(source: Source) -> str | None:
    """Why the one folder that was given is no image of tiles, if it looks like one in the first place."""
    paths = [root.path for root in source.roots]
    if len(paths) != 1 or paths[0] is None or not os.path.isdir(paths[0]) or not holds_tiles(paths[0]):
        return None
    return speaks_against(paths[0])


def _require_part(raw: RawImage, wanted: PartWanted) -> None:
    with closing(raw.open()) as image:
        width, height = image.width, image.height
    if wanted.region is not None and not Box(0, 0, width, height).holds(wanted.region):
        raise UsageError(f"region {wanted.region} reaches beyond the image, which is {width} × {height} pixels")
    root = Raster(height, width).root
    if not 0 <= wanted.finest <= root:
        raise UsageError(f"an image of this size has levels 0..{root}, not {wanted.finest}")


def is_there(image: Image, source: ImageSource, region: Box) -> bool:
    """Whether all of a region of an image is there; it takes as long as there is much of it.

    Args:
        image: of the store.
        source: where it comes from.
        region: in pixels.
    """
    for _, block in blocks_from(source, widened(region, source), "z", 0):
        tiles = image.first(1) + codes(block, TILE_PIXELS)
        if (image.states(1, tiles) == STATES.index("unknown")).any():
            return False
    return True


def lacks_sizes(source: ImageSource) -> bool:
    """Whether so much lies between two of the sizes that a source has that a coarse view may not become finer."""
    levels = range(2, Raster(source.height, source.width).root + 1)
    return any(level - own_level(source.levels[version_for(source, level - 1)]) > _WIDEST_STEP for level in levels)
