"""How do images and their captions stay linked?  By one link each, made once both are committed.

The reader names pairs of an image and a text of which one has changed; each that both are there gets a link of the kind
`caption`, from all of the image to the first run of blocks of the text.  A version that dies takes its links along.  So
what was linked and did not change costs nothing.

A link is made in a later commit than what it joins, and a run may be broken off between the two.  That it may have been
is noted with the first document that could come to be linked, under each root, and taken back when the run is complete;
a run that finds such a note has the reader name all pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from mctree.errors import NotFoundError
from mctree.format.facts import Stamp
from mctree.format.records import BLOCK
from mctree.geometry import TEXT
from mctree.sources import Root
from mctree.sources.images import Box
from mctree.sources.images.companions import is_caption_name
from mctree.tree import Snapshot, Writer

__all__ = ["KIND", "Captions"]

KIND = "caption"
"""The kind of the links."""

_NOTE = b"\0captions\0"
"""How the name of the note of a root begins; no input has a NUL in its name."""


class Captions:
    """Makes and ends links of captions.

    Args:
        writer: what it writes with.
        roots: of the source.

    Attributes:
        in_doubt: whether links may be missing that a run before this one ought to have made.
    """

    def __init__(self, writer: Writer, roots: Iterable[Root]) -> None:
        self._writer = writer
        self._notes = [_NOTE + root.name for root in roots]
        self._noted = [note for note in self._notes if writer.snapshot.stamp(note) is not None]
        self._illustrated = bool(writer.snapshot.record.grafts)
        self._asked: list[tuple[bytes, bytes]] = []
        self.in_doubt = bool(self._noted)

    def written(self, name: bytes, *, image: bool) -> None:
        """A document was written that may be linked; to be called before the commit that it belongs to."""
        self._illustrated = self._illustrated or image
        if self._illustrated and (image or is_caption_name(name)) and len(self._noted) < len(self._notes):
            for note in self._notes:
                self._writer.stamp(note, Stamp(0, 0, 0, 0, 0, b""))
            self._noted = self._notes

    def ask(self, image: bytes, text: bytes) -> None:
        """Have an image and a text linked, by their names, once they are committed."""
        self._asked.append((image, text))

    def end(self, number: int) -> None:
        """A committed document dies: so do the links from and to it."""
        snapshot = self._writer.snapshot
        if not snapshot.record.grafts:
            return
        for space, start, stop in _spans(snapshot, number):
            for link in snapshot.links(start, stop, space):
                if link.kind == KIND:
                    self._unlink(link.id)

    def settle(self) -> bool:
        """After a commit, make the links that were asked for; whether the next commit has any to say of."""
        changed = False
        for image, text in self._asked:
            changed = self._link(self._writer.snapshot, image, text) or changed
        self._asked.clear()
        return changed

    def finish(self) -> None:
        """The run is complete: no link is in doubt."""
        for note in self._noted:
            self._writer.stamp(note, None)
        self._noted = []

    def _link(self, snapshot: Snapshot, image_name: bytes, text_name: bytes) -> bool:
        numbers = snapshot.number(image_name), snapshot.number(text_name)
        if not all(numbers) or snapshot.gallery.places.of_document(numbers[0]) is None:
            return False
        text = snapshot.document(numbers[1])
        if text.record.media != "text" or text.open or not text.runs:
            return False
        (source,) = _spans(snapshot, numbers[0])
        target = _spans(snapshot, numbers[1])[0]
        there, changed = False, False
        for link in snapshot.links(*source[1:], source[0]):
            if link.kind != KIND or link.source != source or link.target[0]:
                continue
            if link.target == target:
                there = True
            elif link.target[1] == target[1] or not _lives(snapshot, *link.target[1:]):  # it grew, or was another one
                self._unlink(link.id)
                changed = True
        for link in snapshot.links(*target[1:], target[0]):
            gone = link.source[0] == source[0] and snapshot.gallery.places.at(np.array([link.source[1]]))[0] < 0
            if link.kind == KIND and link.target == target and gone:
                self._unlink(link.id)
                changed = True
        if there:
            return changed
        self._writer.link(source[1:], target[1:], kind=KIND, spaces=(source[0], 0))
        return True

    def _unlink(self, number: int) -> None:
        # Both of its ends may die in one commit.
        with suppress(NotFoundError):
            self._writer.unlink(number)


def _spans(snapshot: Snapshot, number: int) -> list[tuple[int, int, int]]:
    """What a document takes: (space, start, stop), one for an image, one for each run of blocks of a text."""
    if snapshot.gallery.places.of_document(number) is None:
        return [(0, run.block * BLOCK, (run.block + run.blocks) * BLOCK) for run in snapshot.document(number).runs]
    image = snapshot.image(number)
    ((start, stop),) = image.spans(Box(0, 0, image.width, image.height), limit=1)
    return [(image.space, start, stop)]


def _lives(snapshot: Snapshot, start: int, stop: int) -> bool:
    """Whether anything of a span of the timeline is alive."""
    first, last = start // BLOCK, min(-(-stop // BLOCK), snapshot.blocks)
    return first < last and len(snapshot.world.geometry.existing(TEXT, 1, first, last)) > 0
