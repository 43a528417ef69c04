"""What would be streamed if a world on paper had rows?  Numbers that tell which node they are of, and which version.

`PaperRows` is a `Fetch` over a `PaperWorld`, with gists, blocks and tiles, for text and images alike.  Rows can be
refreshed, be without a gist, or fail to be read.  `LazyDevice` is a device on which copying takes a while.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.streaming import NO_ROW, HostDevice, Nodes, Plane

__all__ = ["DIM", "LazyDevice", "PaperRows"]

DIM = 3
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_STRETCH = 8
"""So many neighbours share a version, as rows of one chunk do."""


class PaperRows:
    """Rows at one commit.

    Args:
        identity: of the world.
        commit: unfinished blocks have another version at each.
        end: the position behind all that was placed.
        versions: of the stretches of gists that were refreshed, by space, level and stretch.
        no_gists_above: nodes of text above this level have no gist.

    Attributes:
        failing: nodes that cannot be read.
        failed: how often one was to be read.
        reads: how often each row was read, by key.
        closed: what is read after this is set fails.
    """

    def __init__(
        self,
        identity: Hashable,
        commit: int,
        end: int,
        versions: dict[tuple[int, int, int], int] | None = None,
        no_gists_above: int = 99,
    ) -> None:
        self._identity = identity
        self.commit = commit
        self._end = end
        self._versions = dict(versions or {})
        self._no_gists_above = no_gists_above
        self.failing: set[tuple[int, int, int]] = set()
        self.failed = 0
        self.reads: dict[tuple[int, int, int, int], int] = {}
        self.closed = False

    @property
    def identity(self) -> Hashable:
        """That of the world."""
        return self._identity

    @property
    def planes(self) -> Sequence[Plane | None]:
        """Gists of three numbers, blocks of 32 tokens, tiles of 64 patches of one number."""
        return (
            Plane((DIM,), np.dtype(np.float32)),
            Plane((32,), np.dtype(np.uint16)),
            Plane((64, 1), np.dtype(np.float16)),
        )

    def version(self, space: int, level: int, index: int) -> int:
        """The version of a row."""
        if level == 0:
            return self.commit if space == 0 and index >= self._end else 0
        if space == 0 and level > self._no_gists_above:
            return NO_ROW
        return self._versions.get((space, level, index // _STRETCH), 1)

    def versions(self, nodes: Nodes) -> NDArray[np.int64]:
        """See `Fetch.versions`."""
        return np.array([self.version(*node) for node in nodes.addresses()], np.int64)

    def expected(self, space: int, level: int, index: int) -> NDArray[Any]:
        """What the row of a node is now: `[*row]`."""
        plane = self.planes[0 if level else 2 if space else 1]
        assert plane is not None
        version = self.version(space, level, index)
        if version == NO_ROW:
            return np.zeros(plane.row, plane.dtype)
        code = np.uint64(((space * 64 + level) * 2**40 + index) % 2**64)
        with np.errstate(over="ignore"):
            code = (code + np.uint64(version * 7919 + 1)) * _MIX
            numbers = (code >> np.uint64(40)) + np.arange(int(np.prod(plane.row)), dtype=np.uint64)
        return (numbers % np.uint64(2039)).astype(plane.dtype).reshape(plane.row)

    def read(self, space: int, level: int, index: NDArray[np.int64], out: NDArray[Any]) -> None:
        """See `Fetch.read`.

        Raises:
            CorruptError: one of them is to fail, or all of them are.
        """
        if self.closed:
            raise CorruptError("these rows were closed")
        for i, at in enumerate(index.tolist()):
            if (space, level, at) in self.failing:
                self.failed += 1
                raise CorruptError(f"node {level}:{at} of space {space} was to fail")
            out[i] = self.expected(space, level, at)
        for at in index.tolist():
            key = (space, level, at, self.version(space, level, at))
            self.reads[key] = self.reads.get(key, 0) + 1

    def advise(self, space: int, level: int, index: NDArray[np.int64]) -> None:
        """See `Fetch.advise`: nothing is done, but what has no row may not be advised of."""
        assert len(index) and (np.diff(index) >= 0).all()
        assert all(self.version(space, level, at) != NO_ROW for at in index.tolist())


class LazyDevice(HostDevice):
    """A device on which copies take effect only when it was asked for them some times.

    Attributes:
        patience: how often it has to be asked.
        bytes: how many were copied so far.
    """

    patience = 2
    bytes = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._begun: dict[int, list[tuple[int, int, NDArray[np.int64]]]] = {}
        self._asked: dict[int, int] = {}

    def copy(self, buffer: int, plane: int, first: int, slots: NDArray[np.int64]) -> None:
        """Remember it."""
        shape = self._planes[plane]
        assert shape is not None
        self.bytes += len(slots) * shape.row_bytes
        self._begun.setdefault(buffer, []).append((plane, first, slots.copy()))
        self._asked[buffer] = 0

    def copied(self, buffer: int) -> bool:
        """Whether it was asked often enough; then what is in the buffer at that moment is copied."""
        self._asked[buffer] += 1
        if self._asked[buffer] <= self.patience:
            return False
        for plane, first, slots in self._begun.pop(buffer, []):
            super().copy(buffer, plane, first, slots)
        return True
