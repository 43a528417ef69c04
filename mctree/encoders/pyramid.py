"""How does the pyramid of an image come to be in one pass, however large the image?  Each node as soon as it can be.

Pixels go in at the bottom, in an order in which they will not come back to where they were: *blocks*, which are nodes
of the image, in Z-order, for sources that can be read anywhere; *bands* of whole rows of pixels, from top to bottom,
for those that can only be read so.  A node is made when nothing below it can come any more, and handed out at once; its
row is kept only until its parent is made.  In Z-order that is one unfinished parent for each level, so at most 63
patches and 3 rows of each level above; in bands it is one row of nodes across the image for each level.

    add(block or band) ─► rows of patches ─► of tiles ─► of level 2 ─► … ─► of the root

What is handed out is only what exists: a node that holds a real pixel.  So coverage may be sparse: blocks that are left
out cost nothing, and pixels that are masked do not count.  Rows come by level, the finest first, ascending within each.

A builder can be put down and taken up again: all that it remembers are rows that it has handed out, and `needed` says
which.  Nothing is assumed about where rows go; children are taken as they are stored, after rounding, so that a parent
is the same whether its children have just been made or are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.patches import DTYPES, cut, require_picture
from mctree.encoders.statistics import Statistics, merged, of_patches
from mctree.encoders.visual import VisualEncoder
from mctree.errors import UsageError
from mctree.geometry import IMAGE, PATCH, Raster, intervals, morton

__all__ = ["BandBuilder", "BlockBuilder", "Rows", "Stored", "make_parents"]

Stored = Callable[[NDArray[np.float32]], NDArray[np.generic]]
"""What a store gives back of vectors, in the type in which it does: `float32 [n, dim]` → `[n, dim]`."""

_STRIP: Final = PATCH * morton.TILE
"""Rows of pixels that a row of tiles has."""


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Nodes of one level, each of which holds a real pixel.

    Attributes:
        level: theirs.
        index: `int64 [n]`, ascending, relative to the image.
        statistics: of their pixels.
        vectors: `[n, dim]`, as they are stored; None without an encoder.
    """

    level: int
    index: NDArray[np.int64]
    statistics: Statistics
    vectors: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Rows:
        """Some of the nodes."""
        vectors = None if self.vectors is None else self.vectors[rows]
        return Rows(self.level, self.index[rows], self.statistics[rows], vectors)

    def joined(self, other: Rows) -> Rows:
        """These and other nodes of the level, none of which is in both."""
        if not len(other) or not len(self):
            return other if len(other) else self
        vectors = None
        if self.vectors is not None and other.vectors is not None:
            vectors = np.concatenate([self.vectors, other.vectors])
        statistics = Statistics.concatenated([self.statistics, other.statistics])
        both = Rows(self.level, np.concatenate([self.index, other.index]), statistics, vectors)
        return both if self.index[-1] < other.index[0] else both[np.argsort(both.index)]


def make_parents(children: Rows, encoder: VisualEncoder | None, stored: Stored = np.asarray) -> Rows:
    """Make nodes from their children.

    Args:
        children: all existing children of each of the parents, at least one; with vectors, if there is an encoder.
        encoder: makes the parents' vectors; None for statistics alone.
        stored: what a store gives back of them.
    """
    level = children.level + 1
    fanout = IMAGE.fanout(children.level)
    index, of = np.unique(children.index // fanout, return_inverse=True)
    place = of * fanout + children.index % fanout
    slots, channels = len(index) * fanout, children.statistics.channels
    below = Statistics(np.zeros(slots, np.int64), np.zeros((slots, channels)), np.zeros((slots, channels)))
    below.count[place] = children.statistics.count
    below.sum[place] = children.statistics.sum
    below.square[place] = children.statistics.square
    if encoder is None:
        return Rows(level, index, merged(below, fanout))
    if children.vectors is None:
        raise UsageError(f"nodes of level {level} need the vectors of their children")
    vectors = np.zeros((slots, encoder.dim), np.float32)
    vectors[place] = children.vectors
    mask = (below.count > 0).reshape(-1, fanout)
    weight = below.count.astype(np.float64).reshape(-1, fanout)
    made = encoder.encode_tiles(level, vectors.reshape(-1, fanout, encoder.dim), mask, weight)
    return Rows(level, index, merged(below, fanout), stored(made))


class _Ascent:
    """The way up: what both builders share."""

    def __init__(
        self,
        raster: Raster,
        channels: int,
        dtype: np.dtype[np.generic],
        encoder: VisualEncoder | None,
        stored: Stored,
        waiting: Sequence[Rows],
    ) -> None:
        if np.dtype(dtype) not in DTYPES:
            raise UsageError(f"pixels are uint8 or uint16, not {dtype}")
        if encoder is not None and encoder.channels != channels:
            raise UsageError(f"an encoder of {encoder.channels} channels cannot encode an image of {channels}")
        self._raster = raster
        self._channels = channels
        self._dtype = np.dtype(dtype)
        self._encoder = encoder
        self._stored = stored
        self._waiting = [self._none(level) for level in range(raster.root)]
        for rows in waiting:
            if not 0 <= rows.level < raster.root or (rows.vectors is None) != (encoder is None):
                raise UsageError(f"nodes of level {rows.level} cannot wait for their parents here")
            self._waiting[rows.level] = self._waiting[rows.level].joined(rows)

    @property
    def raster(self) -> Raster:
        """The image."""
        return self._raster

    @property
    def waiting(self) -> tuple[Rows, ...]:
        """The rows that wait for their parents: what `needed` names."""
        return tuple(rows for rows in self._waiting if len(rows))

    def _none(self, level: int) -> Rows:
        """No nodes of a level."""
        none = Statistics(np.zeros(0, np.int64), np.zeros((0, self._channels)), np.zeros((0, self._channels)))
        encoder = self._encoder
        vectors = None if encoder is None else self._stored(np.zeros((0, encoder.dim), np.float32))
        return Rows(level, np.zeros(0, np.int64), none, vectors)

    def _cut(
        self, pixels: NDArray[np.generic], mask: NDArray[np.bool_] | None, shape: tuple[int, int], base: int
    ) -> Rows:
        """The patches of a picture whose first patch has a place in the image that is aligned with its size."""
        height, width, channels = require_picture(pixels, mask)
        if (height, width) != shape or channels != self._channels or pixels.dtype != self._dtype:
            raise UsageError(
                f"{self._dtype} pixels [{shape[0]}, {shape[1]}, {self._channels}] are due, not {pixels.dtype} "
                f"{list(pixels.shape)}"
            )
        patches = cut(pixels, mask)
        vectors = None
        if self._encoder is not None:
            vectors = self._stored(self._encoder.encode_patches(patches.pixels, patches.mask))
        return Rows(0, patches.index + base, of_patches(patches.pixels, patches.mask), vectors)

    def _climb(self, rows: Rows, complete: Callable[[int, NDArray[np.int64]], NDArray[np.bool_]]) -> list[Rows]:
        """Hand out new patches, and all nodes that become complete with them."""
        out = []
        for level, waiting in enumerate(self._waiting):
            if len(rows):
                out.append(rows)
            below = waiting.joined(rows)
            done = complete(level + 1, below.index // IMAGE.fanout(level))
            self._waiting[level] = below[~done]
            rows = make_parents(below[done], self._encoder, self._stored) if done.any() else self._none(level + 1)
        if len(rows):
            out.append(rows)
        return out


class BlockBuilder(_Ascent):
    """Makes a pyramid from blocks in Z-order.

    A block is a node of the image, of any level, and the next one may be of another.
    """

    def __init__(
        self,
        raster: Raster,
        channels: int,
        dtype: np.dtype[np.generic],
        encoder: VisualEncoder | None = None,
        *,
        stored: Stored = np.asarray,
        start: int = 0,
        waiting: Sequence[Rows] = (),
    ) -> None:
        """Begin, or go on.

        Args:
            raster: the image.
            channels: of its pixels.
            dtype: of its pixels, uint8 or uint16.
            encoder: makes the vectors; None for statistics alone.
            stored: what a store gives back of vectors.
            start: what lies before this LOD0 position was added before; `position` of the builder that did it.
            waiting: the rows that `needed` names for this position.

        Raises:
            UsageError: an argument does not fit the others.
        """
        super().__init__(raster, channels, dtype, encoder, stored, waiting)
        if not 0 <= start <= raster.extent:
            raise UsageError(f"a position of this image is from 0 to {raster.extent}, not {start}")
        self._position = start

    @property
    def position(self) -> int:
        """The LOD0 position behind all that was added."""
        return self._position

    @staticmethod
    def needed(raster: Raster, position: int) -> Iterator[tuple[int, intervals.Intervals]]:
        """Which rows a builder that goes on from a position has to be given: (level, indices), each level once.

        Args:
            raster: the image.
            position: where a block ended.
        """
        for level in range(raster.root):
            first = position // IMAGE.width(level + 1) * IMAGE.fanout(level)
            yield level, intervals.normalise([[first, position // IMAGE.width(level)]])

    def add(
        self, level: int, index: int, pixels: NDArray[np.generic], mask: NDArray[np.bool_] | None = None
    ) -> list[Rows]:
        """Add a block.

        Args:
            level: the block's.
            index: the block's, relative to the image; its span starts at or behind `position`.
            pixels: `[h, w, channels]`: the pixels of its box, as `Raster.boxes` gives it.
            mask: `bool [h, w]`: which of them are real; None if all are.

        Returns:
            The rows of the block's patches, and of all nodes that nothing can be added to any more.

        Raises:
            UsageError: there is no such node, it lies before what was added, or the pixels are not those of its box.
        """
        start, stop = IMAGE.span(level, index)
        box = self._raster.boxes(level, np.array([index]))[0]
        if start < self._position:
            raise UsageError(f"blocks come in Z-order: node {level}:{index} lies before position {self._position}")
        if box[0] == box[2] or box[1] == box[3]:
            raise UsageError(f"node {level}:{index} lies outside the image")
        rows = self._cut(pixels, mask, (int(box[3] - box[1]), int(box[2] - box[0])), start)
        return self._advance(rows, stop)

    def finish(self) -> list[Rows]:
        """The rest of the rows, up to the root: nothing more will be added."""
        return self._advance(self._none(0), self._raster.extent)

    def _advance(self, rows: Rows, position: int) -> list[Rows]:
        def complete(level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
            return (index + 1) * IMAGE.width(level) <= position

        self._position = position
        return self._climb(rows, complete)


class BandBuilder(_Ascent):
    """Makes a pyramid from bands of whole rows of pixels, from top to bottom.

    Bands are gathered until they make a row of tiles, 128 rows of pixels, or the image ends.
    """

    def __init__(
        self,
        raster: Raster,
        channels: int,
        dtype: np.dtype[np.generic],
        encoder: VisualEncoder | None = None,
        *,
        stored: Stored = np.asarray,
        start: int = 0,
        waiting: Sequence[Rows] = (),
    ) -> None:
        """Begin, or go on: see `BlockBuilder`.

        Args:
            raster: the image.
            channels: of its pixels.
            dtype: of its pixels, uint8 or uint16.
            encoder: makes the vectors; None for statistics alone.
            stored: what a store gives back of vectors.
            start: the row of pixels to go on from: a multiple of 128, the `position` of the builder that was there.
            waiting: the rows that `needed` names for this position.

        Raises:
            UsageError: an argument does not fit the others.
        """
        super().__init__(raster, channels, dtype, encoder, stored, waiting)
        if not 0 <= start <= raster.height or (start % _STRIP and start != raster.height):
            raise UsageError(f"a band of this image starts at a multiple of {_STRIP} up to its height, not at {start}")
        self._position = start
        self._strip: list[tuple[NDArray[np.generic], NDArray[np.bool_] | None]] = []

    @property
    def position(self) -> int:
        """The row of pixels behind the last row of tiles that was handed out; what waits for more is not counted."""
        return self._position

    @staticmethod
    def needed(raster: Raster, position: int) -> Iterator[tuple[int, intervals.Intervals]]:
        """Which rows a builder that goes on from a row of pixels has to be given: (level, indices), each level once."""
        if position < raster.height:
            for level in range(raster.root):
                side = raster.side(level + 1)
                bottom = position // raster.side(level) * raster.side(level)
                yield level, raster.nodes(level, (0, position // side * side, raster.width, bottom))

    def add(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_] | None = None) -> list[Rows]:
        """Add the next rows of pixels.

        Args:
            pixels: `[h, width, channels]`, any number of rows.
            mask: `bool [h, width]`: which of them are real; None if all are.

        Returns:
            The rows of patches, and of all nodes that nothing can be added to any more: none until a row of tiles is
            complete.

        Raises:
            UsageError: the image has fewer rows, or the pixels are not rows of it.
        """
        height, width, _ = require_picture(pixels, mask)
        held = sum(len(part) for part, _ in self._strip)
        if width != self._raster.width or self._position + held + height > self._raster.height:
            raise UsageError(
                f"{height} rows of {width} pixels are not the next ones of an image of {self._raster.width} × "
                f"{self._raster.height}, of which {self._position + held} rows were added"
            )
        out: dict[int, Rows] = {}
        while height:
            taken = min(height, self._due() - held)
            self._strip.append((pixels[:taken], None if mask is None else mask[:taken]))
            pixels, mask = pixels[taken:], None if mask is None else mask[taken:]
            height, held = height - taken, held + taken
            if held == self._due():
                held = 0
                for rows in self._flush(self._position + self._due()):
                    out[rows.level] = out[rows.level].joined(rows) if rows.level in out else rows
        if held:  # what is left over is the caller's, who may use it again
            part, of = self._strip.pop()
            self._strip.append((part.copy(), None if of is None else of.copy()))
        return [out[level] for level in sorted(out)]

    def finish(self) -> list[Rows]:
        """The rest of the rows, up to the root: nothing more will be added."""
        return self._flush(self._raster.height)

    def _due(self) -> int:
        """How many rows of pixels the row of tiles at `position` has."""
        return min(_STRIP, self._raster.height - self._position)

    def _flush(self, position: int) -> list[Rows]:
        rows = self._none(0)
        if self._strip:
            pixels = np.concatenate([part for part, _ in self._strip])
            masks = [np.ones(part.shape[:2], np.bool_) if of is None else of for part, of in self._strip]
            mask = None if all(of is None for _, of in self._strip) else np.concatenate(masks)
            # Within a row of tiles, a patch's place is the sum of that of its row of tiles and that within it.
            base = morton.encode(0, self._position // PATCH)
            rows = self._cut(pixels, mask, (len(pixels), self._raster.width), base)
            self._strip = []

        def complete(level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
            bottom = (morton.decode(index)[1] + 1) * self._raster.side(level)
            done: NDArray[np.bool_] = np.minimum(bottom, self._raster.height) <= position
            return done

        self._position = position
        return self._climb(rows, complete)
