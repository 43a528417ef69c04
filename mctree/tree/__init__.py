"""What a user holds: trees, snapshots, writers, nodes, documents, gist sets, links."""

from __future__ import annotations

from mctree.tree.documents import Document
from mctree.tree.gists import GistView
from mctree.tree.images.colours import Colours, Statistics
from mctree.tree.images.image import Image
from mctree.tree.images.nodes import ImageNode
from mctree.tree.links import Link
from mctree.tree.node import Node
from mctree.tree.packing import Packed
from mctree.tree.placing import OpenDocument
from mctree.tree.provenance import Provenance
from mctree.tree.sets import checked_set_name
from mctree.tree.snapshot import Snapshot
from mctree.tree.stretches import Stretches, stretches
from mctree.tree.tree import Tree, create, open  # noqa: A004  # as in gzip.open
from mctree.tree.writer import Writer

__all__ = [
    "Colours",
    "Document",
    "GistView",
    "Image",
    "ImageNode",
    "Link",
    "Node",
    "OpenDocument",
    "Packed",
    "Provenance",
    "Snapshot",
    "Statistics",
    "Stretches",
    "Tree",
    "Writer",
    "checked_set_name",
    "create",
    "open",
    "stretches",
]
