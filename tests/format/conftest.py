from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mctree.testing import scratch
from tests.format.story import tell


@pytest.fixture(scope="session")
def told() -> Iterator[Path]:
    """The store of the story; no test changes it."""
    with scratch() as folder:
        path = Path(folder) / "told.mctree"
        tell(path)
        yield path


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder, in memory where there is one: what is tested here is no matter of disks."""
    with scratch() as path:
        yield Path(path)
