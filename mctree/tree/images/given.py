"""Where do the pixels come from that an image is made of, or made of again?  Arrays, sources, and what is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, SourceError, UsageError
from mctree.format.images import LARGEST_SIDE, ImageRecord
from mctree.sources.images import Access, ArraySource, Box, ImageSource, Pixels, open_image
from mctree.tree.images.asking import fingerprint_of, require_sound
from mctree.tree.images.blocks import Extent
from mctree.tree.images.image import STATES, Image
from mctree.tree.images.overviews import codes
from mctree.tree.images.patches import TILE_PIXELS

__all__ = [
    "Everywhere",
    "Overlaid",
    "as_image",
    "followed",
    "reopened",
    "require_same_pixels",
    "require_storable",
    "source_of",
    "widened",
]

_MOST_CHANNELS = 64


def as_image(image: object) -> ImageSource:
    """An image as a source of its pixels.

    Raises:
        UsageError: it is neither an array nor a source, or a source that says of itself what cannot be.
    """
    if isinstance(image, np.ndarray):
        return ArraySource(image)
    if isinstance(image, ImageSource):
        require_sound(image)
        return image
    raise UsageError(f"an image is an array of pixels or an ImageSource, not {type(image).__name__}")


def require_storable(source: ImageSource) -> None:
    """Refuse an image that a store cannot hold.

    Raises:
        UsageError: it is too large, or its pixels are of another kind.
    """
    if not 1 <= source.height <= LARGEST_SIDE or not 1 <= source.width <= LARGEST_SIDE:
        raise UsageError(f"an image is 1 to {LARGEST_SIDE} pixels high and wide, not {source.height} × {source.width}")
    if not 1 <= source.channels <= _MOST_CHANNELS:
        raise UsageError(f"an image has 1 to {_MOST_CHANNELS} channels, not {source.channels}")
    if np.dtype(source.dtype).name not in ("uint8", "uint16"):
        raise UsageError(f"pixels are uint8 or uint16, not {np.dtype(source.dtype).name}")


def require_same_pixels(record: ImageRecord, source: ImageSource) -> None:
    """Make sure that a source has an image of the same size and type.

    Raises:
        UsageError: it has not.
    """
    found = source.height, source.width, source.channels, np.dtype(source.dtype).name
    if found != (record.height, record.width, record.channels, record.dtype):
        raise UsageError(
            f"the image is {record.height} × {record.width} × {record.channels} of {record.dtype}, and what is given "
            f"for it {found[0]} × {found[1]} × {found[2]} of {found[3]}: replace it instead"
        )


class Everywhere:
    """A source of which every block is looked at: where it has no pixels, what was there is gone."""

    def __init__(self, source: ImageSource) -> None:
        self.width, self.height = source.width, source.height

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """All of a box."""
        yield box


class Overlaid:
    """A committed image of which a region has other pixels.

    Args:
        image: as it was committed; its pixels are kept and were read, or the region consists of whole tiles.
        region: which pixels are others.
        values: these, `[h, w, c]` or `[h, w]`.

    Raises:
        UsageError: they are not as many, or of another kind.
    """

    access: Access = "random"
    levels = (1,)

    def __init__(self, image: Image, region: Box, values: NDArray[Any]) -> None:
        patch = ArraySource(values)
        if (patch.height, patch.width) != (region.height, region.width):
            raise UsageError(
                f"the region has {region.width} × {region.height} pixels, not {patch.width} × {patch.height}"
            )
        self.uri, self.height, self.width = image.uri, image.height, image.width
        self.channels, self.dtype = patch.channels, patch.dtype
        self.fingerprint = hashlib.blake2b(
            f"{image.record.fingerprint} {region} {patch.fingerprint}".encode(), digest_size=16
        ).hexdigest()
        self._image, self._region, self._patch = image, region, patch
        within = widened(region, self)
        if within == region:
            return
        if not image.keeps_pixels:
            raise UsageError(
                f"image {image.id} keeps no pixels to fill up the region's tiles: give a region of whole tiles of "
                f"{TILE_PIXELS} pixels, or the whole image as a source"
            )
        if (image.states(1, image.first(1) + codes(within, TILE_PIXELS)) == STATES.index("unknown")).any():
            raise UsageError(
                f"image {image.id} was not read yet in all of {within}: extend it there first, give a region of whole "
                f"tiles of {TILE_PIXELS} pixels, or give the whole image as a source"
            )

    def read(self, box: Box, level: int = 0) -> Pixels:
        """The pixels of a box, the region's where it meets it."""
        common = box.common(self._region)
        if common == box:
            return self._patch.read(self._within(box))
        found = self._image.pixels(box, partial=True)
        values, real = found.values, found.real()
        if common is not None:
            rows, columns = (
                slice(common.y0 - box.y0, common.y1 - box.y0),
                slice(common.x0 - box.x0, common.x1 - box.x0),
            )
            part = self._patch.read(self._within(common))
            values[rows, columns], real[rows, columns] = part.values, part.real()
        return Pixels(values, real)

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """All of a box."""
        yield box

    def close(self) -> None:
        """Nothing is open."""

    def _within(self, box: Box) -> Box:
        x, y = self._region.x0, self._region.y0
        return Box(box.x0 - x, box.y0 - y, box.x1 - x, box.y1 - y)


def require_inside(region: Box | None, width: int, height: int) -> Box:
    """Make sure that an image of a size has all of a region; the image's own box.

    Raises:
        UsageError: the region reaches beyond it.
    """
    whole = Box(0, 0, width, height)
    if region is not None and not whole.holds(region):
        raise UsageError(f"region {region} reaches beyond the image, which is {whole.width} × {whole.height} pixels")
    return whole


def widened(region: Box | None, source: Extent, side: int = TILE_PIXELS) -> Box:
    """A region of an image, widened to whole squares of a side (tiles); all of it if None.

    Raises:
        UsageError: it reaches beyond the image.
    """
    whole = require_inside(region, source.width, source.height)
    if region is None:
        return whole
    wide = Box(
        region.x0 // side * side, region.y0 // side * side, -(-region.x1 // side) * side, -(-region.y1 // side) * side
    )
    found = wide.common(whole)
    assert found is not None, "it holds the region"
    return found


def source_of(image: Image) -> ImageSource:
    """What gives the pixels of a committed image: those that are kept, or the source that they came from.

    Raises:
        NotFoundError: they are neither kept nor where they came from.
        SourceError: what is there is no longer what was ingested.
    """
    return _Kept(image) if image.keeps_pixels and not image.from_overviews else reopened(image, image.record)


def reopened(image: Image, record: ImageRecord) -> ImageSource:
    """The source that an image came from, opened again.

    Raises:
        NotFoundError: it is gone, or cannot be opened by its URI.
        SourceError: what is there is no longer what was ingested.
    """
    if not record.uri.startswith("file:"):  # what has no such name is no path either
        raise NotFoundError(
            f"not all pixels of image {image.id} are here, and what they came from, {record.uri!r:.200}, cannot be "
            "opened by its name: give it, if there still is such a source"
        )
    try:
        source = open_image(record.uri)
    except (SourceError, UsageError) as error:
        raise NotFoundError(
            f"not all pixels of image {image.id} are here, and {record.uri!r:.200} cannot be opened: {error}"
        ) from error
    try:
        _require_unchanged(image, record, source)
    except SourceError:
        source.close()
        raise
    return source


@contextmanager
def followed(image: Image, record: ImageRecord, given: object) -> Iterator[ImageSource]:
    """The source of an image: what is given, which must be the same as ever; or what its record names, opened again.

    Raises:
        NotFoundError: none is given, and the one it came from cannot be opened.
        UsageError: what is given is no image, or one of another size or type.
        SourceError: it has changed.
    """
    if given is None:
        source = reopened(image, record)
        try:
            yield source
        finally:
            source.close()
        return
    source = as_image(given)
    require_same_pixels(record, source)
    _require_unchanged(image, record, source)
    yield source


def _require_unchanged(image: Image, record: ImageRecord, source: ImageSource) -> None:
    if fingerprint_of(source) != record.fingerprint:
        raise SourceError(f"{source.uri!r:.200} has changed since image {image.id} was ingested: replace the image")


class _Kept:
    """The kept pixels of a committed image; of what was not read yet, none."""

    access: Access = "random"
    levels = (1,)

    def __init__(self, image: Image) -> None:
        self.uri, self.height, self.width = image.uri, image.height, image.width
        self.channels, self.dtype, self.fingerprint = image.channels, image.dtype, image.record.fingerprint
        self._image = image

    def read(self, box: Box, level: int = 0) -> Pixels:
        """The kept pixels of a box."""
        return self._image.pixels(box, partial=True)

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """All of a box."""
        yield box

    def close(self) -> None:
        """Nothing is open."""
