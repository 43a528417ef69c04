"""What stands in a working context?  Its entries, one row each, as flat arrays in the order in which they are read.

An entry is a gist, or a block of tokens or a tile of patches at LOD0: a whole one, since no less is ever shown or left
out.  A gist has the address of its node.  A block has the address of its first token, level 0 and 32 times the block's
number, and a tile likewise that of its first patch.

The order is that of the timeline; what an image was expanded into stands where the image does, in Z-order.  So an
entry's place is the pair (slot, start), both ascending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.focus.rows import Integer, Real, Rows
from mctree.geometry import Address

if TYPE_CHECKING:
    from mctree.focus.ground import Ground

__all__ = ["IMAGE_MODALITY", "SEVERAL", "TEXT_MODALITY", "UNKNOWN", "Entries", "Facts", "Nodes"]

TEXT_MODALITY, IMAGE_MODALITY = 0, 1
"""What an entry's vectors come from."""

SEVERAL = 0
"""The document of an entry that has more than one."""

UNKNOWN = -1
"""The document of a node that has still to be looked up."""


class Nodes(Rows):
    """Where entries stand: all that follows from addresses.  The columns are the first four of `Entries`."""

    __slots__ = ()

    space = Integer()
    level = Integer()
    index = Integer()
    slot = Integer()

    @classmethod
    def of_timeline(cls, level: ArrayLike, index: NDArray[np.int64], slot: NDArray[np.int64]) -> Nodes:
        """Nodes of the timeline, which stand at their own first positions."""
        return cls.made(len(index), space=0, level=level, index=index, slot=slot)


class Facts(Rows):
    """What a snapshot knows of nodes.  The columns are those of `Entries` from `cost` on."""

    __slots__ = ()

    cost = Integer()
    growth = Integer()
    document = Integer()
    modality = Integer()
    position = Real()
    sigma = Real()
    x = Real()
    y = Real()
    sigma_x = Real()
    sigma_y = Real()


class Entries(Rows):
    """The rows of a working context.  Whole numbers are `int64 [n]`, the others `float64 [n]`.

    Attributes:
        space: 0 for the timeline, 1 … for the arenas of images.
        level: level of detail; 0 for whole blocks and tiles.
        index: of the node within its level; at level 0 that of its first token or patch.
        slot: the position of the timeline where it stands: its own first one, or its image's.
        start: the first LOD0 position of its space that it spans.
        stop: the LOD0 position behind its span.
        cost: 1 for a gist; the real tokens of a block, the real patches of a tile.
        growth: by how much expanding it would raise the cost; 0 at level 0; -1 for a leaf, which has no children.
        document: the number of the document that it lies in, or `SEVERAL`.
        modality: `TEXT_MODALITY` or `IMAGE_MODALITY`.
        position: on the timeline: the mean over the real tokens that it stands for; for what lies in an image, that of
            the image.
        sigma: L / √12, L being the positions from the first of these tokens to the last; 0 at level 0, and for what
            lies in an image.
        x: mean column of the real patches; 0 for text.
        y: mean row of the real patches; 0 for text.
        sigma_x: W / √12, W being the columns that these patches reach over; 0 at level 0, and for text.
        sigma_y: H / √12, H being the rows.
    """

    __slots__ = ()

    space = Integer()
    level = Integer()
    index = Integer()
    slot = Integer()
    start = Integer()
    stop = Integer()
    cost = Integer()
    growth = Integer()
    document = Integer()
    modality = Integer()
    position = Real()
    sigma = Real()
    x = Real()
    y = Real()
    sigma_x = Real()
    sigma_y = Real()

    @classmethod
    def of(cls, ground: Ground, nodes: Nodes, document: NDArray[np.int64] | None = None) -> Entries:
        """The entries for nodes that exist.

        Args:
            ground: what knows about them.
            nodes: which, in the order of a working context.
            document: what is known of their documents already, `UNKNOWN` where nothing is.
        """
        known = np.full(len(nodes), UNKNOWN, np.int64) if document is None else document
        facts = ground.facts(nodes, known)
        start, stop = ground.spans(nodes)
        columns = (nodes.integers, start[None], stop[None], facts.stored_integers)
        return cls(np.concatenate(columns), facts.stored_reals)

    @property
    def nodes(self) -> Nodes:
        """Their nodes."""
        return Nodes(self.stored_integers[: len(Nodes.INTEGERS)], self.stored_reals[:0])

    @property
    def leaves(self) -> NDArray[np.bool_]:
        """Which entries above level 0 have no children that could come in their place: `bool [n]`.

        They lie in an image that is coarse there: what is below them is in its source and not in the tree.
        """
        return self.growth < 0

    def address(self, i: int) -> Address:
        """The address of one entry."""
        return Address(int(self.space[i]), int(self.level[i]), int(self.index[i]))
