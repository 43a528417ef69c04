"""What does a user hold of an image?  Its levels, colours, states, gists and pixels, and its nodes, at one commit."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, NotFoundError, UsageError
from mctree.format.images import ImageRecord, statistics_columns
from mctree.geometry import IMAGE, Address, Raster, morton
from mctree.sources.images import Box, ImageSource, Pixels
from mctree.tree.arguments import as_box, as_indices, as_integer, as_path_outside
from mctree.tree.images.closed import closed_nodes
from mctree.tree.images.colours import Colours, Statistics
from mctree.tree.images.kept import Pieces
from mctree.tree.images.overviews import codes
from mctree.tree.images.pages import Located
from mctree.tree.images.patches import TILE_PIXELS
from mctree.tree.images.view import write_view

if TYPE_CHECKING:
    from mctree.tree.documents import Document
    from mctree.tree.gists import GistView
    from mctree.tree.images.following import FollowedImage
    from mctree.tree.images.nodes import ImageNode
    from mctree.tree.snapshot import Snapshot

__all__ = ["STATES", "Image", "State"]

State = Literal["unknown", "empty", "present", "stale"]
STATES: tuple[State, ...] = ("unknown", "empty", "present", "stale")
"""What a node of an image can be: not looked at, without pixels, there, or there but, in a gist set, out of date."""

_MOST_NODES = 1 << 24
_MOST_PIXELS = 1 << 28


class Image:
    """An image as a snapshot sees it; made by `Snapshot.image` and `Snapshot.images`.

    Nodes are named by level and by index in the arena, as in an address; `index_at` gives that of a column and a row.

    Attributes:
        id: the number of its document.
        block: the block of the timeline that it takes.
        raster: its pixels, patches and nodes.
        root: its root's level.
    """

    def __init__(self, snapshot: Snapshot, graft: np.void) -> None:
        self.id = int(graft["document"])
        self.block = int(graft["block"])
        self.space = int(graft["space"])
        self.base = int(graft["base"])
        self.root = int(graft["level"])
        self.channels = int(graft["channels"])
        self.raster = Raster(int(graft["height"]), int(graft["width"]))
        self._snapshot = snapshot
        self._graft = graft
        self._views: dict[str | None, GistView] = {}
        if self.raster.root != self.root:
            raise CorruptError(f"image {self.id} has a root of another level than its size wants; run `mctree verify`")

    def __repr__(self) -> str:
        return f"<Image {self.id} {self.name!r}: {self.width} × {self.height} × {self.channels} {self.dtype}>"

    # What it is

    @cached_property
    def record(self) -> ImageRecord:
        """What the index says of it."""
        return self._snapshot.gallery.record(self.id)

    @property
    def document(self) -> Document:
        """Its document on the timeline."""
        return self._snapshot.document(self.id)

    @property
    def name(self) -> str:
        """The name of its source."""
        return self.document.name

    @property
    def uri(self) -> str:
        """Where its pixels came from."""
        return self.record.uri

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.raster.height

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.raster.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its samples."""
        return np.dtype(self.record.dtype)

    @property
    def whole(self) -> bool:
        """Whether all of its source was looked at."""
        return self.record.region == (0, 0, self.width, self.height)

    @property
    def keeps_pixels(self) -> bool:
        """Whether its pixels are kept, as far as they were read."""
        return self.record.kept

    @property
    def from_overviews(self) -> bool:
        """Whether some of it was made from smaller versions of the image that its source has."""
        return self._snapshot.gallery.is_coarse(self.id)

    @property
    def complete(self) -> bool:
        """Whether all that its source has is there, down to its patches."""
        return self.whole and not self.from_overviews

    # Its nodes

    def first(self, level: int) -> int:
        """The index in the arena of its first node of a level.

        Raises:
            NotFoundError: it has no such level.
        """
        if not 0 <= as_integer(level, "a level") <= self.root:
            raise NotFoundError(f"image {self.id} has levels 0..{self.root}, not {level}")
        return self.base // IMAGE.width(level)

    def index_at(self, level: int, column: int, row: int) -> int:
        """The index in the arena of the node of a level in a column and row of such nodes.

        Raises:
            NotFoundError: that lies outside the image.
        """
        first = self.first(level)
        rows, columns = self.raster.grid(level)
        column, row = as_integer(column, "a column"), as_integer(row, "a row")
        if not (0 <= column < columns and 0 <= row < rows):
            raise NotFoundError(f"level {level} of image {self.id} has {columns} columns and {rows} rows")
        return first + int(morton.encode(column, row))

    def node(self, level: int, column: int, row: int) -> ImageNode:
        """The node of a level in a column and row of such nodes.

        Raises:
            NotFoundError: there is none.
        """
        return cast("ImageNode", self._snapshot.node(Address(self.space, level, self.index_at(level, column, row))))

    def find(self, level: int, index: NDArray[np.int64]) -> Located:
        """Which of some nodes of a level exist in this image, and where their statistics lie."""
        index = as_indices(index)
        inside, arrays = self._inside(level, index), self._statistics
        if level >= len(arrays):
            raise CorruptError(f"the statistics of image {self.id} have no level {level}; run `mctree verify`")
        if inside.all():
            return self._snapshot.gallery.pages.find(arrays[level], index)
        found = self._snapshot.gallery.pages.find(arrays[level], np.where(inside, index, self.first(level)))
        return Located(
            np.where(inside, found.row, -1), found.empty & inside, found.stale & inside, found.overview & inside
        )

    def states(self, level: int, index: NDArray[np.int64], gist_set: str | None = None) -> NDArray[np.uint8]:
        """What each of some nodes of a level is, as a place in `STATES`: `uint8 [n]`.

        Args:
            level: which.
            index: `int64 [n]`.
            gist_set: as this set has them: `unknown` too if a node has no gist yet, `stale` if what it stands for has
                changed since.  None: as the statistics have them, which are made with each change.

        Raises:
            NotFoundError: there is no such set.
        """
        index = as_indices(index)
        found = self.find(level, index)
        made: Located | None = found
        state = np.full(len(index), STATES.index("unknown"), np.uint8)
        if gist_set is not None:
            arrays = self._snapshot.gists(gist_set).record.images
            mine = np.where(found.present, index, self.first(level))
            made = self._snapshot.gallery.pages.find(arrays[level], mine) if level < len(arrays) else None
        if made is not None:
            state[found.present & made.present] = STATES.index("present")
            state[found.present & made.stale] = STATES.index("stale")
        away = np.flatnonzero(self._inside(level, index) & ~found.present)
        state[away[self._known_empty(level, index[away])]] = STATES.index("empty")
        return state

    def _inside(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which indices are those of nodes that the image has room for: `bool [n]`."""
        first = self.first(level)
        return (index >= first) & (index < first + IMAGE.width(self.root) // IMAGE.width(level))

    def _known_empty(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some nodes that do not exist are known to have no pixels: `bool [n]`.

        Those that are marked as empty, or are below such; and those within what was looked at, but for what is below a
        node made from an overview: there nobody looked yet.
        """
        x0, y0, x1, y1 = self.record.region
        boxes = self.raster.boxes(level, index - self.first(level))
        known = (boxes[:, 0] >= x0) & (boxes[:, 1] >= y0) & (boxes[:, 2] <= x1) & (boxes[:, 3] <= y1)
        left = np.arange(len(index))  # of these nothing is known yet, and the node of a level above each is looked at
        for above in range(level, self.root + 1):
            if not len(left):
                break
            found = self.find(above, index // (IMAGE.width(above) // IMAGE.width(level))) if above > level else None
            found = self.find(level, index) if found is None else found
            known[left[found.empty[left]]] = True
            known[left[found.overview[left]]] = False
            left = left[~(found.empty | found.present)[left]]
        return known

    def closed(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some nodes of a level were made from an overview and have nothing below them: `bool [n]`.

        They can be looked at, and stand for what lies below them; what that is, is in the image's source alone.
        """
        index = as_indices(index)
        closed = self.find(level, index).overview
        if level and closed.any():
            fanout = IMAGE.fanout(level - 1)
            below = (index[closed, None] * fanout + np.arange(fanout)).reshape(-1)
            closed[closed] = ~self.find(level - 1, below).present.reshape(-1, fanout).any(axis=1)
        return closed

    def coarse(self, region: Box | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The closed nodes that meet a region of pixels, or all: levels and indices, in Z-order, `int64 [n]` each."""
        box = Box(0, 0, self.width, self.height) if region is None else as_box(region)
        none = np.empty(0, np.int64)
        parts = [(none, none)]
        for level, index in closed_nodes(self.find, self.base, self.root, (self.raster, box)):
            parts.append((np.full(len(index), level), index))
        levels, nodes = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(nodes * np.array(IMAGE.widths, np.int64)[levels])
        return levels[order], nodes[order]

    def statistics(self, level: int, index: NDArray[np.int64]) -> Statistics:
        """Of nodes of a level that exist, in any order.

        Raises:
            NotFoundError: one does not exist.
        """
        index = as_indices(index)
        there, rows = self.rows(level, index)
        if not there.all():
            missing = f"a{self.space}/{level}:{int(index[~there][0])}"  # which may be no address
            raise NotFoundError(f"node {missing} does not exist at commit {self._snapshot.commit}")
        return self._said(level, index, rows)

    def rows(self, level: int, index: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which nodes of a level exist, in any order, and the rows of their statistics, 0 for others.

        Returns:
            `bool [n]` and `float64 [n, columns]`, laid out as docs/format.md says.
        """
        index = as_indices(index)
        found = self.find(level, index)
        rows = np.zeros((len(index), statistics_columns(self.channels, level)), np.float64)
        if found.present.any():
            rows[found.present] = self._snapshot.rows(self._statistics[level]).gather(found.row[found.present])
        return found.present, rows

    def _said(self, level: int, index: NDArray[np.int64], rows: NDArray[np.float64]) -> Statistics:
        if level:
            patches = rows[:, 1]
            centre, reach = rows[:, 2:4] / patches[:, None], rows[:, 4:8].astype(np.int64)
        else:
            x, y = morton.decode(index - self.base)
            patches, centre = np.ones(len(rows)), np.column_stack([x, y]).astype(np.float64)
            reach = np.column_stack([x, y, x + 1, y + 1])
        sums, squares = np.split(rows[:, 8 if level else 1 :], 2, axis=1)
        return Statistics(rows[:, 0], patches, centre, reach, sums, squares)

    def colour(self, level: int, region: Box | None = None) -> Colours:
        """The mean colours of the nodes of a level, as a small image.

        Args:
            level: which.
            region: columns and rows of nodes of that level; all of them if None.

        Raises:
            NotFoundError: it has no such level.
            UsageError: the region reaches beyond it, or has too many nodes to be read at once.
        """
        self.first(level)
        rows, columns = self.raster.grid(level)
        region = Box(0, 0, columns, rows) if region is None else as_box(region)
        if not Box(0, 0, columns, rows).holds(region):
            raise UsageError(f"level {level} of image {self.id} has {columns} columns and {rows} rows, not {region}")
        if region.area > _MOST_NODES:
            raise UsageError(f"{region.area} nodes are too many to be read at once: ask for at most {_MOST_NODES}")
        x, y = np.meshgrid(np.arange(region.x0, region.x1), np.arange(region.y0, region.y1))
        index = self.first(level) + morton.encode(x.ravel(), y.ravel())
        found = self.rows(level, index)[1]
        first = 8 if level else 1
        sums, shape = found[:, first : first + self.channels], (region.height, region.width)
        return Colours(sums.reshape(*shape, -1), found[:, 0].reshape(shape))

    def spans(self, region: Box, limit: int | None = None) -> list[tuple[int, int]]:
        """The positions of the arena that the tiles under a region of pixels stand for, as spans [start, stop).

        Args:
            region: in pixels.
            limit: give at most so many spans, which then stand for a little more.
        """
        box = as_box(region).x0, region.y0, region.x1, region.y1
        limit = None if limit is None else as_integer(limit, "the most spans")
        tiles = self.raster.nodes(1, box, limit=limit)
        return [(self.base + first * IMAGE.block, self.base + stop * IMAGE.block) for first, stop in tiles.tolist()]

    # Pixels and gists

    def pixels(self, region: Box | None = None, *, partial: bool = False) -> Pixels:
        """The kept pixels of a region, or of all of it.

        Args:
            region: in pixels.
            partial: mask what was not read yet, as if the image had no pixels there.

        Raises:
            NotFoundError: its pixels are not kept, or not all of the region was read yet and it is not to be partial.
            CorruptError: some of them are not what was committed.
            UsageError: the region reaches beyond the image, or is too large to be read at once.
        """
        region = Box(0, 0, self.width, self.height) if region is None else as_box(region)
        if not Box(0, 0, self.width, self.height).holds(region):
            raise UsageError(f"image {self.id} is {self.width} × {self.height} pixels: {region} reaches beyond it")
        if region.area > _MOST_PIXELS:
            raise UsageError(f"{region.area} pixels are too many to be read at once: ask for at most {_MOST_PIXELS}")
        if not self.record.kept:
            raise NotFoundError(f"the pixels of image {self.id} are not kept; they came from {self.uri!r:.200}")
        values = np.zeros((region.height, region.width, self.channels), self.dtype)
        mask = np.zeros(values.shape[:2], np.bool_)
        pieces, first = Pieces(self._snapshot), self.first(1)
        tiles, lacking = codes(region, TILE_PIXELS), []
        for tile, (x0, y0, x1, y1) in zip(tiles.tolist(), self.raster.boxes(1, tiles).tolist(), strict=True):
            piece = pieces.read(first + tile, (y1 - y0, x1 - x0, self.channels), self.dtype)
            common = Box(x0, y0, x1, y1).common(region)
            assert common is not None, "it meets the region"
            if piece is None:
                lacking.append(first + tile)
                continue
            here = slice(common.y0 - y0, common.y1 - y0), slice(common.x0 - x0, common.x1 - x0)
            there = (
                slice(common.y0 - region.y0, common.y1 - region.y0),
                slice(common.x0 - region.x0, common.x1 - region.x0),
            )
            values[there], mask[there] = piece[0][here], piece[1][here]
        if lacking and not partial:
            self._require_empty(np.array(lacking), region)
        return Pixels(values, None if mask.all() else mask)

    def _require_empty(self, tiles: NDArray[np.int64], region: Box) -> None:
        """Make sure that tiles of which no pixels are kept have none, and were read."""
        found = self.find(1, tiles)
        if (found.present & ~found.overview).any():
            raise CorruptError(f"some kept pixels of image {self.id} in {region} are missing; run `mctree verify`")
        if (self.states(1, tiles) != STATES.index("empty")).any():
            raise NotFoundError(
                f"not all pixels of image {self.id} in {region} were read: extend it there first, or ask for `partial`"
            )

    def gists(
        self, level: int, index: NDArray[np.int64], gist_set: str | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The gists of nodes of a level, in any order.

        Args:
            level: which; 0 gives the vectors of patches.
            index: `int64 [n]`.
            gist_set: of which set; the default one if none is named.

        Returns:
            `[n, dim]`, 0 where there is none; and `bool [n]`: which have one.
        """
        self.first(level)
        index = as_indices(index)
        view = self._views.get(gist_set)
        if view is None:
            view = self._views[gist_set] = self._snapshot.gists(gist_set)
        mine = np.flatnonzero(self.find(level, index).present)
        found, there = np.zeros((len(index), view.dim), view.record.dtype), np.zeros(len(index), np.bool_)
        same = np.full(len(mine), self.space), np.full(len(mine), level)
        found[mine], there[mine] = view.find(*same, index[mine])
        return found, there

    def follow(self, source: ImageSource | NDArray[Any] | None = None, *, remember: int = 1 << 16) -> FollowedImage:
        """The same image, whose nodes are fetched from its source where the tree lacks them, and not stored.

        Args:
            source: the source, which must not have changed; None opens again what was recorded, until it is closed.
            remember: rows of nodes that are kept in memory.

        Raises:
            NotFoundError: no source is given, and the one that it came from is gone.
            SourceError: the source has changed.
            UsageError: the source has an image of another size or type.
        """
        from mctree.tree.images.following import FollowedImage  # noqa: PLC0415  # it is an image itself

        return FollowedImage(self._snapshot, self._graft, source, as_integer(remember, "rows to remember"))

    def export(self, path: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None) -> list[int]:
        """Write its colours as an OME-NGFF 0.5 image, for other tools to show; see `mctree.tree.images.view`."""
        return write_view(self._snapshot, self, as_path_outside(path, self._snapshot.tree.path), progress)

    @cached_property
    def _statistics(self) -> tuple[int, ...]:
        return self._snapshot.gallery.statistics_arrays(self.channels)
