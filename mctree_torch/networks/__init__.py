"""Which networks make gists, and which scores?  Small ones, in PyTorch, that go where an encoder or a lens goes.

parts     attention over what exists, and slots that read a set into one vector
configs   the sizes of networks, and what sizes can be
gistnet   GistNet: the gist of a node from its children
visual    VisualGistNet: the same for squares of patches, with linked text beside them
lensnet   LensNet: how much detail each entry of a working context deserves, seen from the newest text
files     networks as safetensors with a JSON config, and back, trusting neither
encoder   a GistNet as an `Encoder` of mctree, a VisualGistNet as a `VisualEncoder`
joint     an encoder of text and one of images, for one gist set
lens      a LensNet as a `Lens` of `mctree.focus`
"""

from __future__ import annotations

from mctree_torch.networks.configs import GistConfig, LensConfig, VisualConfig
from mctree_torch.networks.encoder import GistEncoder, VisualGistEncoder, best_device
from mctree_torch.networks.files import dumps, load, loads, save
from mctree_torch.networks.gistnet import GistNet
from mctree_torch.networks.joint import JointEncoder
from mctree_torch.networks.lens import NetLens, Sight, SnapshotSight
from mctree_torch.networks.lensnet import LensNet
from mctree_torch.networks.visual import VisualGistNet

__all__ = [
    "GistConfig",
    "GistEncoder",
    "GistNet",
    "JointEncoder",
    "LensConfig",
    "LensNet",
    "NetLens",
    "Sight",
    "SnapshotSight",
    "VisualConfig",
    "VisualGistEncoder",
    "VisualGistNet",
    "best_device",
    "dumps",
    "load",
    "loads",
    "save",
]
