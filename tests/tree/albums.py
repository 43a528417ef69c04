"""Stores with images that tests begin with: three gist sets, of text, of images, and of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.testing import ToyEncoder
from mctree.testing.dump import dump
from mctree.testing.toys import ToySight

SMALL = 1 << 16
JOINT, EYES, WORDS = ToySight(4), ToySight(3, seed=1, text=False), ToyEncoder(seed=2)


def pixels(height: int, width: int, channels: int = 3, seed: int = 0, dtype: str = "uint8") -> NDArray[Any]:
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, top, (height, width, channels)).astype(dtype)


def made(path: Path) -> mctree.Tree:
    return mctree.create(path, chunk_bytes=SMALL, encoders=[JOINT, EYES, WORDS])


def with_sets(tree: mctree.Tree) -> mctree.Tree:
    tree.build_gists(WORDS, "words")
    tree.build_gists(JOINT, "joint")
    tree.build_gists(EYES, "eyes")
    return tree


def told(tree: mctree.Tree, commit: int | None = None) -> list[str]:
    with tree.snapshot(commit) as snapshot:
        return list(dump(snapshot))
