"""mctree for PyTorch: the levels of a tree as tensors.

import mctree, mctree_torch

with mctree.open("corpus.mctree").snapshot() as snapshot:
    gists = mctree_torch.as_tensor(snapshot.gists().level(1))
"""

from __future__ import annotations

from mctree_torch.levels import as_tensor, gather

__all__ = ["as_tensor", "gather"]
