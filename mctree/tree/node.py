"""What is there to know about one node?  What follows from its address is computed, the rest is looked up.

Use it to look around; code that handles thousands of nodes asks the snapshot for arrays instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.format.records import BLOCK
from mctree.geometry import IMAGE, TEXT, Address
from mctree.tree.provenance import only_document

if TYPE_CHECKING:
    from mctree.tree.documents import Document
    from mctree.tree.provenance import Provenance
    from mctree.tree.snapshot import Snapshot

__all__ = ["Node", "node_exists"]


def node_exists(snapshot: Snapshot, address: Address) -> bool:
    """Whether a node of the timeline exists: complete, not wholly dead, and for LOD0 a real token."""
    level, index = address.level, address.index
    if level > TEXT.max_level or index >= int(TEXT.complete(level, snapshot.positions)):
        return False
    if not bool(snapshot.world.exists(level, np.array([index]))[0]):
        return False
    if level == 0:
        block, offset = divmod(index, BLOCK)
        return offset < int(snapshot.counts(block, block + 1)[0])
    return True


class Node:
    """A node that exists in a snapshot; made by `Snapshot.node` and its kin.

    Attributes:
        address: its space, level and index.
    """

    def __init__(self, snapshot: Snapshot, address: Address) -> None:
        self.address = address
        self._snapshot = snapshot

    def __repr__(self) -> str:
        return f"<Node {self.address} span {self.span[0]}..{self.span[1]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and (self.address, self._snapshot) == (other.address, other._snapshot)

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def level(self) -> int:
        """Its level of detail: 0 is the finest."""
        return self.address.level

    @property
    def index(self) -> int:
        """Its place within its level."""
        return self.address.index

    @property
    def span(self) -> tuple[int, int]:
        """The LOD0 positions [start, stop) below it, padding and dead ones included."""
        start, stop = TEXT.span(self.level, self.index)
        return int(start), int(stop)

    @property
    def tokens(self) -> int:
        """Real, live tokens below it."""
        if self.level == 0:
            return 1
        return int(self._snapshot.world.tokens(self.level, np.array([self.index]))[0])

    @property
    def parent(self) -> Node | None:
        """The node above it, or None if that is not complete yet."""
        above = Address(self.address.space, self.level + 1, int(TEXT.parent(self.level, self.index)))
        return Node(self._snapshot, above) if self._snapshot.exists(above) else None

    @property
    def children(self) -> list[Node]:
        """The nodes below it that exist, in order."""
        if self.level == 0:
            return []
        if self.level == 1 and (image := self._snapshot.gallery.places.at_block(self.index)) is not None:
            level = int(image["level"])
            root = Address(int(image["space"]), level, int(image["base"]) // IMAGE.width(level))
            return self._snapshot.node(root).children
        first, stop = TEXT.children(self.level, self.index)
        below = (Address(self.address.space, self.level - 1, index) for index in range(int(first), int(stop)))
        return [Node(self._snapshot, address) for address in below if self._snapshot.exists(address)]

    @property
    def document(self) -> Document | None:
        """Its document, if it lies within one: always so for LOD0 and LOD1."""
        found = only_document(self._snapshot, *self.span)
        return None if found is None else self._snapshot.document(found)

    def provenance(self, limit: int | None = None) -> list[Provenance]:
        """Which bytes of which sources it stands for, in order, dead blocks left out.

        Args:
            limit: give at most so many stretches.
        """
        return self._snapshot.provenance(*self.span, limit=limit)

    def gist(self, gist_set: str | None = None) -> NDArray[np.generic] | None:
        """Its gist, or None if it has none in the set (the default set if none is named)."""
        if self.level == 0:
            return None
        gists = self._snapshot.gists(gist_set)
        if self.index >= gists.rows(self.level) or gists.absent(self.level, np.array([self.index]))[0]:
            return None
        row: NDArray[np.generic] = gists.gather(self.level, np.array([self.index]))[0]
        return row

    def read_tokens(self) -> NDArray[np.generic]:
        """The real, live tokens below it."""
        return self._snapshot.packed(*self.span).tokens

    def text(self) -> str:
        """What its tokens say; characters cut by its ends, and bytes that are no text, show as U+FFFD.

        Raises:
            UsageError: the store has no tokenizer.
            CorruptError: they are not those that were committed.
        """
        return self._snapshot.text(*self.span)
