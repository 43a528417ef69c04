"""The case of copies to a GPU: what it measures runs and gives right values anywhere, and without a GPU it says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.tools.benching import TINY, bench
from tools.bench import copying
from tools.bench.cases import device

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")


def test_everybody_copies_what_he_should(monkeypatch: pytest.MonkeyPatch) -> None:
    found = copying.measure(TINY, "cpu")
    names = {copying.LIMIT, *map(copying.ours, copying.SIZES), *map(copying.plain, copying.SIZES)}
    assert all(set(one) == names for one in found.rounds) and found.rounds
    assert all(set(one) == {"compute", "copies", "both"} for one in found.compute) and found.compute


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_report_says_so(tmp_path: Path) -> None:
    here = bench(tmp_path)
    (table,) = device.run(here)
    assert table.line(copying.LIMIT) is not None and len(table.lines) == 7
    assert all(line.state == "absent" and "no GPU" in line.note for line in table.lines)
    assert device.run(dataclasses.replace(here, wanted=("flat",))) == ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here: its pinned peak cannot be measured")
def test_with_a_gpu_rates_are_measured(tmp_path: Path) -> None:
    rates, overlap = device.run(bench(tmp_path))
    assert all(line.state == "measured" for line in (*rates.lines, *overlap.lines))
