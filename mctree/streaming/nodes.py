"""What is asked for?  Nodes: their addresses as flat arrays, and for each the row of a level that stands for it.

A node above LOD0 is a gist.  At LOD0 what moves is a whole block of tokens, or a whole tile of patches, under the
address of its first position, as in a working context.  `slot` is the position of the timeline at which a node stands:
its own first one, or that of the block which its image takes.

Nothing is assumed about where nodes come from: whatever has these four columns can be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE, TEXT

__all__ = [
    "GISTS",
    "PATCHES",
    "PLANES",
    "STEPS",
    "TOKENS",
    "Columns",
    "Key",
    "Nodes",
    "by_plane",
    "keys_of",
    "plane_of",
]

GISTS, TOKENS, PATCHES = 0, 1, 2
"""The planes: rows of one shape each, which lie in one pool.  A gist; a block's tokens; a tile's patches."""

PLANES = 3

STEPS = (1, TEXT.block, IMAGE.block)
"""By plane, by how much the indices of two neighbours differ."""

_TEXT_WIDTHS, _IMAGE_WIDTHS = (np.array(shape.widths, np.int64) for shape in (TEXT, IMAGE))

Key = tuple[int, int, int, int]
"""Space, level, index, and the version of the row: what a residency pool knows a row by."""


class Columns(Protocol):
    """Anything with the columns of `Nodes`: nodes and entries of a working context."""

    @property
    def space(self) -> NDArray[np.int64]:
        """Spaces."""
        ...

    @property
    def level(self) -> NDArray[np.int64]:
        """Levels."""
        ...

    @property
    def index(self) -> NDArray[np.int64]:
        """Indices within their levels."""
        ...

    @property
    def slot(self) -> NDArray[np.int64]:
        """Positions of the timeline where they stand."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Nodes:
    """Nodes, one row each: `int64 [n]`.

    Attributes:
        space: 0 for the timeline, 1 … for the arenas of images.
        level: level of detail; 0 for whole blocks and tiles.
        index: of the node within its level; at level 0 that of its first token or patch.
        slot: the position of the timeline where it stands.
    """

    space: NDArray[np.int64]
    level: NDArray[np.int64]
    index: NDArray[np.int64]
    slot: NDArray[np.int64]

    @classmethod
    def of(cls, columns: Columns) -> Nodes:
        """Those of a working context, or of part of one."""
        return cls(columns.space, columns.level, columns.index, columns.slot)

    @classmethod
    def none(cls) -> Nodes:
        """No nodes."""
        return cls(*(np.empty(0, np.int64) for _ in range(4)))

    @classmethod
    def joined(cls, parts: Sequence[Nodes]) -> Nodes:
        """All of one after those of the other; there is one part at least."""
        return cls(
            np.concatenate([part.space for part in parts]),
            np.concatenate([part.level for part in parts]),
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.slot for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"<Nodes: {len(self)}>"

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_] | slice) -> Nodes:
        """Some of them: those of the given numbers, in that order, those that are marked, or a stretch."""
        return Nodes(self.space[rows], self.level[rows], self.index[rows], self.slot[rows])

    def addresses(self) -> list[tuple[int, int, int]]:
        """Space, level and index of each, as Python integers."""
        return list(zip(self.space.tolist(), self.level.tolist(), self.index.tolist(), strict=True))

    def starts(self) -> NDArray[np.int64]:
        """The first LOD0 position of its space that each one spans: `int64 [n]`."""
        return self.index * self.widths()

    def widths(self) -> NDArray[np.int64]:
        """How many LOD0 positions of its space each one spans, blocks and tiles as a whole: `int64 [n]`."""
        text = _TEXT_WIDTHS.take(self.level, mode="clip")
        arena = self.space > 0
        return np.where(arena, _IMAGE_WIDTHS.take(self.level, mode="clip"), text) if arena.any() else text


def plane_of(space: int, level: int) -> int:
    """In which plane the row of a node lies."""
    if level:
        return GISTS
    return PATCHES if space else TOKENS


def by_plane(nodes: Nodes) -> list[tuple[int, NDArray[np.int64]]]:
    """The planes in which rows of nodes lie, and which of the nodes are in each, ascending."""
    if nodes.level.all():
        return [(GISTS, np.arange(len(nodes)))]
    planes = np.where(nodes.level > 0, GISTS, np.where(nodes.space > 0, PATCHES, TOKENS))
    return [(plane, some) for plane in range(PLANES) if len(some := (planes == plane).nonzero()[0])]


def keys_of(nodes: Nodes, versions: NDArray[np.int64]) -> list[Key]:
    """What a pool knows the rows of nodes by, given their versions `int64 [n]`."""
    columns = (nodes.space, nodes.level, nodes.index, versions)
    return list(zip(*(column.tolist() for column in columns), strict=True))
