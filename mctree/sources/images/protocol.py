"""What does an image hand over?  Pixels of boxes, at its own size or smaller, and where there are any.

An *image source* knows its size without having read its pixels, gives those of any box that is asked for, and says
which parts exist at all.  It may be larger than any memory: a read costs what its box costs.

What a caller may rely on, and what a source of another kind must provide:

* Pixels are the image's own.  Nothing is interpolated, converted to another depth, or made up: where a source has
  none, the mask says so and the values are 0.
* Level `k` is the image made smaller by `levels[k]`, as whoever made the image did it; it has `ceil(size / levels[k])`
  pixels a side.  A source makes none itself, so level 0 may be the only one.
* `covered` leaves out what certainly holds no pixels, at a cost that follows from what there is and not from the size
  of the box, and quickly says that a box is empty.  What it names may still be masked when it is read.
* Reading the same box twice gives the same pixels, or `SourceError` if the image changed in between.
* A read holds at most a small multiple of its box and of the pieces (tiles, strips, chunks) that its box touches one
  after the other.  A box too large for that is refused, as are pieces that would be.
* A source is used by one thread at a time.  It can be pickled where it can be opened again, and then reads the same
  image in another process.  If it holds pixels that would be copied, or decodes all of the image or large pieces of it
  for any box, it has an attribute `costly_copies` that is true: then one process reads it for all.

It does not assume that an image is dense, that a level covers what a finer one covers, or that files are well-meant.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self, SupportsIndex, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError

__all__ = [
    "LARGEST_SIDE",
    "Access",
    "Box",
    "ImageSource",
    "OpenedImage",
    "PixelType",
    "PixelValues",
    "Pixels",
    "Watching",
    "check_box",
    "copies_read_cheaply",
    "level_box",
]

LARGEST_SIDE = 1 << 30
"""No image is higher or wider, in pixels: web-mercator tiles of 256 pixels at zoom 22."""

Access = Literal["random", "rows"]
"""What is cheap: any box, or only bands of the whole width, from top to bottom."""

PixelType = np.dtype[np.unsignedinteger[Any]]
PixelValues = NDArray[np.unsignedinteger[Any]]
"""Of `uint8` or `uint16`."""


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """The pixels `[x0, x1) × [y0, y1)` of one level; never empty.

    Raises:
        UsageError: it would be empty, or begin left of or above the image, or an edge is no whole number.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if not type(self.x0) is type(self.y0) is type(self.x1) is type(self.y1) is int:
            for name in ("x0", "y0", "x1", "y1"):
                object.__setattr__(self, name, _whole(getattr(self, name)))
        if not (0 <= self.x0 < self.x1 and 0 <= self.y0 < self.y1):
            raise UsageError(f"a box of pixels [{self.x0}, {self.x1}) × [{self.y0}, {self.y1}) holds none")

    def __str__(self) -> str:
        return f"{self.x0},{self.y0},{self.x1},{self.y1}"

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Pixels in all."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """What an array `[h, w, …]` of the level is indexed with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def seen_from(self, other: Box) -> Box:
        """The same pixels, counted from the left upper corner of another box, which they lie in."""
        return Box(self.x0 - other.x0, self.y0 - other.y0, self.x1 - other.x0, self.y1 - other.y0)

    def common(self, other: Box) -> Box | None:
        """The pixels of both boxes, None if there are none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x1, other.x1), min(self.y1, other.y1)
        return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def holds(self, other: Box) -> bool:
        """Whether all pixels of the other box are pixels of this one."""
        return self.x0 <= other.x0 and self.y0 <= other.y0 and other.x1 <= self.x1 and other.y1 <= self.y1


def _whole(edge: object) -> int:
    """An edge of a box as Python's own integer, whatever kind of integer it is."""
    try:
        return operator.index(cast(SupportsIndex, edge))
    except TypeError:
        raise UsageError(f"the edges of a box are whole numbers of pixels, not {type(edge).__name__}") from None


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """What one read gives.

    Attributes:
        values: `uint8` or `uint16 [h, w, c]`, in the machine's byte order, C-contiguous, and the caller's own; 0 where
            masked.
        mask: `bool [h, w]`, False where the source has no pixel; None where it has all.
    """

    values: PixelValues
    mask: NDArray[np.bool_] | None = None

    def real(self) -> NDArray[np.bool_]:
        """The mask as an array, `bool [h, w]`, also where there is none."""
        return np.ones(self.values.shape[:2], np.bool_) if self.mask is None else self.mask


@runtime_checkable
class ImageSource(Protocol):
    """An image that can be read box by box.  Anything with these members can be added to a store."""

    @property
    def uri(self) -> str:
        """What a store records of where it came from; `open_image` opens it again if it begins with `file:`."""
        ...

    @property
    def height(self) -> int:
        """Pixels from top to bottom, 1 … `LARGEST_SIDE`."""
        ...

    @property
    def width(self) -> int:
        """Pixels from left to right, 1 … `LARGEST_SIDE`."""
        ...

    @property
    def channels(self) -> int:
        """Values of each pixel, 1 or more.  What they mean (grey, red, alpha …) is the image's own affair."""
        ...

    @property
    def dtype(self) -> PixelType:
        """Of the values."""
        ...

    @property
    def levels(self) -> tuple[int, ...]:
        """By how much smaller the sizes are that can be read: powers of two, ascending, 1 first."""
        ...

    @property
    def access(self) -> Access:
        """What is cheap."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal; another one if the image may have changed since, without a look at its pixels.

        May take a `stat` of every file that the image consists of.
        """
        ...

    def read(self, box: Box, level: int = 0) -> Pixels:
        """The pixels of a box of a level.

        Args:
            box: in pixels of that level, and inside it.
            level: an index into `levels`.

        Raises:
            UsageError: there is no such level, the box reaches beyond it, or holds more than may be read at once.
            SourceError: what is there is damaged, no longer what was opened, or not what it says it is.
        """
        ...

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """Where in a box there may be pixels: boxes inside it, in any order, that have no pixel in common.

        Raises:
            UsageError: as `read`, but the box may be of any size.
            SourceError: as `read`.
        """
        ...

    def close(self) -> None:
        """Let go of files; closing twice does no harm.  A read afterwards is a `UsageError`."""
        ...


class OpenedImage(ImageSource, Protocol):
    """An image source that a `with` block closes at its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Watching(Protocol):
    """An image source that wants to know what copies of it, in other processes, have read."""

    def was_read(self, box: Box, level: int = 0) -> None:
        """A copy has read the pixels of a box of a level."""
        ...


def copies_read_cheaply(source: ImageSource) -> bool:
    """Whether copies of a source, in other processes, read boxes for what these cost here."""
    return source.access == "random" and not getattr(source, "costly_copies", False)


def level_box(source: ImageSource, level: int = 0) -> Box:
    """All pixels of a level.

    Raises:
        UsageError: there is no such level.
    """
    if not isinstance(level, SupportsIndex) or not 0 <= operator.index(level) < len(source.levels):
        raise UsageError(f"there is no level {level} of {source.uri}: it has {len(source.levels)}, counted from 0")
    factor = source.levels[level]
    return Box(0, 0, -(-source.width // factor), -(-source.height // factor))


def check_box(source: ImageSource, box: Box, level: int, most: int | None = None) -> None:
    """Make sure that a box can be asked for.

    Args:
        source: of which.
        box: the one asked for.
        level: of which.
        most: pixels that one read may give; None for any number.

    Raises:
        UsageError: it is no box, there is no such level, the box reaches beyond it, or holds more than `most` pixels.
    """
    if not isinstance(box, Box):
        raise UsageError(f"pixels are read of a Box(x0, y0, x1, y1), not of a {type(box).__name__}")
    whole = level_box(source, level)
    if not whole.holds(box):
        raise UsageError(
            f"the box [{box.x0}, {box.x1}) × [{box.y0}, {box.y1}) reaches beyond level {level} of {source.uri}, "
            f"which is {whole.width} × {whole.height} pixels"
        )
    if most is not None and box.area > most:
        raise UsageError(
            f"a box of {box.width} × {box.height} pixels is too large to be read at once: ask for at most {most} pixels"
        )
