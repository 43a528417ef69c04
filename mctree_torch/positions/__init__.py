"""Where does an entry of mixed detail stand for a model that knows only tokens?  Positions with a width.

    places   where rows stand: on the timeline, within an image, and how far each one reaches
    bands    the frequencies of rotary positions, each for one axis; cosines and sines of places, damped by their width
    alibi    biases by distance, for models without rotary positions
    hook     how these take the place of a Hugging Face model's own

Nothing here reads a store or needs `transformers`.
"""

from __future__ import annotations

from mctree_torch.positions.alibi import alibi_bias, alibi_slopes
from mctree_torch.positions.bands import Bands, frequencies, phases, rotate, with_slow_bands
from mctree_torch.positions.hook import PlacedRotary, install, uninstall
from mctree_torch.positions.places import Places

__all__ = [
    "Bands",
    "PlacedRotary",
    "Places",
    "alibi_bias",
    "alibi_slopes",
    "frequencies",
    "install",
    "phases",
    "rotate",
    "uninstall",
    "with_slow_bands",
]
