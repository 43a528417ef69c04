"""What does a store give to be streamed?  The gists of one set, and blocks of tokens, as a snapshot sees them.

What lies in images are gists as well, and at LOD0 the vectors of the 64 patches of a tile.  What changes there gets new
rows, so a row's number is its version.  Gists of the timeline are refreshed where they lie, and their version is the
commit that wrote their chunk.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.images import ARENA
from mctree.geometry import IMAGE, TEXT
from mctree.streaming.fetch import NO_ROW, Plane
from mctree.streaming.nodes import Nodes
from mctree.tree.generations import chunk_generations
from mctree.tree.rows import Rows
from mctree.tree.text_arrays import LOD0

if TYPE_CHECKING:
    from mctree.tree import Snapshot

__all__ = ["StoredRows"]

_UNKNOWN = -2


class StoredRows:
    """The rows of a snapshot; a `Fetch`.

    A block comes as its 32 stored tokens, padding (0) behind the real ones; a tile as the vectors of its 64 patches, 0
    where there is none.

    Args:
        snapshot: stays open until what reads from it has gone over to another one, or was closed.
        gist_set: the set; the default one if none is named.

    Raises:
        NotFoundError: there is no such set.
    """

    def __init__(self, snapshot: Snapshot, gist_set: str | None = None) -> None:
        self.snapshot = snapshot
        self.gists = snapshot.gists(gist_set)
        self._identity = (snapshot.store.identity, self.gists.number)
        tokens = snapshot.rows(LOD0)
        self._tokens = tokens
        record, dim = self.gists.record, self.gists.dim
        # Looked up here, by the thread that has the snapshot; those that read find them open.
        places = [(0, level) for level in range(1, self.gists.levels + 1)]
        places += [(ARENA, level) for level in range(len(record.images))]
        found = [(place, self.gists.array(*place)) for place in places]
        self._levels: dict[tuple[int, int], Rows] = {place: rows for place, rows in found if rows is not None}
        if any(rows.layout.row != (dim,) for rows in self._levels.values()):
            raise UsageError(f"gist set {self.gists.name!r} has rows of another shape than its dimension says")
        gist = np.dtype(record.dtype)
        tile = Plane((IMAGE.block, dim), gist) if "image" in record.modalities else None
        self._planes = (Plane((dim,), gist), Plane((TEXT.block,), tokens.layout.numpy), tile)
        self._generations: dict[int, NDArray[np.int64]] = {}
        # Where the set leaves no image out, which nodes have a gist is a matter of their numbers.
        self._leaves_out = bool(len(self.gists.slots.absent))
        self._counts = [0, *(self.gists.rows(level) for level in range(1, self.gists.levels + 1))]
        tails = [document.tail for document in snapshot.tails()]
        self._tails = [np.asarray(tail.tokens) for tail in tails if tail is not None and len(tail.tokens)]

    def __repr__(self) -> str:
        return f"<StoredRows of {self.gists.name!r} at commit {self.snapshot.commit}>"

    @property
    def identity(self) -> Hashable:
        """The store, its epoch, and the gist set."""
        return self._identity

    @property
    def planes(self) -> Sequence[Plane | None]:
        """Gists of the set's dimension and type, blocks of 32 tokens, and 64 vectors if the set covers images."""
        return self._planes

    def versions(self, nodes: Nodes) -> NDArray[np.int64]:
        """See `Fetch.versions`: 0 for placed blocks, which are final, this commit for unfinished ones.

        Of a tile it is the row of its last patch: whenever one of them changes or comes, that is another.
        """
        space, level, index = nodes.space, nodes.level, nodes.index
        if not len(index):
            return np.empty(0, np.int64)
        if (level == level[0]).all() and (space == space[0]).all():
            return self._versions(int(space[0]), int(level[0]), index)
        found = np.empty(len(index), np.int64)
        for each in set(zip(space.tolist(), level.tolist(), strict=True)):
            some = ((space == each[0]) & (level == each[1])).nonzero()[0]
            found[some] = self._versions(*each, index[some])
        return found

    def _versions(self, space: int, level: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of nodes of one level."""
        if space:
            return self._patches(index).max(axis=1) if level == 0 else self.gists.locate(space, level, index)
        if level == 0:
            end = self.snapshot.positions
            late = (index >= end) & (index < end + TEXT.block * len(self._tails))
            return np.where(index < end, 0, np.where(late, self.snapshot.commit, NO_ROW))
        made = self._made(level, index)
        if made.all():
            return self._generation(level, index)
        found = np.full(len(index), NO_ROW, np.int64)
        if made.any():
            found[made] = self._generation(level, index[made])
        return found

    def _made(self, level: int, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which nodes of the timeline, above level 0, have a gist: `bool [n]`."""
        if self._leaves_out:
            return self.gists.locate(0, level, index) >= 0
        marked: NDArray[np.bool_] = index < (self._counts[level] if level < len(self._counts) else 0)
        return marked

    def read(self, space: int, level: int, index: NDArray[np.int64], out: NDArray[Any]) -> None:
        """See `Fetch.read`.

        Raises:
            NotFoundError: there are no such rows.
            CorruptError: a chunk file is not what was committed.
            UsageError: the snapshot was closed.
        """
        if space and level == 0:
            row = self._patches(index)
            there = row >= 0
            out[~there] = 0
            out[there] = self._level(space, 0).gather(row[there])
        elif space:
            self._level(space, level).gather(self.gists.locate(space, level, index), out)
        elif level:
            self._level(0, level).gather(index, out)
        else:
            end = self.snapshot.positions
            placed = int(np.searchsorted(index, end))
            if placed:
                self._tokens.runs(index[:placed], TEXT.block, out[:placed])
            for row, position in zip(out[placed:], index[placed:].tolist(), strict=True):
                tokens = self._tail((position - end) // TEXT.block)
                row[: len(tokens)], row[len(tokens) :] = tokens, 0

    def advise(self, space: int, level: int, index: NDArray[np.int64]) -> None:
        """Tell the kernel."""
        if space:
            row = self._patches(index) if level == 0 else self.gists.locate(space, level, index)
            self._level(space, level).prefetch(row[row >= 0])
        elif level:
            self._level(0, level).prefetch(index)
        else:
            self._tokens.prefetch(index[index < self.snapshot.positions])

    def _level(self, space: int, level: int) -> Rows:
        rows = self._levels.get((space, level))
        if rows is None:
            where = f"a{space}/{level}" if space else f"{level}"
            raise NotFoundError(f"gist set {self.gists.name!r} has no gists of level {where}")
        return rows

    def _patches(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """In which rows the patches of tiles lie, given the first patch of each; -1 for none: `int64 [n, 64]`."""
        every = (index[:, None] + np.arange(IMAGE.block)).reshape(-1)
        return self.gists.locate(ARENA, 0, every).reshape(-1, IMAGE.block)

    def _tail(self, which: int) -> NDArray[Any]:
        if not which < len(self._tails):
            raise NotFoundError(f"there is no unfinished block {which} at commit {self.snapshot.commit}")
        return self._tails[which]

    def _generation(self, level: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The generations of the chunks that gists of the timeline lie in; looked up once for each chunk."""
        rows = self._levels[0, level]
        per_chunk = rows.layout.rows_per_chunk
        known = self._generations.get(level)
        if known is None:
            known = self._generations[level] = np.full(rows.layout.chunks(rows.count), _UNKNOWN, np.int64)
        chunks = index // per_chunk
        found = known[chunks]
        if (found == _UNKNOWN).any():
            # Marked, not sorted: chunks are few.
            asked = np.zeros(len(known), np.bool_)
            asked[chunks[found == _UNKNOWN]] = True
            fresh = np.flatnonzero(asked)
            known[fresh] = chunk_generations(self.snapshot, self.gists.record.levels[level - 1], fresh)
            found = known[chunks]
        return found
