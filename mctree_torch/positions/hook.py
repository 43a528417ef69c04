"""How does a Hugging Face model come to know of places?  Its module of rotary positions is replaced by one that does.

Such a model computes cosines and sines once, in a module called `rotary_emb`, and hands them to all its layers.  The
replacement gives those of the places that it was told of; told of none, those of the position ids that the model was
given, like the original but in float64.  Queries and keys are multiplied by them last, behind any norm over queries and
keys (QK norm): a norm behind them would rescale what damping has taken away, so models that have one there are refused.

Nothing is assumed about a model's layout or scaling of angles: the replacement is compared with the original on a few
positions when it is installed, and refused if it does not do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mctree.errors import UsageError
from mctree_torch.positions.bands import Bands, with_slow_bands
from mctree_torch.positions.places import Places

__all__ = ["PlacedRotary", "install", "uninstall"]

_NAME = "rotary_emb"
_NORM_BEHIND = frozenset({"llama4", "llama4_text", "hunyuan_v1_dense", "hunyuan_v1_moe", "hunyuan_vl", "nanochat"})
"""Types of models that normalise queries and keys after turning them: all that `transformers` 5.24 has."""
_PROBE = 8
_TOLERANCE = 1e-5


class PlacedRotary(nn.Module):
    """Cosines and sines for a model, of places.

    Args:
        original: what it stands in for.
        bands: frequencies and their axes.
        interleaved: whether pairs are (2i, 2i + 1) instead of (i, i + k).
        scaling: what cosines and sines are multiplied by, as some ways of extending a window want it.
    """

    def __init__(self, original: nn.Module, bands: Bands, *, interleaved: bool, scaling: float) -> None:
        super().__init__()
        self.bands = bands
        self.interleaved = interleaved
        self.scaling = scaling
        # Not a submodule: a model's state_dict must not change by this.
        self._original = (original,)
        self._places: Places | None = None

    @property
    def original(self) -> nn.Module:
        """What it stands in for."""
        return self._original[0]

    @contextmanager
    def at(self, places: Places) -> Iterator[None]:
        """Within the block, the model's rows stand at these places; position ids are not looked at.

        Args:
            places: `[n]` or `[batch, n]`: the rows of one forward pass, without those in its cache.
        """
        before, self._places = self._places, places
        try:
            yield
        finally:
            self._places = before

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines for the rows of `x`.

        Args:
            x: `[batch, n, hidden]`; its device and type are the result's.
            position_ids: `int64 [batch, n]`.

        Returns:
            `[batch or 1, n, 2k]` each.

        Raises:
            UsageError: the places told of are not those of so many rows.
        """
        places = self._places
        if places is None:
            places = Places.of_text(position_ids)
        if len(places) != x.shape[1]:
            raise UsageError(f"the model is given {x.shape[1]} rows, and was told of {len(places)} places")
        cos, sin = self.bands.table(places)
        if cos.ndim == 2:
            cos, sin = cos[None], sin[None]
        return self._laid_out(cos).to(x), self._laid_out(sin).to(x)

    def _laid_out(self, values: torch.Tensor) -> torch.Tensor:
        both = values.repeat_interleave(2, -1) if self.interleaved else torch.cat((values, values), -1)
        return both * self.scaling


def install(model: nn.Module, *, plane: bool = True, slow: tuple[int, float] | None = None) -> PlacedRotary:
    """Replace the rotary positions of a model by such as know of places.

    Args:
        model: any Hugging Face model whose decoder has one module `rotary_emb`.
        plane: whether columns and rows of images have bands of their own (`Bands.shared`).  Text is read the same.
        slow: (count, extent): replace the slowest bands by ultra-slow ones (`with_slow_bands`).  A model that was not
            trained so reads text differently.

    Returns:
        The module that is in place now; `uninstall` undoes it.

    Raises:
        UsageError: the model has no such module, has several, has one that this cannot stand in for, or
            normalises queries and keys behind it.
    """
    kind = getattr(getattr(model, "config", None), "model_type", "")
    if kind in _NORM_BEHIND:
        raise UsageError(f"models of type {kind!r} normalise queries and keys after turning them: no width would last")
    holder, original = _find(model)
    if isinstance(original, PlacedRotary):
        raise UsageError("the model knows of places already: uninstall that first")
    frequency = getattr(original, "inv_freq", None)
    if not isinstance(frequency, torch.Tensor) or frequency.ndim != 1:
        raise UsageError(f"{type(original).__name__} has no one row of frequencies, so it cannot be replaced")
    if getattr(original, "rope_type", "default") in {"dynamic", "longrope"}:
        raise UsageError(f"{type(original).__name__} changes its frequencies as it goes: choose another rope type")
    placed = _standing_in(original, frequency)
    exact = placed.bands.frequency
    if slow is not None:
        exact = with_slow_bands(exact, extent=slow[1], count=slow[0])
    placed.bands = Bands.shared(exact) if plane else Bands.of_time(exact)
    setattr(holder, _NAME, placed)
    return placed


def uninstall(model: nn.Module) -> None:
    """Give a model its own rotary positions back.

    Raises:
        UsageError: they were not replaced.
    """
    holder, placed = _find(model)
    if not isinstance(placed, PlacedRotary):
        raise UsageError("the model has its own rotary positions")
    setattr(holder, _NAME, placed.original)


def _find(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    found = [(name, module) for name, module in model.named_modules() if name.split(".")[-1] == _NAME]
    if len(found) != 1:
        raise UsageError(
            f"{type(model).__name__} has {len(found)} modules called {_NAME}: only models whose decoder has one can be "
            "told of places"
        )
    name, module = found[0]
    return model.get_submodule(name.rpartition(".")[0]), module


def _standing_in(original: nn.Module, frequency: torch.Tensor) -> PlacedRotary:
    """What does on a few positions the same as the original.

    Raises:
        UsageError: nothing that is known here does.
    """
    ids = torch.arange(_PROBE, device=frequency.device)[None]
    with torch.no_grad():
        try:
            wanted = original(torch.zeros(1, _PROBE, 1, device=frequency.device), ids)
        except TypeError as error:
            raise UsageError(f"{type(original).__name__} wants more than rows and their positions: {error}") from error
    scaling = float(getattr(original, "attention_scaling", 1.0))
    bands = Bands.of_time(frequency.detach().to("cpu", torch.float64))
    for interleaved in (False, True):
        placed = PlacedRotary(original, bands, interleaved=interleaved, scaling=scaling)
        given = placed(torch.zeros(1, _PROBE, 1, device=frequency.device), ids)
        alike = (
            a.shape == b.shape and torch.allclose(a, b, atol=_TOLERANCE) for a, b in zip(given, wanted, strict=True)
        )
        if len(wanted) == 2 and all(alike):
            return placed
    raise UsageError(f"{type(original).__name__} lays out its angles in a way that is not known here")
