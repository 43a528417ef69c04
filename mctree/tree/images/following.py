"""How does a reader see what a tree does not hold yet?  It asks the image's source, and remembers what it was shown.

What is read is made into rows by the same means as a writer would (`overviews`): so what is fetched is what a writer
that opens the nodes above would store.  Nothing is stored: a tree is changed by its writer alone.

One can ask for many nodes at once (`FollowedImage`), or look around from one to the next (`FollowedNode`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.images import statistics_columns
from mctree.geometry import IMAGE, Address
from mctree.sources.images import Box, Pixels
from mctree.tree.arguments import as_indices
from mctree.tree.images.asking import read_pixels
from mctree.tree.images.given import followed
from mctree.tree.images.image import STATES, Image
from mctree.tree.images.nodes import ImageNode
from mctree.tree.images.overviews import Part, Version, Views, own_level, version_for
from mctree.tree.images.patches import Coder, Nodes, merged
from mctree.tree.node import Node

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["FollowedImage", "FollowedNode"]

_MOST_FETCHED = 1 << 14
"""Nodes that one call may fetch: a version's tile is read for each."""
_GROUP = 64


class FollowedImage(Image):
    """An image whose nodes are fetched from its source where its tree lacks them; made by `Image.follow`.

    `node`, `rows`, `statistics`, `colour`, `gists` and `pixels` know of all nodes that the source shows.  What the
    tree holds is said by `find`, `states`, `closed` and `coarse`, as ever.  Threads may ask at once; one at a time
    reads.

    Args:
        snapshot: of which commit.
        graft: the image's place.
        source: its source; None opens the one that its record names.
        remember: rows of nodes that are kept in memory, each with its gists.

    Raises:
        NotFoundError: no source is given, and the one that it came from is gone.
        SourceError: the source has changed.
        UsageError: the source has an image of another size or type.
    """

    def __init__(self, snapshot: Snapshot, graft: np.void, source: object, remember: int) -> None:
        super().__init__(snapshot, graft)
        self._stack = ExitStack()
        self._source = self._stack.enter_context(followed(self, self.record, source))
        self._lock = threading.Lock()
        self._most = remember
        self._held = 0
        self._known: OrderedDict[tuple[int, int], Nodes] = OrderedDict()
        encoders = [(view.record, snapshot.tree.visual_encoder(view.record)) for view in snapshot.gist_sets()]
        self._coders = [
            Coder(record, encoder)
            for record, encoder in encoders
            if encoder is not None and encoder.channels == self.channels
        ]
        self._shown = Views(self._source, self._coders, keep=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source, if it was opened here."""
        self._stack.close()

    def node(self, level: int, column: int, row: int) -> FollowedNode:
        """The node of a level in a column and row of such nodes, wherever it is.

        Raises:
            NotFoundError: neither the tree nor the source has it.
            SourceError: the source cannot be read, or has changed.
        """
        address = Address(self.space, level, self.index_at(level, column, row))
        if not self.rows(level, np.array([address.index]))[0][0]:
            raise NotFoundError(f"image {self.id} has no pixels at node {address}, and neither has its source")
        return FollowedNode(self._snapshot, address, self)

    def made_from(self, level: int, index: int) -> Literal["pixels", "overview"]:
        """What a node is made from in the tree, or would be if it were opened; the source is read for it.

        Raises:
            SourceError: it cannot be read, or has changed.
        """
        found = self.find(level, np.array([index]))
        if found.present[0]:
            return "overview" if found.overview[0] else "pixels"
        with self._lock:
            parts = self._shown.node(max(level, 1), (index - self.first(level)) // (1 if level else IMAGE.block))
        return "overview" if any(part.overview for part in parts) else "pixels"

    def rows(self, level: int, index: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which nodes of a level exist, in the tree or in the source, and the rows of their statistics.

        Raises:
            UsageError: more nodes would have to be fetched than one call may.
            SourceError: the source cannot be read, or has changed.
        """
        there, rows = super().rows(level, index)
        there = there.copy()
        for at, nodes, place in self._fetched(level, index):
            there[at], rows[at] = True, nodes.statistics[place]
        return there, rows

    def gists(
        self, level: int, index: NDArray[np.int64], gist_set: str | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The gists of nodes of a level, in any order: see `Image.gists`; of fetched ones if the encoder is known."""
        found, there = super().gists(level, index, gist_set)
        name = self._snapshot.gists(gist_set).name
        which = next((i for i, coder in enumerate(self._coders) if coder.record.name == name), None)
        if which is not None:
            for at, nodes, place in self._fetched(level, index):
                found[at], there[at] = nodes.gists[which][place], True
        return found, there

    def pixels(self, region: Box | None = None, *, partial: bool = False) -> Pixels:
        """The pixels of a region, or of all of it: those that are kept, or else the source's, which knows all."""
        try:
            return super().pixels(region)
        except NotFoundError:
            with self._lock:
                return read_pixels(self._source, Box(0, 0, self.width, self.height) if region is None else region)

    def _fetched(self, level: int, index: NDArray[np.int64]) -> list[tuple[int, Nodes, int]]:
        """Those of some nodes that the tree lacks and the source shows: which, and where their rows are."""
        index = as_indices(index)
        lacking = np.flatnonzero(self.states(level, index) == STATES.index("unknown"))
        codes = index[lacking] - self.first(level)
        inside = (codes >= 0) & (codes < IMAGE.width(self.root) // IMAGE.width(level))
        inside[inside] = self.raster.pixels(level, codes[inside]) > 0
        lacking, codes = lacking[inside], codes[inside]
        if len(codes) > _MOST_FETCHED:
            raise UsageError(f"{len(codes)} nodes are too many to be fetched at once: ask for at most {_MOST_FETCHED}")
        found = []
        with self._lock:
            keys = codes // IMAGE.block if level == 0 else codes
            known = self._all(max(level, 1), keys, patches=level == 0)
            for at, key, code in zip(lacking.tolist(), keys.tolist(), codes.tolist(), strict=True):
                nodes = known[key]
                place = int(np.searchsorted(nodes.index, code))
                if place < len(nodes.index) and nodes.index[place] == code:
                    found.append((at, nodes, place))
        return found

    def _all(self, level: int, codes: NDArray[np.int64], *, patches: bool) -> dict[int, Nodes]:
        """The rows of nodes, by their numbers, or of the patches of tiles; fetched or remembered."""
        kind = 0 if patches else level
        found = {}
        missing = []
        for code in dict.fromkeys(codes.tolist()):
            held = self._known.get((kind, code))
            if held is None:
                missing.append(code)
            else:
                self._known.move_to_end((kind, code))
                found[code] = held
        for code, nodes in self._read(level, missing, patches=patches):
            found[code] = self._known[kind, code] = nodes
            self._held += max(len(nodes.index), 1)
        while self._held > self._most and self._known:
            self._held -= max(len(self._known.popitem(last=False)[1].index), 1)
        return found

    def _read(self, level: int, codes: Sequence[int], *, patches: bool) -> list[tuple[int, Nodes]]:
        """What the source shows of some nodes, neighbours in one go."""
        k = version_for(self._source, level)
        if patches or own_level(self._source.levels[k]) != level:
            return [(code, self._gathered(self._shown.node(level, code), level, patches=patches)) for code in codes]
        found = []
        for group in sorted({code // _GROUP for code in codes}):
            some = [code for code in codes if code // _GROUP == group]
            boxes = self.raster.boxes(level, np.array(some))
            first, last = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
            part = self._shown.part(k, Version(self._source, k).inside(Box(*first, *last)))
            tiles = part.block.tiles
            for code in some:
                place = int(np.searchsorted(tiles.index, code))
                if place < len(tiles.index) and tiles.index[place] == code:
                    found.append((code, _some(tiles, slice(place, place + 1))))
                else:
                    found.append((code, self._gathered(self._shown.node(level, code), level, patches=False)))
        return found

    def _gathered(self, parts: Sequence[Part], level: int, *, patches: bool) -> Nodes:
        """The row of the one node that parts show, or those of the patches of the tile."""
        if patches:
            return _joined([self._none(0), *(part.block.patches for part in parts)])
        nodes = self._none(1)
        for below in range(1, level + 1):
            nodes = merged(below, nodes, self._coders) if below > 1 else nodes
            nodes = _joined([nodes, *(part.block.tiles for part in parts if part.level == below)])
        return nodes

    def _none(self, level: int) -> Nodes:
        gists = tuple(np.empty((0, coder.record.dim), coder.record.dtype) for coder in self._coders)
        return Nodes(np.empty(0, np.int64), np.empty((0, statistics_columns(self.channels, level))), gists)


class FollowedNode(ImageNode):
    """A node of an image that is followed; the nodes around it are found wherever they are.

    `state` and `closed` say what the tree holds of it: a node that is only in the source is `unknown` there.
    """

    def __init__(self, snapshot: Snapshot, address: Address, image: FollowedImage) -> None:
        super().__init__(snapshot, address)
        self._followed = image

    @cached_property
    def image(self) -> FollowedImage:
        """The image that it is a node of, which is followed."""
        return self._followed

    @cached_property
    def made_from(self) -> Literal["pixels", "overview"]:
        """See `ImageNode.made_from`; of a node that is fetched, what it is made from then.

        Raises:
            SourceError: the source cannot be read, or has changed.
        """
        return self.image.made_from(self.level, self.index)

    @property
    def parent(self) -> Node | None:
        """The node above it; of the image's root, which is its block of the timeline, the one above that."""
        above = super().parent
        return above if self.level == self.image.root or above is None else self._beside(above.address)

    @property
    def children(self) -> list[Node]:
        """The nodes below it that exist, in Z-order.

        Raises:
            SourceError: the source cannot be read, or has changed.
        """
        if self.level == 0:
            return []
        below = np.arange(*IMAGE.children(self.level, self.index))
        there = below[self.image.rows(self.level - 1, below)[0]]
        return [self._beside(Address(self.address.space, self.level - 1, child)) for child in there.tolist()]

    def _beside(self, address: Address) -> FollowedNode:
        return FollowedNode(self._snapshot, address, self._followed)


def _some(nodes: Nodes, rows: slice) -> Nodes:
    return Nodes(nodes.index[rows], nodes.statistics[rows], tuple(gists[rows] for gists in nodes.gists))


def _joined(parts: Sequence[Nodes]) -> Nodes:
    """Rows of nodes, none of which is in two parts, in their order."""
    index = np.concatenate([part.index for part in parts])
    order = np.argsort(index)
    gists = tuple(np.concatenate(rows)[order] for rows in zip(*(part.gists for part in parts), strict=True))
    return Nodes(index[order], np.concatenate([part.statistics for part in parts])[order], gists)
