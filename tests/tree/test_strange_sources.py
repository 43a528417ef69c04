"""Image sources of one's own that do not keep the protocol: refused by what they did, and the store is as it was.

What they give is looked at before it is committed, so that everybody can read it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.errors import MctreeError, SourceError, UsageError
from mctree.sources.images import Box, Pixels
from mctree.testing import assert_whole
from tests.tree.albums import EYES, made, told


class Sound:
    """The least that is a source: of one colour, with a smaller version."""

    uri = "mine:"
    height, width, channels = 1300, 200, 3
    dtype = np.dtype(np.uint8)
    levels: Any = (1, 2)
    access = "random"
    fingerprint: Any = "01"

    def read(self, box: Box, level: int = 0) -> Pixels:
        return Pixels(np.full((box.height, box.width, 3), 7, np.uint8))

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        yield box

    def close(self) -> None:
        pass


def but(**members: Any) -> Sound:
    found: Sound = type("Strange", (Sound,), members)()
    return found


def reading(gives: Callable[[Box], object], first: int = 0) -> Sound:
    """A source that reads what it should not, from so many reads on."""
    reads = iter(range(999))
    sound = Sound()
    return but(read=lambda self, box, level=0: sound.read(box) if next(reads) < first else gives(box))


def zeros(box: Box, channels: int = 3, kind: type = np.uint8) -> np.ndarray:
    return np.zeros((box.height, box.width, channels), kind)


SAYS = {
    "a height that is a float": but(height=300.0),
    "a width that is NumPy's": but(width=np.int64(200)),
    "channels of text": but(channels="rgb"),
    "a uri that is a number": but(uri=5),
    "a uri without end": but(uri="mine:" + "x" * (1 << 21)),
    "a fingerprint that is a number": but(fingerprint=7),
    "a fingerprint that nobody can store": but(fingerprint="\ud800"),
    "a type that is its name": but(dtype="uint8"),
    "a type that is a class": but(dtype=np.uint8),
    "a type of signed numbers": but(dtype=np.dtype(np.int16)),
    "a type in another order of bytes": but(dtype=np.dtype(">u2")),
    "no levels": but(levels=()),
    "levels in a list": but(levels=[1, 2]),
    "levels that descend": but(levels=(4, 2, 1)),
    "levels without the image itself": but(levels=(2, 4)),
    "levels by thirds": but(levels=(1, 3)),
    "access of another kind": but(access="sometimes"),
}

DOES = {
    "reads nothing": reading(lambda box: None),
    "reads an array": reading(zeros),
    "reads fewer pixels": reading(lambda box: Pixels(zeros(box)[1:])),
    "reads fewer pixels later": reading(lambda box: Pixels(zeros(box)[1:]), first=1),
    "reads more channels": reading(lambda box: Pixels(zeros(box, 4))),
    "reads pixels of another type": reading(lambda box: Pixels(zeros(box, 3, np.uint16))),
    "reads a list of pixels": reading(lambda box: Pixels(zeros(box).tolist())),
    "masks other pixels": reading(lambda box: Pixels(zeros(box), np.ones((3, 3), np.bool_))),
    # What its type forbids is just what is tried.
    "masks by numbers": reading(lambda box: Pixels(zeros(box), np.ones((box.height, box.width), np.uint8))),  # type: ignore[arg-type]
    "covers nothing that can be gone through": but(covered=lambda self, box, level=0: None),
    "covers numbers": but(covered=lambda self, box, level=0: [1]),
}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with made(tmp_path / "t.mctree") as tree:
        tree.build_gists(EYES, "eyes")
        with tree.writer() as writer:
            writer.add_image("sound", Sound())
            writer.add_image("coarse", Sound(), finest=2)
        yield tree


def refused(act: Callable[[], object], *errors: type[MctreeError]) -> None:
    with pytest.raises(errors) as caught:
        act()
    assert 20 < len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize("what", SAYS)
def test_what_a_source_says_of_itself_has_to_be_possible(tree: mctree.Tree, what: str) -> None:
    before = told(tree)
    with tree.writer() as writer:
        for act in (
            lambda: writer.add_image("strange", SAYS[what]),
            lambda: writer.change_image("sound", SAYS[what], Box(0, 0, 9, 9)),
            lambda: writer.relocate_image("sound", SAYS[what]),
        ):
            refused(act, UsageError)
        refused(lambda: writer.extend_image("sound", SAYS[what]), UsageError, SourceError)
    assert told(tree) == before
    assert_whole(tree)


@pytest.mark.parametrize("what", DOES)
def test_what_a_source_hands_over_has_to_be_what_was_asked_for(tree: mctree.Tree, what: str) -> None:
    before, source = told(tree), DOES[what]
    with tree.writer() as writer:
        for act in (
            lambda: writer.add_image("strange", source, commit_every=None),
            lambda: writer.add_image("strange", source, finest=2, commit_every=None),
            lambda: writer.add_image("strange", source, workers=2, commit_every=None),
        ):
            refused(act, SourceError)
        if "covers" not in what:
            refused(lambda: writer.change_image("sound", source, Box(0, 0, 9, 9)), SourceError)
            refused(lambda: writer.deepen_image("coarse", source, commit_every=None), SourceError)
    with tree.snapshot() as snapshot, snapshot.image("coarse").follow(source) as image:
        if "covers" not in what:
            refused(lambda: image.rows(1, np.array([image.first(1)])), SourceError)
            refused(lambda: image.pixels(Box(0, 0, 5, 5)), SourceError)
    assert told(tree) == before
    assert_whole(tree)
