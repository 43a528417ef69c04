"""What all tests share: how long Hypothesis may take, and the switch for the long forms."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

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
