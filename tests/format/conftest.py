from __future__ import annotations

from pathlib import Path

import pytest
from story import tell


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the story; no test changes it."""
    path = tmp_path_factory.mktemp("told") / "told.mctree"
    tell(path)
    return path
