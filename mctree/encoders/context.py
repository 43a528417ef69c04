"""Which vectors make the sum over a long span searchable, when a few hundred numbers stand for a thousand tokens?

Vectors that are random for each term suit a block, which has a dozen terms.  A span of 1,024 tokens has some
150, and the sum drowns in their cross-talk.  Terms that keep company share their noise if they also share
their direction, so the vectors are fitted to a sample of spans:

    A  [spans, terms]   log2(1 + count)·rarity^0.75, rows of norm 1
    A·S = U·Σ·Wᵀ, with S the random signs of the terms: a basis U of the spans (Halko, Martinsson, Tropp 2011)
    B = AᵀU,  P = B·(BᵀB)^(−3/4)·Wᵀ         latent semantic analysis (Deerwester et al. 1990), half whitened
    P[t] ← P[t] / |P[t]|^0.5                rare terms are lifted

and each row that is still shorter than the mean is brought up to it with its term's random signs, which Wᵀ
has turned the rest towards, so that a term which the sample hardly knew, or did not know, can still be found.
Nothing is assumed of the sample's size: with fewer spans than dimensions the fit has lower rank, and is shortened
as much, since vectors of low rank alone do worse than random signs; with no spans the signs are all there is.  The
steps and exponents were chosen by measurement (`docs/retrieval.md`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mctree.encoders.sums import weighted_sums
from mctree.encoders.table import Pairs
from mctree.encoders.terms import signs

__all__ = ["RARITY_POWER", "context_vectors", "rarity_of"]

RARITY_POWER: Final = 0.75
"""The power of a term's rarity in gists; a question weighs it fully."""

_WHITENING: Final = 0.5
_LIFT: Final = 0.5
_SMALLEST_EIGENVALUE: Final = 1e-7


def rarity_of(spans: Pairs) -> NDArray[np.float32]:
    """How rare each term is: log(1 + spans / spans with the term), a term never seen counting as half a span."""
    with_term = np.bincount(spans.terms, minlength=spans.shape[1])
    return np.log1p(max(spans.shape[0], 1) / np.maximum(with_term, 0.5)).astype(np.float32)


def context_vectors(
    spans: Pairs, rarity: NDArray[np.float32], hashes: NDArray[np.uint64], dim: int
) -> NDArray[np.float32]:
    """Fit the vectors of terms for spans.

    Args:
        spans: the terms of the sample's spans.
        rarity: `float32 [terms]`.
        hashes: `uint64 [terms]`.
        dim: length of the vectors.

    Returns:
        `float32 [terms, dim]`.  To the last bits they depend on the linear algebra library, so what was
        fitted is stored, never fitted again.
    """
    # Threads of a linear algebra library wait for each other by spinning: beside threads that tokenize, as when a
    # corpus is ingested, that takes several times as long as one thread does.
    with threadpool_limits(1, "blas"):
        return _fitted(spans, rarity, hashes, dim)


def _fitted(spans: Pairs, rarity: NDArray[np.float32], hashes: NDArray[np.uint64], dim: int) -> NDArray[np.float32]:
    random = signs(hashes, dim).astype(np.float32) / np.float32(np.sqrt(dim))
    weights = (np.log2(1.0 + spans.counts) * rarity[spans.terms] ** RARITY_POWER).astype(np.float32)
    norms = np.sqrt(np.bincount(spans.rows, weights.astype(np.float64) ** 2, spans.shape[0]))
    weights /= norms[spans.rows].astype(np.float32)
    basis, frame = _basis(weighted_sums(spans.rows, spans.terms, weights, random, spans.shape[0]))
    by_term = np.argsort(spans.terms, kind="stable")
    terms = spans.terms[by_term].astype(np.int64)
    fitted = weighted_sums(terms, spans.rows[by_term], weights[by_term], basis, spans.shape[1])
    fitted = _times_power_of_gram(fitted, -(1 + _WHITENING) / 2) @ frame
    lengths = np.sqrt(np.square(fitted, dtype=np.float64).sum(axis=1))
    known = lengths > 0
    fitted[known] /= (lengths[known] ** _LIFT)[:, None].astype(np.float32)
    lengths **= 1 - _LIFT
    wanted = float(lengths[known].mean()) if known.any() else 1.0
    trust = min(basis.shape[1] / dim, 1.0)
    fitted *= np.float32(trust)
    lengths *= trust
    missing = np.sqrt(np.maximum(wanted**2 - lengths**2, 0.0)).astype(np.float32)
    vectors: NDArray[np.float32] = (fitted + missing[:, None] * random) / np.float32(wanted)
    return vectors


def _basis(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """U `[n, rank]` and Wᵀ `[rank, dim]` of `matrix` = U·Σ·Wᵀ, leaving out directions in which there is nothing."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    kept = values > values.max(initial=0.0) * np.sqrt(_SMALLEST_EIGENVALUE)
    return np.ascontiguousarray(left[:, kept]), right[kept]


def _times_power_of_gram(matrix: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """`matrix`·(`matrix`ᵀ·`matrix`)^`power`, leaving out directions in which there is nothing."""
    values, vectors = np.linalg.eigh((matrix.T @ matrix).astype(np.float64))
    kept = values > values.max(initial=0.0) * _SMALLEST_EIGENVALUE
    scaled = vectors[:, kept] * values[kept] ** power
    result: NDArray[np.float32] = matrix @ (scaled @ vectors[:, kept].T).astype(np.float32)
    return result
