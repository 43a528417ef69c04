"""Where in the tree is what a question asks for?  A descent by gists, and a look at the best regions themselves.

Each step expands the best nodes of a level, together with the nodes that the level has beyond the last complete parent,
so that nothing is out of reach; scores are dot products of gists with what the encoder makes of the question for that
level.  How many nodes are expanded follows from the effort that is allowed: coarse levels are few and are compared
whole if that leaves something, and the rest is spent below.

The last step is to the blocks.  If the encoder knows the terms of tokens (see `mctree.encoders.lexicon`), the blocks
are read and scored by the terms that they hold; the tokens of 32 blocks are a fraction of the bytes of their gists.
With any other encoder their gists are compared.  `flat` compares the gists of all blocks instead of descending.

It does not know how a query becomes a vector: that is the encoder's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, Lexicon, shares
from mctree.errors import UsageError
from mctree.format.records import BLOCK
from mctree.geometry import TEXT
from mctree.tree.node import Node
from mctree.tree.snapshot import Snapshot
from mctree.tree.text_arrays import LOD0

if TYPE_CHECKING:
    from mctree.tree.gists import GistView

__all__ = ["Found", "Hit", "Hits", "find", "search"]

_FANOUT: Final = TEXT.fanout(0)
_ROWS_AT_ONCE: Final = 1 << 16

_SHARE: Final = 20
_LEAST: Final = 1 << 11
_MOST: Final = 1 << 16
"""What is looked at if nobody says how much: one of so many gists, but so many at least and at most."""

_NEXT: Final = 2 / 3
"""How much of what is left the level below may take, where there are blocks still further down."""

_LOOKED_AHEAD: Final = 4
"""Among how many times as many nodes as are wanted those of other documents are looked for."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A block that was found, and how well it answers."""

    score: float
    node: Node


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first, how many gists it compared, and how many blocks it read."""

    hits: list[Hit]
    visited: int
    read: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """Where a descent arrived.

    Attributes:
        blocks: `int64 [n]`, in no order, each once.
        scores: `float32 [n]`: how well they answer.
        compared: how many gists were compared.
        read: how many blocks were read.
    """

    blocks: NDArray[np.int64]
    scores: NDArray[np.float32]
    compared: int
    read: int


def search(
    snapshot: Snapshot,
    query: str,
    *,
    gist_set: str | None = None,
    top: int = 10,
    beam: int | None = None,
    flat: bool = False,
) -> Hits:
    """The blocks that answer a question best.

    Args:
        snapshot: where to look.
        query: the question.
        gist_set: the set to use; the default one if none is named.
        top: how many blocks to give at most; fewer where few of those that were read hold a term of the question.
        beam: how many nodes to expand at each level; as many as a small part of all gists allows if None.
        flat: compare the gists of all blocks instead of descending.

    Raises:
        NotFoundError: there is no such gist set.
        UsageError: a number is not positive, or the set's encoder is not known here.
    """
    if top < 1 or (beam is not None and beam < 1):
        raise UsageError("top and beam must be at least 1")
    gists = snapshot.gists(gist_set)
    if flat:
        found = _scan(gists, query, top)
    else:
        found = find(snapshot, gists, query, beam=None if beam is None else max(beam, -(-top // _FANOUT)))
    best = np.lexsort((found.blocks, -found.scores))[:top]
    if found.read:
        best = best[found.scores[best] > 0]  # a block that was read and holds no term of the question is no answer
    hits = [Hit(float(found.scores[i]), snapshot.node((1, int(found.blocks[i])))) for i in best]
    return Hits(hits, found.compared, found.read)


def find(
    snapshot: Snapshot,
    gists: GistView,
    query: str,
    *,
    effort: int | None = None,
    beam: int | None = None,
    regions: int | None = None,
) -> Found:
    """Walk down from the coarsest level.

    Args:
        snapshot: the snapshot that `gists` belongs to.
        gists: the set to compare with.
        query: the question.
        effort: how many gists and blocks to look at together; a small part of all if None.  At least one node of each
            level is expanded, whatever it says.
        beam: how many nodes to expand at each level instead.
        regions: expand so many nodes of level 2 of one document before any more of it; by scores alone if None.

    Raises:
        UsageError: a number is not positive, or the question says nothing that the set can be searched for.
    """
    for name, number in (("effort", effort), ("beam", beam), ("regions", regions)):
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}")
    encoder = gists.encoder()
    left = _effort(gists) if effort is None else effort
    chosen = np.empty(0, np.int64)
    compared = 0
    for level in range(gists.levels, 1, -1):
        index = _below(gists, level, chosen)
        scores = _scores(gists, level, index, _asked(gists, encoder, query, level))
        compared += len(index)
        left -= len(index)
        wanted = _wanted(gists, level, left) if beam is None else beam
        order = np.lexsort((index, -scores))
        if level == 2 and regions is not None and wanted < len(order):
            order = _spread(snapshot, index, order[: _LOOKED_AHEAD * wanted], regions)
        chosen = np.sort(index[order[:wanted]])
    blocks = _below(gists, 1, chosen)
    vector = _asked(gists, encoder, query, 1)
    terms = _terms(snapshot, encoder, query)
    if terms is None:
        return Found(blocks, _scores(gists, 1, blocks, vector), compared + len(blocks), 0)
    assert isinstance(encoder, Lexicon)
    return Found(blocks, _read(snapshot, encoder, terms, blocks), compared, len(blocks))


def _effort(gists: GistView) -> int:
    """How much to look at if nobody says."""
    everything = sum(gists.rows(level) for level in range(1, gists.levels + 1))
    return min(max(everything // _SHARE, _LEAST), _MOST)


def _wanted(gists: GistView, level: int, left: int) -> int:
    """How many nodes of a level to expand, so that what is left suffices down to the blocks."""
    orphans = gists.rows(level - 1) - gists.rows(level) * _FANOUT
    allowed = left if level == 2 else int(left * _NEXT)
    return max((allowed - orphans) // _FANOUT, 1)


def _below(gists: GistView, level: int, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nodes of a level that exist below those chosen of the next one, and those that have no parent with a gist."""
    orphans = np.arange(gists.rows(level + 1) * _FANOUT, gists.rows(level), dtype=np.int64)
    below = (chosen[:, None] * _FANOUT + np.arange(_FANOUT)).reshape(-1)
    index = np.concatenate([below, orphans])
    return index[gists.world.exists(TEXT, level, index)]


def _spread(snapshot: Snapshot, index: NDArray[np.int64], order: NDArray[np.intp], regions: int) -> NDArray[np.intp]:
    """Nodes of level 2, best first, reordered: of one document so many, before any more of it.

    Nodes that hold several documents are not held back.
    """
    first = index[order] * _FANOUT
    owner, other = snapshot.documents_of(np.concatenate([first, first + _FANOUT - 1])).reshape(2, -1)
    turn = np.zeros(len(order), np.int64)
    whole = np.flatnonzero(owner == other)
    by_owner = whole[np.argsort(owner[whole], kind="stable")]
    begins = np.flatnonzero(np.diff(owner[by_owner], prepend=-1))
    counts = np.diff(begins, append=len(by_owner))
    turn[by_owner] = (np.arange(len(by_owner)) - np.repeat(begins, counts)) // regions
    return order[np.argsort(turn, kind="stable")]


def _asked(gists: GistView, encoder: Encoder, query: str, level: int) -> NDArray[np.float32]:
    """The question as a vector for one level."""
    vector = np.asarray(encoder.encode_query(query, level), np.float32)
    if not vector.any():
        raise UsageError(f"the question {query!r} says nothing that gist set {gists.name!r} can be searched for")
    return vector


def _terms(snapshot: Snapshot, encoder: Encoder, query: str) -> NDArray[np.int32] | None:
    """The terms of a question, if blocks can be scored by them."""
    tokenizer = snapshot.tree.tokenizer
    if tokenizer is None or not isinstance(encoder, Lexicon):
        return None
    terms = encoder.table.of_question(tokenizer, query)
    return terms if len(terms) else None


def _read(
    snapshot: Snapshot, lexicon: Lexicon, terms: NDArray[np.int32], blocks: NDArray[np.int64]
) -> NDArray[np.float32]:
    """How well blocks answer by their tokens, `float32 [n]`."""
    scores = np.empty(len(blocks), np.float32)
    for first in range(0, len(blocks), _ROWS_AT_ONCE):
        some = blocks[first : first + _ROWS_AT_ONCE]
        tokens = snapshot.rows(LOD0).runs(some * BLOCK, BLOCK)
        mask = np.arange(BLOCK) < snapshot.world.counts_of(some)[:, None]
        scores[first : first + len(some)] = shares(lexicon, terms, tokens, mask)
    return scores


def _scan(gists: GistView, query: str, top: int) -> Found:
    vector = _asked(gists, gists.encoder(), query, 1)
    best, best_scores = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = gists.rows(1)
    for first in range(0, rows, _ROWS_AT_ONCE):
        index = np.arange(first, min(first + _ROWS_AT_ONCE, rows), dtype=np.int64)
        index = index[gists.world.exists(TEXT, 1, index)]
        scores = np.concatenate([best_scores, _scores(gists, 1, index, vector)])
        index = np.concatenate([best, index])
        kept = np.lexsort((index, -scores))[:top]
        best, best_scores = index[kept], scores[kept]
    return Found(best, best_scores, rows, 0)


def _scores(gists: GistView, level: int, index: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(index):
        return np.empty(0, np.float32)
    return gists.gather(level, index).astype(np.float32) @ vector
