"""Where do rows come from?  From whatever says what version a node's row has, and reads it.

`Fetch` is the border: the store's gists and tokens at a snapshot (`mctree.streaming.stored`), something slower, or what
somebody else keeps pixels in.  Two rows of one address and one version are the same row, for ever; a refresh gives
another version.  So a version is part of the key under which rows are kept, and nothing stale is ever found.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mctree.streaming.nodes import Nodes

__all__ = ["NO_ROW", "Fetch", "Plane"]

NO_ROW = -1
"""The version of a node that has no row: a gist that was not made yet, or a modality that the set does not cover."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Rows of one shape.

    Attributes:
        row: the shape of a row.
        dtype: its element type.
    """

    row: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(math.prod(self.row)) * self.dtype.itemsize


class Fetch(Protocol):
    """Rows of nodes, for a residency pool."""

    @property
    def identity(self) -> Hashable:
        """Equal where an address, with a version, means the same row."""
        ...

    @property
    def planes(self) -> Sequence[Plane | None]:
        """The shapes of gists, of blocks and of tiles; None for what there is none of."""
        ...

    def versions(self, nodes: Nodes) -> NDArray[np.int64]:
        """The versions of the rows of nodes, 0 or more, `NO_ROW` where there is none: `int64 [n]`.

        Cheap: it is asked once for each node that enters a working context, by the thread that does so.
        """
        ...

    def read(self, space: int, level: int, index: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy the rows of nodes of one level into `out [n, *row]`.

        Args:
            space: of the nodes.
            level: of the nodes.
            index: `int64 [n]`, ascending; no node without a row.
            out: of the plane's element type.

        Called by several threads at a time.  What it raises is handed to whoever asked for the rows.
        """
        ...

    def advise(self, space: int, level: int, index: NDArray[np.int64]) -> None:
        """Say that these rows will be read soon; returns at once."""
        ...
