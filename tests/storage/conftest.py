"""A small store, and an encoder small enough to see through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import mctree
from mctree.testing.toys import ToyEncoder


@pytest.fixture
def toy_encoder() -> Callable[[], ToyEncoder]:
    return ToyEncoder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that holds one document, "first"."""
    path = tmp_path / "t.mctree"
    with mctree.create(path, chunk_bytes=65536) as tree, tree.writer() as writer:
        writer.add("first", b"some text " * 50)
    return path
