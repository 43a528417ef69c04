"""Which blocks are shown for a question?  By a working context, by BM25 over all blocks, by a plain search, by recency.

A way is a function from a question to what it shows and what it looked at for that.  All of them see the same store;
those of BM25 (bm25s, https://github.com/xhluca/bm25s) hold an inverted index of all its blocks beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import bm25s
import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, Lexicon
from mctree.focus import Sought, WorkingContext, afford, focus, seek
from mctree.geometry import TEXT
from mctree.tree import Snapshot
from mctree.tree.search import find, search
from mctree.tree.text_arrays import LOD0

__all__ = ["BLOCK", "BY_TERMS", "FOCUS", "Ranking", "Shown", "Way", "by_terms", "by_words", "variations", "ways"]

BLOCK = TEXT.block
BY_TERMS = "BM25 over all blocks"
FOCUS = "**focus**"

_ALL_AT_ONCE = 1 << 14
_RANKED = 512


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """What one way shows for one question.

    Attributes:
        blocks: those at LOD0.
        cost: of the working context; tokens of the blocks where there is none.
        compared: how many gists were compared.
        read: how many blocks were read.
    """

    blocks: NDArray[np.int64]
    cost: int
    compared: int = 0
    read: int = 0


Way = Callable[[str], Shown]
Ranking = Callable[[str], Sought]


def ways(snapshot: Snapshot, budget: int, terms: Ranking, words: Ranking) -> Iterator[tuple[str, Way]]:
    """What is compared.

    Args:
        snapshot: the store.
        budget: of working contexts; whatever has none shows as many tokens of text.
        terms: as `by_terms` gives it.
        words: as `by_words` gives it.
    """
    best = budget // BLOCK
    yield BY_TERMS, lambda query: _best(snapshot, terms(query), best)
    yield "BM25 by whole words, without English stop words", lambda query: _best(snapshot, words(query), best)
    yield "BM25, in a working context", lambda query: _in_context(snapshot, terms(query), budget)
    yield "gists of all blocks compared", lambda query: _searched(snapshot, query, best, flat=True)
    yield "`search`", lambda query: _searched(snapshot, query, best)
    newest = _of(WorkingContext.recent(snapshot, budget))
    yield "recency", lambda _: newest
    yield FOCUS, lambda query: _focused(snapshot, query, budget)


def variations(snapshot: Snapshot, budget: int) -> Iterator[tuple[str, Way]]:
    """Focus with a part of it left out, or with another effort."""
    everything = sum(snapshot.gists().rows(level) for level in range(1, snapshot.gists().levels + 1))
    for share in (0.025, 0.0375, 0.1, 0.2):
        effort = max(int(share * everything), 1)
        yield (
            f"looking at {share * 100:.3g} % of all gists and blocks",
            lambda query, effort=effort: _in_context(snapshot, seek(snapshot, query, effort=effort), budget),  # type: ignore[misc]
        )
    yield (
        "regions by their scores alone, however many of one document",
        lambda query: _unspread(snapshot, query, budget),
    )
    yield "blocks by their gists, not by their tokens", lambda query: _by_gists(snapshot, query, budget)
    yield "as many of the best blocks as fit, whatever their documents", lambda query: _greedy(snapshot, query, budget)


# Focus


def _focused(snapshot: Snapshot, query: str, budget: int) -> Shown:
    """As a user gets it, step by step; and what finding it took, which is the same each time."""
    context = focus(snapshot, query, budget)
    if breach := context.check():
        raise AssertionError(breach)
    sought = seek(snapshot, query)
    return _of(context, sought.compared, sought.read)


def _in_context(snapshot: Snapshot, sought: Sought, budget: int) -> Shown:
    """Where the steps lead to, without taking them."""
    chosen = afford(sought, snapshot.world.geometry, budget, lambda blocks: snapshot.world.tokens(1, blocks))
    return _around(snapshot, chosen, budget, sought)


def _around(snapshot: Snapshot, chosen: NDArray[np.int64], budget: int, sought: Sought) -> Shown:
    spans = [(int(block) * BLOCK, int(block + 1) * BLOCK) for block in chosen]
    return _of(WorkingContext.around(snapshot, spans, budget), sought.compared, sought.read)


def _of(context: WorkingContext, compared: int = 0, read: int = 0) -> Shown:
    return Shown(context.blocks, context.cost, compared, read)


def _unspread(snapshot: Snapshot, query: str, budget: int) -> Shown:
    found = find(snapshot, snapshot.gists(), query)
    order = np.lexsort((found.blocks, -found.scores))
    order = order[found.scores[order] > 0]
    blocks = found.blocks[order]
    owners = snapshot.documents_of(blocks)
    return _in_context(snapshot, Sought(blocks, found.scores[order], owners, found.compared, found.read), budget)


def _by_gists(snapshot: Snapshot, query: str, budget: int) -> Shown:
    """With the blocks that a descent arrives at compared by gist."""
    sought = seek(snapshot, query)
    gists = snapshot.gists()
    vector = gists.encoder().encode_query(query)
    scores = gists.gather(1, sought.blocks).astype(np.float32) @ vector
    order = np.lexsort((sought.blocks, -scores))
    order = order[scores[order] > 0]
    by_gist = Sought(sought.blocks[order], scores[order], sought.documents[order], sought.compared + sought.read, 0)
    return _in_context(snapshot, by_gist, budget)


def _greedy(snapshot: Snapshot, query: str, budget: int) -> Shown:
    """Blocks in the order of their scores, as many as fit."""
    sought = seek(snapshot, query)
    alone = np.arange(len(sought.blocks), dtype=np.int64)
    fits, least, beyond = np.empty(0, np.int64), 0, budget // BLOCK + 1
    while least + 1 < beyond:
        count = (least + beyond) // 2
        part = Sought(sought.blocks[:count], sought.scores[:count], alone[:count], 0, 0)
        chosen = afford(part, snapshot.world.geometry, budget, lambda blocks: snapshot.world.tokens(1, blocks))
        if len(chosen) == len(part.blocks):
            fits, least = chosen, count
        else:
            beyond = count
    return _around(snapshot, fits, budget, sought)


# What it is compared with


def _searched(snapshot: Snapshot, query: str, best: int, flat: bool = False) -> Shown:
    hits = search(snapshot, query, top=best, flat=flat)
    blocks = np.array([hit.node.address.index for hit in hits.hits], np.int64)
    return Shown(blocks, int(snapshot.world.tokens(1, blocks).sum()), hits.visited, hits.read)


def _best(snapshot: Snapshot, sought: Sought, best: int) -> Shown:
    blocks = sought.blocks[:best]
    return Shown(blocks, int(snapshot.world.tokens(1, blocks).sum()))


def by_terms(snapshot: Snapshot) -> Ranking:
    """BM25 by the same terms that gists are made of, counted in all blocks."""
    encoder, tokenizer = snapshot.gists().encoder(), snapshot.tree.tokenizer
    assert isinstance(encoder, Encoder) and isinstance(encoder, Lexicon) and tokenizer is not None
    table = encoder.table
    texts: list[list[int]] = []
    for tokens, mask in _tokens(snapshot):
        pairs = table.pairs(tokens, mask)
        ends = np.searchsorted(pairs.rows, np.arange(1, len(tokens)))
        held = np.split(pairs.terms, ends), np.split(pairs.counts, ends)
        texts += [np.repeat(terms, counts).tolist() for terms, counts in zip(*held, strict=True)]
    index = bm25s.BM25()
    index.index((texts, {str(term): term for term in range(table.terms)}), show_progress=False)

    def ranked(query: str) -> Sought:
        terms = table.of_question(tokenizer, query)
        return _ranked(snapshot, index.get_scores_from_ids(terms.tolist()))

    return ranked


def by_words(snapshot: Snapshot) -> Ranking:
    """BM25 as its library does it by itself, on the text of the blocks."""
    tokenizer = snapshot.tree.tokenizer
    assert tokenizer is not None
    texts = [
        tokenizer.decode(row[real]).decode("utf-8", "replace")
        for tokens, mask in _tokens(snapshot)
        for row, real in zip(tokens, mask, strict=True)
    ]
    index = bm25s.BM25()
    words = bm25s.tokenize(texts, stopwords="en", show_progress=False)
    index.index(words, show_progress=False)

    def ranked(query: str) -> Sought:
        (asked,) = bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)
        known = [word for word in asked if word in words.vocab]
        scores = index.get_scores(known) if known else np.zeros(len(texts), np.float32)
        return _ranked(snapshot, scores)

    return ranked


def _ranked(snapshot: Snapshot, scores: NDArray[np.float32]) -> Sought:
    """The best blocks of all, a few hundred of them; with the same score, the first one first."""
    order = np.lexsort((np.arange(len(scores)), -scores))[:_RANKED]
    order = order[scores[order] > 0].astype(np.int64)
    return Sought(order, scores[order], snapshot.documents_of(order), 0, 0)


def _tokens(snapshot: Snapshot) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.bool_]]]:
    """The tokens of all blocks and their mask, some blocks at a time."""
    for first in range(0, snapshot.blocks, _ALL_AT_ONCE):
        stop = min(first + _ALL_AT_ONCE, snapshot.blocks)
        tokens = snapshot.rows(LOD0).read(first * BLOCK, stop * BLOCK).astype(np.uint32).reshape(-1, BLOCK)
        yield tokens, np.arange(BLOCK) < snapshot.counts(first, stop)[:, None]
