"""What all tests share: how long Hypothesis may take, the switch for the long forms, stores verified at the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import lmdb
import pytest
from hypothesis import HealthCheck, settings

from mctree.testing import Watch, watched

# The machines that run this are shared, so no test depends on time.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long forms of tests that have one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="a long form: run with --slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "damages: the test damages stores on purpose; they are not verified at its end")
    # What a shell starts in the background ignores Ctrl-C, and so does what that starts: tests that press it need it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lmdb.Environment]:
    """An index by itself, without a store around it; whoever uses it empties it first (`tests.bare`)."""
    environment = lmdb.open(str(tmp_path_factory.mktemp("index")), map_size=1 << 26, sync=False)
    yield environment
    environment.close()


@pytest.fixture(autouse=True, scope="module")
def shared_stores() -> Iterator[Watch]:
    """Stores made by fixtures that several tests share are verified when the last of these tests has ended."""
    with watched() as watch:
        yield watch


@pytest.fixture(autouse=True)
def stores(request: pytest.FixtureRequest, shared_stores: Watch) -> Iterator[Watch]:
    """Every store that a test makes is verified when the test ends; `stores.forget` spares one damaged on purpose."""
    with watched() as watch:
        yield watch
        if request.node.get_closest_marker("damages"):
            watch.forget_all()
