"""The adapter reads what the engine reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mctree
from mctree.tree.text_arrays import LOD0

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
mctree_torch = pytest.importorskip("mctree_torch")


def test_a_level_is_one_tensor_and_gathers_into_ones(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 40_000, 200_000)
    with mctree.create(tmp_path / "t.mctree", vocabulary=40_000, chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            document = writer.begin("numbers")
            document.extend(values)
            document.close()
        with tree.snapshot() as snapshot:
            rows = snapshot.rows(LOD0)
            flat = mctree_torch.as_tensor(rows)
            assert flat.dtype == torch.uint16
            assert np.array_equal(flat.numpy()[: len(values)], values)
            index = torch.randint(0, len(values), (1000,))
            out = torch.empty(1000, dtype=torch.uint16)
            assert mctree_torch.gather(rows, index, out) is out
            assert np.array_equal(out.numpy(), values[index.numpy()])
