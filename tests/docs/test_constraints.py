"""`constraints.txt` pins all that `pip install -c constraints.txt -e '.[dev]'` installs, and nothing else."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]


def reached() -> set[str]:
    """What is installed, found by what each package says that it needs here."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    waiting = [Requirement(line) for line in PROJECT["project"]["dependencies"] + extras["dev"]]
    done: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if (name, extra) in done:
                continue
            done.add((name, extra))
            if name == "mctree":
                waiting += map(Requirement, extras.get(extra, []))
                continue
            try:
                needs = [Requirement(line) for line in distribution(name).requires or []]
            except PackageNotFoundError:
                pytest.skip(f"{name} is not installed")
            waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in done} - {"mctree"}


def test_what_is_installed_is_pinned_and_nothing_else_is() -> None:
    pinned = [canonicalize_name(pin.name) for pin in PINS]
    assert len(set(pinned)) == len(pinned)
    building = {canonicalize_name(Requirement(line).name) for line in PROJECT["build-system"]["requires"]}
    assert set(pinned) - building == reached()


def test_every_pin_is_one_version_that_the_project_allows() -> None:
    assert all([each.operator for each in pin.specifier] == ["=="] for pin in PINS)
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
    extras = chain.from_iterable(PROJECT["project"]["optional-dependencies"].values())
    for line in (*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], *extras):
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        assert name == "mctree" or versions[name] in wanted.specifier, f"{wanted} is pinned to {versions.get(name)}"
