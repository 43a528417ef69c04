"""An encoder small enough to see through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


class ToyEncoder:
    """The mean of a node's children, of tokens as points on two circles."""

    kind = "toy"
    fingerprint = "toy-1"
    dim = 4
    modalities = frozenset({"text"})
    span_level = 0

    def encode(self, level: int, children: np.ndarray, mask: np.ndarray, span: object = None) -> np.ndarray:
        if level == 1:
            angle = children[..., None] * np.array([0.1, 0.37])
            children = np.concatenate([np.cos(angle), np.sin(angle)], axis=-1)
        total = (children * mask[..., None]).sum(axis=1)
        return (total / np.maximum(mask.sum(axis=1), 1)[:, None]).astype(np.float32)

    def encode_query(self, text: str) -> np.ndarray:
        return np.ones(4, np.float32)

    def dump(self) -> bytes:
        return b"toy"


@pytest.fixture
def toy_encoder() -> Callable[[], ToyEncoder]:
    return ToyEncoder
