"""mctree: a storage engine for trees of detail.

import mctree

with mctree.open("corpus.mctree") as tree, tree.snapshot() as snapshot:
print(snapshot.node("3:0").text())
"""

from __future__ import annotations

from mctree.errors import MctreeError
from mctree.tree import Document, Node, Snapshot, Tree, Writer, create, open  # noqa: A004  # as in gzip.open

__all__ = ["Document", "MctreeError", "Node", "Snapshot", "Tree", "Writer", "create", "open"]

__version__ = "0.1.0"
