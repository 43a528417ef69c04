"""Snapshots of different generations read side by side, each through a mapping of its own that it keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mctree
from mctree.testing.toys import ToyEncoder


def test_an_old_and_a_new_snapshot_take_turns_without_mapping_anew(tmp_path: Path) -> None:
    tree = mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[ToyEncoder()])
    tree.build_gists(ToyEncoder(), "toy")
    rng = np.random.default_rng(0)
    with tree.writer() as writer:
        for i in range(40):
            writer.add(f"{i}", rng.bytes(1500))
    old = tree.snapshot()
    with tree.writer() as writer:
        writer.remove("3")
    assert tree.refresh_gists() > 0
    new = tree.snapshot()
    index = np.arange(old.gists().rows(2))
    before, after = old.gists().gather(2, index), new.gists().gather(2, index)
    assert np.any(before != after)
    maps = Path("/proc/self/maps").read_text().count("\n")
    levels = [id(snapshot.gists().level(2)) for snapshot in (old, new)]
    for _ in range(50):
        assert np.array_equal(old.gists().gather(2, index), before)
        assert np.array_equal(new.gists().gather(2, index), after)
        assert [id(snapshot.gists().level(2)) for snapshot in (old, new)] == levels
    assert Path("/proc/self/maps").read_text().count("\n") <= maps + 4
