"""Stores to stream from: a few thousand blocks of bytes, whose gists notice everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import mctree
from mctree.testing import ToyEncoder
from mctree.tree import Tree

__all__ = ["DIM", "letters", "streamed"]

DIM = 16


def letters(count: int, seed: int = 0) -> bytes:
    """So many bytes."""
    return np.random.default_rng(seed).integers(97, 123, count, np.uint8).tobytes()


@contextmanager
def streamed(path: Path, blocks: int = 2200) -> Iterator[Tree]:
    """A store of three documents, chunked finely, with a gist set."""
    with mctree.create(path / "t.mctree", chunk_bytes=65536, encoders=[ToyEncoder(dim=DIM)]) as tree:
        tree.build_gists(ToyEncoder(dim=DIM))
        with tree.writer() as writer:
            for number in range(3):
                writer.add(f"document {number}", letters(32 * blocks // 3 + 5, number))
            writer.commit(gists=True)
        yield tree
