"""What does a user hold of a node of an image?  Its pixels' sums, its state, its gist, and the nodes around it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError
from mctree.geometry import IMAGE, Address
from mctree.sources.images import Box
from mctree.tree.images.colours import Statistics
from mctree.tree.images.image import STATES, Image, State
from mctree.tree.node import Node

if TYPE_CHECKING:
    from mctree.tree.documents import Document
    from mctree.tree.provenance import Provenance
    from mctree.tree.snapshot import Snapshot

__all__ = ["ImageNode", "image_at", "image_node_exists"]


def image_at(snapshot: Snapshot, address: Address) -> Image | None:
    """The live image that a node of the arena would belong to."""
    if address.level > IMAGE.max_level:
        return None
    start = address.index * IMAGE.width(address.level)
    which = int(snapshot.gallery.places.at(np.array([start]))[0])
    if which < 0:
        return None
    image = Image(snapshot, snapshot.gallery.places.grafts[which])
    return image if address.level <= image.root else None


def image_node_exists(snapshot: Snapshot, address: Address) -> bool:
    """Whether a node of the arena exists: some pixel under it is real, of an image that lives."""
    image = image_at(snapshot, address)
    return image is not None and bool(image.find(address.level, np.array([address.index])).present[0])


class ImageNode(Node):
    """A node of an image that exists in a snapshot; level 0 are patches of 16 × 16 pixels, level 1 tiles of 8 × 8."""

    @cached_property
    def image(self) -> Image:
        """The image that it is a node of."""
        found = image_at(self._snapshot, self.address)
        if found is None:
            raise NotFoundError(f"node {self.address} does not exist at commit {self._snapshot.commit}")
        return found

    @property
    def span(self) -> tuple[int, int]:
        """The positions of the arena [start, stop) below it, those without pixels included."""
        start, stop = IMAGE.span(self.level, self.index)
        return int(start), int(stop)

    @property
    def tokens(self) -> int:
        """None: it holds pixels."""
        return 0

    @property
    def box(self) -> Box:
        """The pixels of the image that it stands for."""
        index = np.array([self.index - self.image.first(self.level)])
        return Box(*self.image.raster.boxes(self.level, index)[0].tolist())

    @property
    def state(self) -> State:
        """What it is: `present`."""
        return STATES[int(self.image.states(self.level, np.array([self.index]))[0])]

    def state_in(self, gist_set: str) -> State:
        """What it is in a gist set: `present`, `stale`, or `unknown` if it has no gist there."""
        return STATES[int(self.image.states(self.level, np.array([self.index]), gist_set)[0])]

    @property
    def made_from(self) -> Literal["pixels", "overview"]:
        """What its statistics were made from: its pixels; or an overview, where not all that is below it is there."""
        found = self.image.find(self.level, np.array([self.index]))
        return "overview" if found.overview[0] else "pixels"

    @property
    def closed(self) -> bool:
        """Whether it was made from an overview and nothing below it is there: see `Image.closed`."""
        return bool(self.image.closed(self.level, np.array([self.index]))[0])

    @property
    def statistics(self) -> Statistics:
        """What its real pixels add up to; arrays of one."""
        return self.image.statistics(self.level, np.array([self.index]))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Its mean colour: `float64 [c]`."""
        colour: NDArray[np.float64] = self.statistics.mean[0]
        return colour

    @property
    def deviation(self) -> NDArray[np.float64]:
        """The standard deviation of each channel: `float64 [c]`."""
        deviation: NDArray[np.float64] = self.statistics.deviation[0]
        return deviation

    @property
    def parent(self) -> Node | None:
        """The node above it; of the image's root, which is its block of the timeline, the one above that."""
        if self.level == self.image.root:
            return self._snapshot.node((1, self.image.block)).parent
        above = IMAGE.parent(self.level, self.index)
        return ImageNode(self._snapshot, Address(self.address.space, self.level + 1, int(above)))

    @property
    def children(self) -> list[Node]:
        """The nodes below it that exist, in Z-order."""
        if self.level == 0:
            return []
        first, stop = IMAGE.children(self.level, self.index)
        index = np.arange(first, stop)
        there = index[self.image.find(self.level - 1, index).present]
        space, level = self.address.space, self.level - 1
        return [ImageNode(self._snapshot, Address(space, level, child)) for child in there.tolist()]

    @property
    def document(self) -> Document | None:
        """The image's document."""
        return self.image.document

    def provenance(self, limit: int | None = None) -> list[Provenance]:
        """No bytes of a text: where its pixels came from is said by `image.uri`, `box` and `made_from`."""
        return []

    def gist(self, gist_set: str | None = None) -> NDArray[np.generic] | None:
        """Its gist, or None if it has none in the set (the default set if none is named)."""
        found, there = self.image.gists(self.level, np.array([self.index]), gist_set)
        row: NDArray[np.generic] = found[0]
        return row if there[0] else None

    def text(self) -> str:
        """Nothing: it holds pixels."""
        return ""
