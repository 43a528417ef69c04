"""What does distance cost, where positions are biases and not angles?  ALiBi, for places with a width.

Attention with linear biases (Press et al. 2022) adds −m·|p − q| to the score of a query at p and a key at q, m another
slope for each head.  If both are normal distributions, their difference is one with mean Δ and variance
s² = σp² + σq², and the expected distance is that of a folded normal distribution (Leone et al. 1961):

    E|p − q| = s·√(2/π)·exp(−Δ²/2s²) + Δ·erf(Δ / (s·√2))

which is |Δ| for points.  Distances are computed in float64, as positions are large and their differences small.
"""

from __future__ import annotations

import math

import torch

from mctree.errors import UsageError
from mctree_torch.positions.places import Places

__all__ = ["alibi_bias", "alibi_slopes"]


def alibi_slopes(heads: int) -> torch.Tensor:
    """The slopes of Press et al.: `float64 [heads]`.

    2^(−8i/heads) for i = 1 … heads where that is a power of two; else those of the next lower power, and then every
    other one of the next higher.

    Raises:
        UsageError: there is no head.
    """
    if heads < 1:
        raise UsageError(f"attention has at least one head, not {heads}")
    lower = 1 << (heads.bit_length() - 1)
    slopes = _powers(lower)
    return torch.cat((slopes, _powers(2 * lower)[::2][: heads - lower]))


def alibi_bias(queries: Places, keys: Places, slopes: torch.Tensor) -> torch.Tensor:
    """What to add to attention scores, along the timeline.

    Args:
        queries: places of q rows.
        keys: places of k rows.
        slopes: `float64 [heads]`.

    Returns:
        `float32 [..., heads, q, k]`, at most 0; masks come on top.
    """
    distance = (queries.position[..., :, None] - keys.position[..., None, :]).abs()
    spread = torch.hypot(queries.sigma[..., :, None], keys.sigma[..., None, :])
    # Points have no spread; what is computed for them is thrown away, and must not be NaN where gradients flow.
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    ratio = distance / safe
    folded = safe * math.sqrt(2 / math.pi) * torch.exp(-0.5 * ratio**2) + distance * torch.erf(ratio / math.sqrt(2))
    expected = torch.where(spread > 0, folded, distance)
    return (-slopes[:, None, None] * expected[..., None, :, :]).to(torch.float32)


def _powers(heads: int) -> torch.Tensor:
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)
