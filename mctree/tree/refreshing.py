"""How is a gist of the timeline made again?  From the children that exist now, and everything above it too.

What is replaced goes into new generations of its chunks.  What of a chunk stays, and what gists are made of, is
compared with its checksums first: it would get valid ones, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mctree.format.arrays import ArrayLayout
from mctree.geometry import TEXT, World
from mctree.storage.rows import distinct
from mctree.storage.session import Session
from mctree.tree.building import BlockTokens, encode_nodes
from mctree.tree.gists import GistView
from mctree.tree.intact import damaged_gist, intact_gists
from mctree.tree.snapshot import Snapshot

__all__ = ["Refresher"]

_CHILD_BYTES = 1 << 26
"""Of gists whose parents are made again at once."""
_FANOUT = TEXT.fanout(0)


@dataclass(frozen=True, slots=True)
class Refresher:
    """Makes gists of one set again, once in a commit.

    Attributes:
        session: what writes.
        snapshot: the newest commit.
        view: the set, as that commit sees it.
        world: what exists for those who make gists of the set.
        tokens: gives the tokens of blocks.
    """

    session: Session
    snapshot: Snapshot
    view: GistView
    world: World
    tokens: BlockTokens

    def above(
        self,
        starts: NDArray[np.int64],
        last: NDArray[np.int64],
        fresh: tuple[NDArray[np.int64], NDArray[np.generic]] | None = None,
    ) -> int:
        """Make again what is above some runs of blocks; returns how many gists that were.

        Args:
            starts: `int64 [n]`: the first block of each run.
            last: `int64 [n]`: the last one.
            fresh: blocks, ascending, that get new gists too, and these.
        """
        view, made = self.view, 0
        encoder = view.encoder()
        if fresh is not None:
            self._replace(1, *fresh)
        at_once = max(_CHILD_BYTES // (_FANOUT * view.dim * np.dtype(view.record.dtype).itemsize), 1)
        for level in range(2, view.levels + 1):
            starts, last = starts // _FANOUT, last // _FANOUT
            index = _between(starts, last)
            index = index[index < view.rows(level)]
            index = index[self.world.exists(TEXT, level, index)]
            if not len(index):
                fresh = None
                continue
            parts = []
            for first in range(0, len(index), at_once):
                nodes = index[first : first + at_once]
                shaped = self._children(level, nodes, fresh)
                parts.append(encode_nodes(view.record, encoder, level, nodes, shaped, self.world, self.tokens))
            rows = np.concatenate(parts)
            self._replace(level, index, rows)
            fresh = (index, rows)
            made += len(index)
        return made

    def _children(
        self, level: int, nodes: NDArray[np.int64], fresh: tuple[NDArray[np.int64], NDArray[np.generic]] | None
    ) -> NDArray[np.generic]:
        """The gists of the children of nodes, those that were just made among them: `[n, 32, dim]`."""
        below = (nodes[:, None] * _FANOUT + np.arange(_FANOUT)).reshape(-1)
        known, at = np.zeros(len(below), np.bool_), np.zeros(len(below), np.int64)
        if fresh is not None:
            at = np.searchsorted(fresh[0], below)
            known = at < len(fresh[0])
            known[known] = fresh[0][at[known]] == below[known]
        read = intact_gists(self.snapshot, self.view.record, level - 1, below[~known])
        children = np.empty((len(below), self.view.dim), read.dtype)
        children[~known] = read
        if fresh is not None:
            children[known] = fresh[1][at[known]]
        return children.reshape(len(nodes), _FANOUT, self.view.dim)

    def _replace(self, level: int, index: NDArray[np.int64], rows: NDArray[np.generic]) -> None:
        """Replace gists of a level: a new generation of each chunk that holds one of them.

        Raises:
            CorruptError: another gist in such a chunk is damaged, and would get a checksum that is valid.
        """
        array = self.view.record.levels[level - 1]
        layout: ArrayLayout = self.session.array(array).layout
        chunks = index // layout.rows_per_chunk
        for chunk in distinct(chunks).tolist():
            mine, first = chunks == chunk, chunk * layout.rows_per_chunk
            committed, damaged = self.session.read_committed(array, chunk)
            kept = np.ones(len(committed), np.bool_)
            kept[index[mine] - first] = False
            damaged = damaged[kept[damaged]]
            if len(damaged):
                raise damaged_gist(self.snapshot, self.view.name, level, first + int(damaged[0]))
            content = committed.copy()
            content[index[mine] - first] = rows[mine]
            self.session.replace_chunk(array, chunk, content)


def _between(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """All integers in the closed ranges first … last, once each, ascending."""
    lengths = last - first + 1
    offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return distinct(np.repeat(first, lengths) + offsets)
