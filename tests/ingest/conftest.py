"""No example of this room is judged by the clock, and no test by the age of the files that it has just written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from mctree.ingest import plan
from mctree.testing import scratch

settings.register_profile(
    "ingest", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("ingest")


@pytest.fixture
def folder() -> Iterator[str]:
    """An empty folder."""
    with scratch() as path:
        yield path


@pytest.fixture
def root(folder: str) -> str:
    """Where the input is to be."""
    return os.path.join(folder, "t")


@pytest.fixture
def store(folder: str) -> str:
    """Where the store is to be."""
    return os.path.join(folder, "s")


@pytest.fixture
def clocks_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has just been written is settled at once; its reader waits for the clock to go on."""
    monkeypatch.setattr(plan, "RACY_NS", 0)


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Threads that the test starts, whoever else has some in this process, end with it."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
