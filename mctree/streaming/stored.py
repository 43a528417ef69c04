"""What does a store give to be streamed?  The gists of one set, and the tokens of blocks, as a snapshot sees them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.geometry import TEXT
from mctree.streaming.fetch import NO_ROW, Plane
from mctree.streaming.nodes import Nodes
from mctree.tree.generations import chunk_generations
from mctree.tree.rows import Rows
from mctree.tree.snapshot import LOD0

if TYPE_CHECKING:
    from mctree.tree import Snapshot

__all__ = ["StoredRows"]

_UNKNOWN = -2


class StoredRows:
    """The rows of a snapshot; a `Fetch`.

    A block comes as its 32 stored tokens, padding (0) behind the real ones.  Arenas have no rows: stores hold text.

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
        # Looked up here, by the thread that has the snapshot; those that read find them open.
        self._levels: dict[int, Rows] = {
            level: self.gists.level(level) for level in range(1, self.gists.levels + 1) if self.gists.rows(level)
        }
        gist = np.dtype(self.gists.record.dtype)
        if self._levels and self._levels[min(self._levels)].layout.row != (self.gists.dim,):
            raise UsageError(f"gist set {self.gists.name!r} has rows of another shape than its dimension says")
        self._planes = (Plane((self.gists.dim,), gist), Plane((TEXT.block,), tokens.layout.numpy), None)
        self._generations: dict[int, NDArray[np.int64]] = {}
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
        """Gists of the set's dimension and type, blocks of 32 tokens, no tiles."""
        return self._planes

    def versions(self, nodes: Nodes) -> NDArray[np.int64]:
        """The commit that wrote a gist's chunk; 0 for placed blocks, which are final; this one for unfinished ones."""
        found = np.full(len(nodes), NO_ROW, np.int64)
        text = nodes.space == 0
        blocks = text & (nodes.level == 0)
        end = self.snapshot.positions
        found[blocks & (nodes.index < end)] = 0
        late = blocks & (nodes.index >= end)
        found[late & (nodes.index < end + TEXT.block * len(self._tails))] = self.snapshot.commit
        for level in set(nodes.level[text].tolist()) - {0}:
            rows = self._levels.get(level)
            if rows is not None:
                some = np.flatnonzero(text & (nodes.level == level) & (nodes.index < rows.count))
                found[some] = self._generation(level, rows, nodes.index[some])
        return found

    def read(self, space: int, level: int, index: NDArray[np.int64], out: NDArray[Any]) -> None:
        """See `Fetch.read`.

        Raises:
            NotFoundError: there are no such rows.
            CorruptError: a chunk file is not what was committed.
            UsageError: the snapshot was closed.
        """
        if space:
            raise NotFoundError(f"space {space} is not in this store: it holds text only")
        if level:
            self._level(level).gather(index, out)
            return
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
            return
        if level:
            self._level(level).prefetch(index)
        else:
            self._tokens.prefetch(index[index < self.snapshot.positions])

    def _level(self, level: int) -> Rows:
        rows = self._levels.get(level)
        if rows is None:
            raise NotFoundError(f"gist set {self.gists.name!r} has no gists of level {level}")
        return rows

    def _tail(self, which: int) -> NDArray[Any]:
        if not which < len(self._tails):
            raise NotFoundError(f"there is no unfinished block {which} at commit {self.snapshot.commit}")
        return self._tails[which]

    def _generation(self, level: int, rows: Rows, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The generations of the chunks that gists lie in; looked up once for each chunk."""
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
