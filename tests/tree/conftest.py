"""What tests of images begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mctree
from tests.tree.albums import made, with_sets


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    """A store with gist sets of text, of images, and of both."""
    with made(tmp_path / "t.mctree") as tree:
        yield with_sets(tree)
