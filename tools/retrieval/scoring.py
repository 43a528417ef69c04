"""How well does every node of every level answer every question?

`gist_scores` encodes the whole tree with an encoder, stores each gist as float16 like a store does, and compares it
with the questions.  `bm25_scores` is the yardstick: Okapi BM25 over the nodes' terms.  Both give one matrix per level,
`float32 [nodes, questions]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, Tokenizer
from mctree.encoders.sums import unit_rows
from mctree.encoders.table import TermTable
from tools.retrieval.timeline import FANOUT, Timeline

__all__ = ["Scores", "bm25_scores", "gist_scores", "levels_of"]

Scores = dict[int, NDArray[np.float32]]

_TILE = FANOUT * 256


def levels_of(timeline: Timeline) -> int:
    """The coarsest level that still has something to choose from, at least 2."""
    level = 2
    while timeline.nodes(level + 1) >= 8:
        level += 1
    return level


def gist_scores(timeline: Timeline, encoder: Encoder, questions: list[str], pooled: bool = False) -> Scores:
    """Scores by gists.

    Args:
        timeline: the blocks.
        encoder: makes blocks' gists, and those above.
        questions: what is asked.
        pooled: make the gists above level 1 by adding up the children's gists instead.
    """
    top = levels_of(timeline)
    asked = {
        level: np.stack([encoder.encode_query(text, 1 if pooled else level) for text in questions]).T
        for level in range(1, top + 1)
    }
    scores = {level: np.empty((timeline.nodes(level), len(questions)), np.float32) for level in asked}
    gists: list[NDArray[np.float16]] = []
    for start in range(0, timeline.blocks, _TILE):
        stop = min(start + _TILE, timeline.blocks)
        mask = timeline.mask(start, stop)
        blocks = encoder.encode(1, timeline.tokens[start:stop], mask).astype(np.float16).astype(np.float32)
        scores[1][start:stop] = blocks @ asked[1]
        children, there = _in_runs(blocks)
        if pooled:
            made = unit_rows(children.sum(axis=1))
        else:
            tokens, real = _in_runs(timeline.tokens[start:stop])[0], _in_runs(mask)[0]
            made = encoder.encode(2, children, there, (tokens.reshape(len(tokens), -1), real.reshape(len(real), -1)))
        gists.append(made.astype(np.float16))
    below = np.concatenate(gists).astype(np.float32)
    scores[2][:] = below @ asked[2]
    for level in range(3, top + 1):
        children, there = _in_runs(below)
        made = unit_rows(children.sum(axis=1)) if pooled else encoder.encode(level, children, there)
        below = made.astype(np.float16).astype(np.float32)
        scores[level][:] = below @ asked[level]
    return scores


def bm25_scores(
    timeline: Timeline, table: TermTable, tokenizer: Tokenizer, questions: list[str], k1: float = 1.2, b: float = 0.75
) -> Scores:
    """Scores by Okapi BM25 (Robertson and Zaragoza 2009), each level by itself."""
    wanted = [table.of_question(tokenizer, text) for text in questions]
    scores: Scores = {}
    for level in range(1, levels_of(timeline) + 1):
        nodes, terms, counts = _postings(timeline, table, level)
        lengths = np.bincount(nodes, counts, timeline.nodes(level))
        found = np.bincount(terms, minlength=table.terms)
        rarity = np.log1p((timeline.nodes(level) - found + 0.5) / (found + 0.5))
        weights = counts * (k1 + 1) / (counts + k1 * (1 - b + b * lengths[nodes] / lengths.mean())) * rarity[terms]
        order = np.argsort(terms, kind="stable")
        nodes, weights = nodes[order], weights[order].astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(found)])
        scores[level] = np.zeros((timeline.nodes(level), len(questions)), np.float32)
        for column, one in enumerate(wanted):
            for term in one.tolist():
                part = slice(ends[term], ends[term + 1])
                scores[level][nodes[part], column] += weights[part]
    return scores


def _postings(
    timeline: Timeline, table: TermTable, level: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Node, term and count of every term in every node, each pair once."""
    keys, sums = [], []
    step = max(FANOUT ** (level - 1), _TILE)
    for start in range(0, timeline.blocks, step):
        stop = min(start + step, timeline.blocks)
        pairs = table.pairs(timeline.tokens[start:stop], timeline.mask(start, stop))
        nodes = (start + pairs.rows) // FANOUT ** (level - 1)
        key, inverse = np.unique(nodes * table.terms + pairs.terms, return_inverse=True)
        keys.append(key)
        sums.append(np.bincount(inverse, pairs.counts, len(key)))
    key = np.concatenate(keys)
    return key // table.terms, key % table.terms, np.concatenate(sums)


def _in_runs(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Rows in runs of 32, the last one filled up with zeros, and which of them are there."""
    runs = -(-len(rows) // FANOUT)
    filled = np.zeros((runs * FANOUT, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    there = np.arange(runs * FANOUT).reshape(runs, FANOUT) < len(rows)
    return filled.reshape(runs, FANOUT, *rows.shape[1:]), there
