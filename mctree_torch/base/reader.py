"""How does a Hugging Face model read rows of mixed detail?  As input embeddings, each at its own place, under one mask.

What the model has computed of a row depends on that row and on those before it.  So of the rows that it read last,
those up to the first that differs are good still: its cache is cut back to them, and only what follows is computed.
What comes out is, to rounding, what reading everything anew would give.

Three things that a model would guess are said to it instead (`transformers` 5.23 guesses wrong where positions have
gaps, and takes them for several sequences packed into one): the mask, as numbers to be added to scores, the positions,
and the cache, which is cut from its end by a count, for a cut to a length has changed its meaning between releases.
What the argument for a cache is called has changed as well (5.24), so a model is asked.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from mctree.errors import UsageError
from mctree_torch.positions import PlacedRotary, install, uninstall
from mctree_torch.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Reader"]

_MASKED = ("eager", "sdpa")
"""Ways to compute attention that take a mask of numbers; others read it as something else, or not at all."""

_CHUNK = 1024
"""Rows that are computed at once: the mask has so many rows of all columns."""


class Reader:
    """A causal language model that reads rows, and remembers what it has computed of those it read last.

    The model is used as it is: frozen, in evaluation mode, on its device.  Its rotary positions are replaced until
    `close`.

    Args:
        model: a Hugging Face causal language model with rotary positions and full attention.
        plane: see `mctree_torch.positions.install`.
        slow: see there.
        cached: whether to remember anything; False computes everything anew each time.

    Attributes:
        computed: rows computed so far.
        reused: rows that were in the cache when they were read again.

    Raises:
        UsageError: the model has no rotary positions that know of places, or attention that is not full, or computes it
            in a way that takes no mask of numbers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        plane: bool = True,
        slow: tuple[int, float] | None = None,
        cached: bool = True,
    ) -> None:
        config: Any = model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or []) - {"full_attention"}
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        if kinds or window:
            raise UsageError(
                f"a model of type {config.model_type!r} does not attend to all that it is shown "
                f"({', '.join(sorted(kinds)) or f'a sliding window of {window}'}): it cannot read a working context"
            )
        attention = getattr(config, "_attn_implementation", None)
        if attention not in _MASKED:
            raise UsageError(
                f"attention by {attention!r} takes no mask of numbers: load the model with "
                f"attn_implementation={_MASKED[1]!r} or {_MASKED[0]!r}"
            )
        self.model = model.eval()
        self.dim: int = model.get_input_embeddings().weight.shape[1]
        self.computed = self.reused = 0
        given = inspect.signature(model.forward).parameters
        self._cache_argument = "cache" if "cache" in given else "past_key_values"
        self._rotary: PlacedRotary = install(model, plane=plane, slow=slow)
        self._cached = cached
        self._cache = DynamicCache()
        self._held: list[Rows] = []

    def close(self) -> None:
        """Give the model its own positions back, and forget everything."""
        self.forget()
        uninstall(self.model)

    @property
    def rows(self) -> int:
        """How many rows it has read and remembers."""
        return sum(map(len, self._held))

    def embedding(self) -> torch.Tensor:
        """The model's input embeddings, not to be changed: `[vocabulary, dim]`."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight.detach()
        return weight

    def forget(self) -> None:
        """Compute everything anew at the next reading."""
        self._cache = DynamicCache()
        self._held = []

    def read(self, rows: Rows) -> torch.Tensor:
        """Read rows in place of those that were read before.

        Args:
            rows: all that the model is to see, at least one.

        Returns:
            What it expects next: logits, `float32 [vocabulary]`.

        Raises:
            UsageError: there is nothing to read.
        """
        if not len(rows):
            raise UsageError("there is nothing to read")
        held = Rows.joined(self._held) if self._held else None
        # The last row is always computed, for what it expects is the answer.
        kept = 0 if held is None else min(held.shared_with(rows), len(rows) - 1)
        if held is None or kept == 0:
            self._cache = DynamicCache()
        elif kept < len(held):
            self._cache.crop(kept - len(held))
        self.reused += kept
        self._held = [rows]
        logits = self._compute(rows, kept)
        if not self._cached:
            self.forget()
        return logits

    def go_on(self, rows: Rows) -> torch.Tensor:
        """Read rows behind those that were read before; see `read`.

        Raises:
            UsageError: nothing was read before, or nothing is remembered.
        """
        if not self._held:
            raise UsageError("nothing was read that this could go on from")
        # Only places and masks of the rows before are needed here, and those are small.
        before = self.rows
        self._held.append(rows)
        return self._compute(rows, 0, before)

    def _compute(self, rows: Rows, first: int, before: int = 0) -> torch.Tensor:
        """Run the model over `rows` from `first` on, `before` other rows being in front of them."""
        try:
            logits = self._computed(rows, first, before)
        except BaseException:
            # Interrupted in between, the cache holds no one knows which rows.
            self.forget()
            raise
        self.computed += len(rows) - first
        return logits

    def _computed(self, rows: Rows, first: int, before: int) -> torch.Tensor:
        device = self.model.device
        known = torch.cat([part.known for part in self._held]).to(device)
        table = self.model.get_input_embeddings()
        with torch.inference_mode():
            for start in range(first, len(rows), _CHUNK):
                some = rows.take(start, min(start + _CHUNK, len(rows)))
                embeds: torch.Tensor = table(some.token.clamp(min=0).to(device))
                is_vector = (some.token < 0).to(device)
                embeds[is_vector] = some.vector.to(embeds)
                at = torch.arange(before + start, before + start + len(some), device=device)
                with self._rotary.at(some.places):
                    made = self.model(
                        inputs_embeds=embeds[None],
                        attention_mask=_mask(at, known[: before + start + len(some)], embeds.dtype),
                        position_ids=at[None],
                        **{self._cache_argument: self._cache},
                        use_cache=True,
                        logits_to_keep=1,
                    )
        logits: torch.Tensor = made.logits[0, -1].float()
        return logits


def _mask(at: torch.Tensor, known: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What to add to scores: 0 where row `at[i]` may attend to row j, the least number elsewhere.

    A row attends to what is known and not behind it, and to itself in any case, so that no row attends to nothing.

    Args:
        at: `int64 [q]`: which rows ask.
        known: `bool [k]`: which rows may be attended to; k is behind the last of `at`.
        dtype: of the model.

    Returns:
        `[1, 1, q, k]`.
    """
    column = torch.arange(len(known), device=known.device)
    allowed = ((column <= at[:, None]) & known) | (column == at[:, None])
    mask = torch.zeros(allowed.shape, dtype=dtype, device=known.device)
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[None, None]
