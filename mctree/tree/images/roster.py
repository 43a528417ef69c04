"""Which images does a writer work on, under which numbers, and in which gist sets?  As committed, or as about to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import GistSetRecord
from mctree.format.images import ImageRecord
from mctree.format.keys import Table, u64
from mctree.tree.gists import gist_sets
from mctree.tree.images.book import Book
from mctree.tree.images.canvas import Canvas
from mctree.tree.images.patches import Coder
from mctree.tree.opened import OpenedDocuments

if TYPE_CHECKING:
    from mctree.storage.session import Session
    from mctree.tree.snapshot import Snapshot
    from mctree.tree.tree import Tree

__all__ = ["Roster"]


class Roster:
    """The images of one writing session.

    Args:
        tree: gives encoders.
        session: what writes.
        snapshot: the newest commit, wherever it goes.
        opened: the documents that the session works on.
        numbers: the next free number of each kind.

    Attributes:
        book: what the next commit says of images.
        numbers: as given.
    """

    def __init__(
        self, tree: Tree, session: Session, snapshot: Snapshot, opened: OpenedDocuments, numbers: dict[str, int]
    ) -> None:
        self.numbers = numbers
        self._tree = tree
        self._snapshot = snapshot
        self._opened = opened
        self.book = Book(session, snapshot, lambda: self.take("array"))

    def canvas(self, record: ImageRecord, sets: Mapping[int, tuple[GistSetRecord, Coder]]) -> Canvas:
        """What an image that is not committed yet is worked on."""
        coders = tuple((coder, self.book.gists(number, found)) for number, (found, coder) in sets.items())
        return Canvas(self.book, record, self.book.statistics(record.channels), coders)

    def canvas_of(self, record: ImageRecord, block: int) -> Canvas:
        """What a committed image is changed on, in the sets that have gists of it.

        Also a set that is not built yet, and so is none of the image's, may have gists of parts of it: like those whose
        encoder is not known here, these can only be marked as out of date.
        """
        sets = self._every_set()
        coders = self.coders({one: sets[one] for one in record.sets if one in sets})
        known = {one: (sets[one], coder) for one, coder in coders.items() if coder is not None}
        unknown = tuple(self.book.gists(one, found) for one, found in sets.items() if one not in known)
        canvas = self.canvas(replace(record, sets=tuple(known)), known)
        return replace(canvas, unknown=unknown, block=block)

    def committed(self, which: int | bytes | str) -> tuple[int, np.void, ImageRecord]:
        """An image that is on the timeline already: its number, its graft and its record.

        Raises:
            NotFoundError: there is no such document.
            UsageError: it is no image, or not committed.
        """
        number = self._opened.number(which)
        graft = self._snapshot.gallery.places.of_document(number)
        if graft is None:
            raise UsageError(f"document {number} is no image, or not committed; commit before changing it")
        return number, graft, self.record(number)

    def wished(self, names: Sequence[str] | None, channels: int) -> dict[int, tuple[GistSetRecord, Coder]]:
        """The gist sets that are to have gists of an image, and what encodes them."""
        every = self._every_set()
        if names is None:
            coders = self.coders(every)
            return {
                number: (every[number], coder)
                for number, coder in coders.items()
                if coder is not None and coder.encoder.channels == channels
            }
        found = {}
        for name in names:
            number = next((number for number, record in every.items() if record.name == name), None)
            if number is None:
                raise NotFoundError(f"there is no gist set {name!r:.80}")
            coder = self.coders({number: every[number]})[number]
            if coder is None or coder.encoder.channels != channels:
                raise UsageError(f"gist set {name!r} has no encoder here for images of {channels} channels")
            found[number] = (every[number], coder)
        return found

    def _every_set(self) -> dict[int, GistSetRecord]:
        with self._snapshot.reading() as index:
            return gist_sets(index, self._snapshot.commit)

    def coders(self, sets: Mapping[int, GistSetRecord]) -> dict[int, Coder | None]:
        """What encodes gist sets here; None where that is not known."""
        coders: dict[int, Coder | None] = {}
        for number, record in sets.items():
            encoder = self._tree.visual_encoder(record)
            coders[number] = None if encoder is None else Coder(record, encoder)
        return coders

    def begun(self) -> dict[bytes, int]:
        """Images whose ingest was begun, by name."""
        if self.book.unfinished is not None:
            return self.book.unfinished
        return self._snapshot.gallery.unfinished()

    def record(self, number: int) -> ImageRecord:
        """The record of an image, committed or about to be.

        Raises:
            NotFoundError: there is none.
        """
        if number in self.book.records:
            record = self.book.records[number]
        else:
            with self._snapshot.reading() as index:
                payload = index.version(Table.IMAGE, u64.pack(number), self._snapshot.commit)
            record = None if payload is None else ImageRecord.decode(payload)
        if record is None:
            raise NotFoundError(f"document {number} is no image")
        return record

    def take(self, kind: str) -> int:
        """The next free number of a kind."""
        number = self.numbers.get(kind, 0)
        self.numbers[kind] = number + 1
        return number
