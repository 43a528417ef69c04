from __future__ import annotations

from pathlib import Path

import pytest

from mctree.cli import failures
from tests.cli.command_lines import make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    return make_store(tmp_path_factory.mktemp("cli") / "sea.mctree")


@pytest.fixture
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption that is reported leaves the handlers of this process alone."""
    monkeypatch.setattr(failures.signal, "signal", lambda *_: None)
