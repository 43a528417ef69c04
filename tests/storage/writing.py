"""What tests of sessions write, and how they break it off."""

from __future__ import annotations

import mctree

__all__ = ["SMALL", "crash", "fill"]

SMALL = 65536
"""Bytes of the smallest chunk files."""


def fill(tree: mctree.Tree, name: str, data: bytes = b"some text " * 50) -> None:
    """Commit a document."""
    with tree.writer() as writer:
        writer.add(name, data)


def crash(*_: object, **__: object) -> None:
    """Stands in for a step at which the process is broken off."""
    raise KeyboardInterrupt
