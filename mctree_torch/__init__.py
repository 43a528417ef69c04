"""mctree for PyTorch: the levels of a tree as tensors, and working contexts that stay on a device.

import mctree, mctree_torch

with mctree.open("corpus.mctree").snapshot() as snapshot:
    gists = mctree_torch.as_tensor(snapshot.gists().level(1))
"""

from __future__ import annotations

from mctree_torch.device import TorchDevice
from mctree_torch.levels import as_tensor, gather
from mctree_torch.resident import Gathered, ResidentContext

__all__ = ["Gathered", "ResidentContext", "TorchDevice", "as_tensor", "gather"]
