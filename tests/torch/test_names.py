"""The public names of what is for language models, and that none of it is loaded by who only wants tensors."""

from __future__ import annotations

import subprocess
import sys

import mctree_torch.base
import mctree_torch.networks
import mctree_torch.positions


def test_the_public_names_are_these() -> None:
    assert mctree_torch.positions.__all__ == [
        "Bands", "PlacedRotary", "Places", "alibi_bias", "alibi_slopes", "frequencies", "install", "phases", "rotate",
        "uninstall", "with_slow_bands",
    ]  # fmt: skip
    assert mctree_torch.networks.__all__ == [
        "GistConfig", "GistEncoder", "GistNet", "JointEncoder", "LensConfig", "LensNet", "NetLens", "Sight",
        "SnapshotSight", "VisualConfig", "VisualGistEncoder", "VisualGistNet", "best_device", "dumps", "load", "loads",
        "save",
    ]  # fmt: skip
    assert mctree_torch.base.__all__ == ["Moment", "Reader", "RowSource", "Rows", "SnapshotRows", "Speaker"]
    for room in (mctree_torch.positions, mctree_torch.networks, mctree_torch.base):
        assert all(hasattr(room, name) for name in room.__all__)


def test_tensors_alone_load_no_models() -> None:
    code = "import sys, mctree_torch; print([n for n in ('transformers', 'safetensors') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
