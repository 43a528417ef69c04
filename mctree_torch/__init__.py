"""mctree for PyTorch: levels as tensors, datasets that resume anywhere, working contexts that stay on a device.

import mctree, mctree_torch

with mctree.open("corpus.mctree").snapshot() as snapshot:
    gists = mctree_torch.as_tensor(snapshot.gists().level(1))

dataset = mctree_torch.TokenDataset("corpus.mctree", window=2048, seed=1)
for batch in mctree_torch.Loader(dataset, batch_size=8, num_workers=2):
    ...
"""

from __future__ import annotations

from mctree_torch.batches import GlobalBatches, Loader, resume_point
from mctree_torch.device import TorchDevice
from mctree_torch.levels import as_tensor, gather
from mctree_torch.mixed import MixedDetailDataset
from mctree_torch.resident import Gathered, ResidentContext
from mctree_torch.samples import collate
from mctree_torch.tokens import TokenDataset

__all__ = [
    "Gathered",
    "GlobalBatches",
    "Loader",
    "MixedDetailDataset",
    "ResidentContext",
    "TokenDataset",
    "TorchDevice",
    "as_tensor",
    "collate",
    "gather",
    "resume_point",
]
