"""How is text read by a training loop?  As shuffled windows of packed documents, each a function of its number."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.tree import Snapshot, Tree, stretches
from mctree.tree.arguments import as_integer
from mctree.tree.text_arrays import LOD0
from mctree_torch.mixture import Names, Order, Part, Wish, divide, parts
from mctree_torch.samples import Sample, SampleDataset
from mctree_torch.windows import FIELDS, Located, Windows, streams

__all__ = ["TokenDataset"]

_AHEAD = 1024
"""Samples that are located at once: it takes hardly longer than to locate one."""

_MOST_TOKEN = 1 << 32
_MOST_LENGTH = 1 << 31


@dataclass(eq=False, slots=True)
class _Plan:
    """What was found in the commit that is read.

    Attributes:
        ahead: samples that were located already: epoch, index of the first, where they are.
    """

    parts: list[Part]
    order: Order
    windows: Windows
    ahead: tuple[int, int, Located] | None = None

    def locate(self, epoch: int, index: NDArray[np.int64]) -> Located:
        """Where samples are to be read; those that are asked for in order are located many at a time."""
        low, high = int(index[index.argmin()]), int(index[index.argmax()])
        known = self.ahead
        if known is None or known[0] != epoch or low < known[1] or high >= known[1] + len(known[2].start):
            if high - low >= _AHEAD:
                return self.windows.locate(self.order.starts(epoch, index))
            several = np.arange(low, min(low + _AHEAD, self.order.samples))
            known = self.ahead = epoch, low, self.windows.locate(self.order.starts(epoch, several))
        return known[2].take(index - known[1])


class TokenDataset(SampleDataset):
    """Windows of the documents' tokens, packed one after another, in an order that follows from seed and epoch.

    In one epoch, every token of a document of weight 1 is an input exactly once (but for the last of all, if no window
    begins with it), and a label exactly once, but for the first of each document.  Documents are packed in the order of
    their numbers, and cut where a window ends.  The unfinished block of an open document is not read.  Where all
    weights are 1, sample i of epoch e is window `Permutation(len(dataset), seed, e)` of i, counted from the first
    document.

    A sample holds, `int64 [window]` each:

    - `input_ids`: the tokens.
    - `labels`: for each token the one that follows it in its document, -100 where none does; or, if not `shifted`, the
      token itself, -100 for the first one of a document and of the window, for models that shift labels by themselves
      (as those of Hugging Face do; the first token of a window is then nobody's label).
    - `position_ids`: how far each token is from the first one of its document in the window.  A model that goes by them
      (or by what `mctree_torch.packing` makes of them) does not look from one document into another.
    - `document_ids`: the number of the document, -1 where the window is only filled up.

    Where the last window of a part is not full, it is filled up, with `fill`; labels there are -100.

    Args:
        on: a snapshot, or a tree or the path of a store, of which the newest commit is read.
        window: tokens in a sample.
        seed: what the order follows from.
        weights: how often documents are read in an epoch, by names of sources, folders or containers; "" names all
            others, whose weight is 1 if nothing is said.  See `mctree_torch.mixture`.
        shares: instead of weights, how much of an epoch each of these names gives; other documents are not read.
        samples: how many samples an epoch of shares has; as many as there are windows if None.
        end: a token to put behind each document, such as the tokenizer's end of text; none if None.
        fill: the token that fills windows up.
        shifted: see `labels`.
        fields: which of these tensors to give.
        commit: another commit than the newest.

    Raises:
        UsageError: an argument is wrong, or there is nothing to read (which is found out when it is first read).
    """

    kind = "tokens"

    def __init__(
        self,
        on: Snapshot | Tree | str | os.PathLike[str],
        window: int,
        *,
        seed: int = 0,
        weights: Names | None = None,
        shares: Names | None = None,
        samples: int | None = None,
        end: int | None = None,
        fill: int = 0,
        shifted: bool = True,
        fields: Iterable[str] = ("input_ids", "labels", "position_ids"),
        commit: int | None = None,
    ) -> None:
        super().__init__(on, seed, commit)
        self.window = as_integer(window, "the length of a window")
        if not 1 <= self.window < _MOST_LENGTH:
            raise UsageError(f"a window has 1 to 2^31 - 1 tokens, not {window}")
        for token in (fill, *(() if end is None else (end,))):
            if not 0 <= as_integer(token, "a token") < _MOST_TOKEN:
                raise UsageError(f"a token is a whole number from 0 to 2^32 - 1, not {token}")
        self._fields = frozenset(fields)
        if not self._fields or self._fields - set(FIELDS):
            raise UsageError(
                f"a sample can hold {', '.join(FIELDS)}, not {', '.join(sorted(self._fields)) or 'nothing'}"
            )
        self._wish = Wish.of(weights, shares, samples)
        self._end, self._fill, self._shifted = end, fill, bool(shifted)
        self._found: _Plan | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_found": None}

    def __len__(self) -> int:
        return self._plan.order.samples

    @property
    def parts(self) -> list[Part]:
        """What the documents were divided into, and how much of an epoch each part gives."""
        return list(self._plan.parts)

    @property
    def _plan(self) -> _Plan:
        if self._found is None:
            self._found = self._planned()
        return self._found

    def _planned(self) -> _Plan:
        snapshot = self.snapshot
        found = stretches(snapshot)
        count = len(self._wish.groups()[2])
        held = streams(found, divide(snapshot, self._wish, found.document), count, end=self._end is not None)
        tokens = np.diff(held.bounds)
        # The last token of a part is a label and begins no window.
        divided = parts(self._wish, tokens, np.maximum(-(-(tokens - 1) // self.window), 0))
        windows = Windows(held, self.window, end=self._end, fill=self._fill, shifted=self._shifted)
        return _Plan(divided, Order(self.seed, divided, held.bounds[:-1], self.window), windows)

    def _read(self, epoch: int, index: NDArray[np.int64]) -> Sample:
        plan = self._plan
        rows = self.snapshot.rows(LOD0)
        found = plan.windows.read(rows, plan.locate(epoch, index), self._fields)
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def _settings(self) -> dict[str, int | str | None]:
        return {"window": self.window, "end": self._end, "mixture": self._wish.digest}

    def _moved(self) -> None:
        self._found = None
