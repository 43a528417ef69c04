"""Which images does a writer work on, under which numbers, and in which gist sets?  As committed, or as about to be.

An image that was begun is found again by its name, if its source, its pixels' fate and its gist sets are the same; else
it is begun anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import GistSetRecord
from mctree.format.images import ARENA, ARENA_LIMIT, ImageRecord
from mctree.format.keys import Table, u64
from mctree.geometry import Raster
from mctree.sources.images import ImageSource
from mctree.tree.gists import gist_sets
from mctree.tree.images.asking import fingerprint_of
from mctree.tree.images.book import Book
from mctree.tree.images.canvas import Canvas
from mctree.tree.images.given import require_storable, widened
from mctree.tree.images.overviews import own_level, version_for
from mctree.tree.images.patches import Coder
from mctree.tree.images.wishes import Wishes
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

    def begin(self, name: bytes, source: ImageSource, wishes: Wishes, sets: tuple[int, ...]) -> tuple[int, ImageRecord]:
        """The number and the record of an image that is to be added, or gone on with if it was begun.

        Args:
            name: of its source.
            source: of its pixels.
            wishes: how it is to be added.
            sets: the gist sets that are to have gists of it.

        Raises:
            UsageError: a store cannot hold it, or not as it is wished.
        """
        require_storable(source)
        raw = source.height * source.width * source.channels * source.dtype.itemsize
        raster = Raster(source.height, source.width)
        if not 0 <= wishes.finest <= raster.root:
            raise UsageError(f"an image of this size has levels 0..{raster.root}, not {wishes.finest}")
        factor = source.levels[version_for(source, wishes.finest)] if wishes.finest else 1
        within = widened(wishes.region, source, raster.side(own_level(factor)))
        record = ImageRecord(
            uri=source.uri,
            fingerprint=fingerprint_of(source),
            height=source.height,
            width=source.width,
            channels=source.channels,
            dtype=np.dtype(source.dtype).name,
            space=ARENA,
            base=0,
            level=raster.root,
            kept=raw <= wishes.keep,
            region=(within.x0, within.y0, within.x1, within.y1),
            sets=sets,
            order="z" if source.access == "random" else "rows",
            finest=wishes.finest,
        )
        begun = self.begun()
        if name in begun:
            number = begun[name]
            found = self.record(number)
            if replace(found, base=0, done=0) == record:
                return number, found
            self.forget(name)
        base = -(-self.numbers["arena"] // raster.extent) * raster.extent
        if base + raster.extent > ARENA_LIMIT:
            raise UsageError(
                "no room is left in the arena for an image of this size: begin another tree, or compact this one, if "
                "the image that was added last is gone"
            )
        self.numbers["arena"] = base + raster.extent
        return self.take("document"), replace(record, base=base)

    def forget(self, name: bytes) -> None:
        """Let an image that was begun and is not finished be gone."""
        begun = self.begun()
        if name in begun:
            self.book.records[begun.pop(name)] = None
            self.book.unfinished = begun

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
