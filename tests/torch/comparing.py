"""A reader that remembers says what one says that does not: compared at every step."""

from __future__ import annotations

import torch

from mctree_torch.base import Reader, Rows
from tests.torch import tiny

__all__ = ["Both"]


class Both(Reader):
    """Reads everything twice, with and without what is remembered, and compares.

    Attributes:
        compared: how often.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(tiny.model(kind))
        self.other = Reader(tiny.model(kind), cached=False)
        self.compared = 0

    def read(self, rows: Rows) -> torch.Tensor:
        return self._same(super().read(rows))

    def go_on(self, rows: Rows) -> torch.Tensor:
        return self._same(super().go_on(rows))

    def _same(self, logits: torch.Tensor) -> torch.Tensor:
        anew = self.other.read(Rows.joined(self._held))
        assert torch.allclose(logits, anew, atol=1e-3), float((logits - anew).abs().max())
        self.compared += 1
        return logits
