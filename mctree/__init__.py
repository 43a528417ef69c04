"""mctree: a storage engine for trees of detail.

    import mctree

    with mctree.open("corpus.mctree") as tree, tree.snapshot() as snapshot:
        print(snapshot.node("3:0").text())

Names are loaded when they are first used, so that what needs none of them starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mctree.errors import MctreeError

if TYPE_CHECKING:
    from mctree.tree import Document, Node, Snapshot, Tree, Writer, create, open  # noqa: A004  # as in gzip.open

__all__ = ["Document", "MctreeError", "Node", "Snapshot", "Tree", "Writer", "create", "open"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in __all__:
        value: object = getattr(import_module("mctree.tree"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mctree' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
