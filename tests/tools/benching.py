"""What the tests of the benchmark share: a form of it that takes a moment."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tools.bench.bench import Bench
from tools.bench.sizes import QUICK

TINY = dataclasses.replace(
    QUICK,
    name="tiny",
    rows=512,
    dim=8,
    chunk_rows=64,
    small_rows=32,
    scan_rows=128,
    tokens=1 << 15,
    chunk_tokens=1 << 13,
    small_tokens=1 << 11,
    gathered=16,
    runs=4,
    windows=2,
    batch=4,
    loop_tokens=1 << 15,
    append_calls=12,
    streamed=40_000,
    steps=4,
    rounds=2,
    turn_s=0.0,
    budget_s=0.0,
)


def bench(tmp_path: Path, *wanted: str) -> Bench:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return Bench(TINY, folder, lambda line: None, wanted)
