"""An encoder small enough to see through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mctree.testing.toys import ToyEncoder


@pytest.fixture
def toy_encoder() -> Callable[[], ToyEncoder]:
    return ToyEncoder
