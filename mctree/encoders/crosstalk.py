"""How is a question put to a gist that stands for a thousand tokens, most of which it does not ask for?

Such a gist is a sum of the vectors of some hundred terms.  Its dot product with a term's vector says how much of the
term is in it, and how much of all the terms whose vectors lean the same way.  How the sum scatters is known from what
was frozen with the encoder: a term stands in a share p of the spans, with about weight rarity^0.75, so

    S = Σ p·(1 − p)·rarity^1.5·v·vᵀ     over the terms, each with its vector v, scaled to a mean eigenvalue of 1

and the best linear estimate of a weighted sum q of terms is the dot product with (S + λ·1)⁻¹·q (Wiener's filter).
So the gists stay what they are; only what is compared with them is turned away from what is in every span.

The few thousand terms that scatter most make up nearly all of S.  The equation is solved by conjugate gradients
(Hestenes, Stiefel 1952), so that nothing of the square of the dimension is ever made.  What λ should be was measured
(`docs/focus.md`); no language and no length of the sample is assumed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.context import RARITY_POWER

__all__ = ["Crosstalk"]

_TERMS: Final = 4096
_NOISE: Final = 0.3
"""λ: how much a gist scatters in every direction beside what S says."""

_ROUNDS: Final = 8
_LEFT: Final = 0.01
"""Rounds of conjugate gradients at most, and the share of the question's length that may be left unexplained."""


class Crosstalk:
    """What the terms of spans have in common.

    Args:
        vectors: `float32 [terms, dim]`: what a term adds to the gist of a span.
        rarity: `float32 [terms]`: log(1 + spans / spans with the term).
    """

    def __init__(self, vectors: NDArray[np.float32], rarity: NDArray[np.float32]) -> None:
        share = np.minimum(1 / np.expm1(np.maximum(rarity.astype(np.float64), 1e-3)), 1.0)
        spread = share * (1 - share) * rarity.astype(np.float64) ** (2 * RARITY_POWER)
        heaviest = np.sort(np.argsort(-spread, kind="stable")[:_TERMS])
        common = vectors[heaviest] * np.sqrt(spread[heaviest])[:, None].astype(np.float32)
        energy = float(np.square(common, dtype=np.float64).sum())
        # `common`ᵀ·`common` is S.
        self._common = common * np.float32(np.sqrt(vectors.shape[1] / energy)) if energy > 0 else common

    def removed(self, wanted: NDArray[np.float32]) -> NDArray[np.float32]:
        """(S + λ·1)⁻¹·`wanted`, `float32 [dim]`."""
        found = np.zeros_like(wanted)
        left = wanted.copy()
        step = left.copy()
        size = whole = float(left @ left)
        for _ in range(_ROUNDS):
            if size <= whole * _LEFT**2:
                break
            along = self._common.T @ (self._common @ step) + np.float32(_NOISE) * step
            length = np.float32(size / float(step @ along))
            found += length * step
            left -= length * along
            size, before = float(left @ left), size
            step = left + np.float32(size / before) * step
        return found
