"""Of which image is only a part wanted, and which?  One image, looked at before anything is written.

A region or a coarse view makes sense for the one image that was named, and for nothing else: of many inputs, it would
be another part of each.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from mctree.errors import UsageError
from mctree.geometry import Raster
from mctree.sources import Item, RawImage, Source
from mctree.sources.images import Box

__all__ = ["PartWanted", "require_one_image"]


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
    for item in (found := list(islice(source, 2))):
        if len(found) == 1 and isinstance(item, Item) and not item.container and item.stamp is not None:
            documents = list(islice(item.documents(), 2))
            if len(documents) == 1 and isinstance(documents[0], RawImage):
                _require_part(documents[0], wanted)
                return
    raise UsageError("a region or a coarse view is taken of one image: give the path of one image, and nothing else")


def _require_part(raw: RawImage, wanted: PartWanted) -> None:
    with closing(raw.open()) as image:
        width, height = image.width, image.height
    if wanted.region is not None and not Box(0, 0, width, height).holds(wanted.region):
        raise UsageError(f"region {wanted.region} reaches beyond the image, which is {width} × {height} pixels")
    root = Raster(height, width).root
    if not 0 <= wanted.finest <= root:
        raise UsageError(f"an image of this size has levels 0..{root}, not {wanted.finest}")
