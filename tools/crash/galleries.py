"""What can a store with images hold so that whoever reads it sees whether it saw one commit, whole?  Rounds in grey.

Beside the documents of `rounds` there are two images.  With every commit that shows a round one is replaced, after
commits on the way of which nothing may be seen, and the first tile of the other is changed.  Both are grey in the shade
of the round, so that every node of every level has to have that very mean, whichever rows it is read from, and each
pixel that was kept too.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree import Snapshot, Tree
from mctree.encoders import CosineEncoder
from mctree.sources.images import Box
from mctree.testing.dump import dump
from mctree.tree.images.image import Image
from mctree.tree.writer import Writer
from tools.crash import rounds
from tools.crash.rounds import Rounds, SeenError, View

__all__ = ["IMAGES", "shade"]

_ENCODER = CosineEncoder(1, side=2)
_REPLACED, _CHANGED = "replaced", "changed"
_SIZES = {_REPLACED: (20, 1100), _CHANGED: (40, 140)}
"""The first has two blocks; the second has two tiles, of which one is changed."""
_TILE, _PATCH = 128, 16
_UNCHANGED = 251


def shade(number: int) -> int:
    """How bright the images of a round are: never as those of the rounds around it, nor as what is not changed."""
    return number % _UNCHANGED


def _grey(value: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 1), value, np.uint8)


def _begin(tree: Tree) -> None:
    """Round 0 of a new store, with gist sets."""
    rounds.begin(tree)
    with tree.writer() as writer:
        writer.add_image(_REPLACED, _grey(shade(0), *_SIZES[_REPLACED]))
        changed = _grey(_UNCHANGED, *_SIZES[_CHANGED])
        changed[:, :_TILE] = shade(0)
        writer.add_image(_CHANGED, changed)
    _build(tree)


def _build(tree: Tree) -> None:
    rounds.TEXTS.build(tree)
    tree.build_gists(_ENCODER, "seen")


def _write_round(tree: Tree, *, gists: bool) -> None:
    """Go on to the next round, by one commit that shows it."""
    rounds.write_round(tree, gists=gists, first=_write_images)


def _write_images(writer: Writer, number: int) -> None:
    writer.add_image(_REPLACED, _grey(shade(number), *_SIZES[_REPLACED]), replace=True, commit_every=1)
    height, _ = _SIZES[_CHANGED]
    writer.change_image(_CHANGED, _grey(shade(number), height, _TILE), Box(0, 0, _TILE, height))


def _look(snapshot: Snapshot) -> View:
    """Read all that a snapshot shows.

    Raises:
        SeenError: it is not one commit's.
    """
    view = rounds.look(snapshot)
    images = {image.name: image for image in snapshot.images()}
    if images.keys() != _SIZES.keys():
        raise SeenError(f"commit {view.commit} shows images {sorted(images)}")
    for name, image in images.items():
        wanted = _grey(shade(view.round), *_SIZES[name])
        if name == _CHANGED:
            wanted[:, _TILE:] = _UNCHANGED
        _compare(image, wanted, f"commit {view.commit} mixes round {view.round} with another: image {name!r}")
    digest = hashlib.blake2b(view.digest)
    for line in dump(snapshot):
        digest.update(line.encode())
    return View(view.commit, view.round, digest.digest())


def _compare(image: Image, wanted: NDArray[np.uint8], what: str) -> None:
    """Compare an image, at each level, and its kept pixels, with those it has to have."""
    if not np.array_equal(image.pixels().values, wanted):
        raise SeenError(f"{what}, its pixels")
    side = _PATCH
    for level in range(image.root + 1):
        mean = _sums(wanted, side) / _sums(np.ones_like(wanted), side)
        found = image.colour(level).mean
        if found.shape != mean.shape or not np.allclose(found, mean, rtol=0, atol=1e-9):
            raise SeenError(f"{what}, level {level}")
        side *= 8 if level == 0 else 2


def _sums(values: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """What the values in each square of an image add up to."""
    rows, columns = (np.arange(0, size, side) for size in values.shape[:2])
    return np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, axis=0), columns, axis=1)


IMAGES: Final = Rounds("images", (rounds.ENCODER, _ENCODER), _begin, _write_round, _look, _build)
