"""Where in the tree is what a question asks for?  A descent by gists that keeps the best few nodes of each level.

Each step expands the nodes of the beam, together with the nodes that the level has beyond the last complete parent,
so that nothing is out of reach; scores are dot products of a query vector with gists.  What it visits grows with the
beam and with the number of levels, not with the store.  `flat` compares all blocks instead: the reference that a
descent is judged by.

It does not know how a query becomes a vector: that is the encoder's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.geometry import TEXT
from mctree.tree.node import Node

if TYPE_CHECKING:
    from mctree.tree.gists import GistView
    from mctree.tree.snapshot import Snapshot

__all__ = ["Hit", "Hits", "descend", "search"]

_FANOUT = TEXT.fanout(0)
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Hit:
    """A block that was found, and how well it answers."""

    score: float
    node: Node


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first, and how many gists it compared."""

    hits: list[Hit]
    visited: int


def search(
    snapshot: Snapshot,
    query: str,
    *,
    gist_set: str | None = None,
    top: int = 10,
    beam: int = 32,
    flat: bool = False,
) -> Hits:
    """The blocks whose gists answer a question best.

    Args:
        snapshot: where to look.
        query: the question.
        gist_set: the set to use; the default one if none is named.
        top: how many blocks to give at most.
        beam: how many nodes to expand at each level.
        flat: compare all blocks instead of descending.

    Raises:
        NotFoundError: there is no such gist set.
        UsageError: a number is not positive, or the set's encoder is not known here.
    """
    if top < 1 or beam < 1:
        raise UsageError("top and beam must be at least 1")
    gists = snapshot.gists(gist_set)
    vector = np.asarray(gists.encoder().encode_query(query), np.float32)
    if not vector.any():
        raise UsageError(f"the question {query!r} says nothing that gist set {gists.name!r} can be searched for")
    if flat:
        blocks, scores, visited = _scan(gists, snapshot, vector, top)
    else:
        blocks, scores, visited = descend(snapshot, gists, vector, max(beam, -(-top // _FANOUT)))
    best = np.lexsort((blocks, -scores))[:top]
    return Hits([Hit(float(scores[i]), snapshot.node((1, int(blocks[i])))) for i in best], visited)


def descend(
    snapshot: Snapshot, gists: GistView, vector: NDArray[np.float32], beam: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Walk down from the coarsest level, expanding the best `beam` nodes of each.

    Args:
        snapshot: the snapshot that `gists` belongs to.
        gists: the set to compare with.
        vector: the query, `float32 [dim]`.
        beam: how many nodes to expand at each level.

    Returns:
        Blocks `int64 [n]`, their scores `float32 [n]`, and how many gists were compared on the way.
    """
    chosen = np.empty(0, np.int64)
    index, scores, visited = chosen, np.empty(0, np.float32), 0
    for level in range(gists.levels, 0, -1):
        # What has no parent with a gist enters here.
        orphans = np.arange(gists.rows(level + 1) * _FANOUT, gists.rows(level), dtype=np.int64)
        below = (chosen[:, None] * _FANOUT + np.arange(_FANOUT)).reshape(-1)
        index = np.concatenate([below, orphans])
        index = index[snapshot.world.exists(level, index)]
        scores = _scores(gists, level, index, vector)
        visited += len(index)
        chosen = np.sort(index[np.lexsort((index, -scores))[:beam]])
    return index, scores, visited


def _scan(
    gists: GistView, snapshot: Snapshot, vector: NDArray[np.float32], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    best, best_scores = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = gists.rows(1)
    for first in range(0, rows, _ROWS_AT_ONCE):
        index = np.arange(first, min(first + _ROWS_AT_ONCE, rows), dtype=np.int64)
        index = index[snapshot.world.exists(1, index)]
        scores = np.concatenate([best_scores, _scores(gists, 1, index, vector)])
        index = np.concatenate([best, index])
        kept = np.lexsort((index, -scores))[:top]
        best, best_scores = index[kept], scores[kept]
    return best, best_scores, rows


def _scores(gists: GistView, level: int, index: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(index):
        return np.empty(0, np.float32)
    return gists.gather(level, index).astype(np.float32) @ vector
