"""What do all image sources here have in common?  A size, limits that every call is held to, and an end.

A subclass says what it is in `__init__` and reads in `_read`; by the time that is called, the box lies inside the level
and holds no more pixels than may be read at once, and the source is open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from mctree.errors import SourceError, UsageError
from mctree.sources.images.protocol import LARGEST_SIDE, Access, Box, Pixels, PixelType, check_box

__all__ = ["MOST_CHANNELS", "MOST_PIXELS", "Bounded"]

MOST_PIXELS = 1 << 26
"""Pixels that are read at once, or decoded in one piece, unless a caller allows more."""

MOST_CHANNELS = 1 << 12


class Bounded(ABC):
    """An image source without its pixels.

    Args:
        uri: see `ImageSource`.
        height: in pixels.
        width: in pixels.
        channels: values of each pixel.
        dtype: of the values.
        levels: see `ImageSource`.
        access: see `ImageSource`.
        max_pixels: the most that one read gives.

    Raises:
        SourceError: there are no pixels, too many on a side, or of another kind than `uint8` and `uint16`.
    """

    access: Access

    def __init__(
        self,
        uri: str,
        height: int,
        width: int,
        channels: int,
        dtype: np.dtype[Any],
        *,
        levels: tuple[int, ...] = (1,),
        access: Access = "random",
        max_pixels: int = MOST_PIXELS,
    ) -> None:
        if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
            raise SourceError(f"{uri} is {width} × {height} pixels: an image has 1 to {LARGEST_SIDE} on each side")
        if not 1 <= channels <= MOST_CHANNELS:
            raise SourceError(f"{uri} has {channels} values for each pixel: from 1 to {MOST_CHANNELS} can be read")
        dtype = dtype.newbyteorder("=")
        if dtype not in (np.uint8, np.uint16):
            raise SourceError(f"{uri} holds {dtype.name} pixels: convert them to uint8 or uint16")
        self.uri = uri
        self.height = height
        self.width = width
        self.channels = channels
        self.dtype: PixelType = dtype
        self.levels = levels
        self.access = access
        self.max_pixels = max_pixels
        self._closed = False

    def read(self, box: Box, level: int = 0) -> Pixels:
        """The pixels of a box of a level; see `ImageSource.read`."""
        self._check_open()
        check_box(self, box, level, self.max_pixels)
        return self._read(box, level)

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """Where in a box there may be pixels; see `ImageSource.covered`."""
        self._check_open()
        check_box(self, box, level)
        return self._covered(box, level)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal; another one if the image may have changed since."""

    def close(self) -> None:
        """Let go of files; see `ImageSource.close`."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uri}: {self.width} × {self.height} × {self.channels} {self.dtype.name}>"

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self.uri} was closed: open it again")

    @abstractmethod
    def _read(self, box: Box, level: int) -> Pixels: ...

    def _covered(self, box: Box, level: int) -> Iterator[Box]:
        yield box

    def _close(self) -> None:  # noqa: B027  # arrays and the like hold nothing that one has to let go of
        """Let go of what the subclass holds."""
