"""How does an image get into a tree, and how does a part of it change?  Block by block, then level by level.

Blocks are read, made into rows and put down in order; every so many are committed, with how far it came, so that who is
killed goes on from there.  Then what stands above the tiles is made, and with it, in one commit, the image takes its
block of the timeline: before that nobody sees it, and a version that it supersedes lives on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.format.facts import DocumentRecord, GistSetRecord
from mctree.format.images import ARENA_LIMIT, ImageRecord
from mctree.sources.images import Box, ImageSource
from mctree.storage.session import Session
from mctree.tree.arguments import source_shown
from mctree.tree.images.asking import fingerprint_of, read_pixels
from mctree.tree.images.blocks import blocks_from
from mctree.tree.images.canvas import Canvas, Changed
from mctree.tree.images.checkpoints import Checkpoints
from mctree.tree.images.covering import cover
from mctree.tree.images.deepening import Deepening
from mctree.tree.images.extending import Extending
from mctree.tree.images.given import (
    Everywhere,
    Overlaid,
    as_image,
    followed,
    require_inside,
    require_same_pixels,
    widened,
)
from mctree.tree.images.image import Image
from mctree.tree.images.makers import Workers, made
from mctree.tree.images.overviews import Version, Views, own_level, version_for
from mctree.tree.images.patches import paint
from mctree.tree.images.roster import Roster
from mctree.tree.images.wishes import Wishes
from mctree.tree.opened import OpenedDocuments
from mctree.tree.placing import new_record

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot
    from mctree.tree.tree import Tree

__all__ = ["Painter"]

_RAISED_BETWEEN = 1 << 6
"""Batches of nodes above the tiles from one commit to the next."""


class Painter:
    """What one writing session does to images.

    Args:
        tree: gives encoders.
        session: what writes.
        snapshot: the newest commit, wherever it goes.
        opened: the documents that the session works on.
        numbers: the next free number of each kind.
        commit: commits all that waits.
    """

    def __init__(
        self,
        tree: Tree,
        session: Session,
        snapshot: Snapshot,
        opened: OpenedDocuments,
        numbers: dict[str, int],
        commit: Callable[[], object],
    ) -> None:
        self._tree = tree
        self._session = session
        self._snapshot = snapshot
        self._opened = opened
        self._commit = commit
        self._roster = Roster(tree, session, snapshot, opened, numbers)
        self.book = self._roster.book

    def add(
        self,
        name: bytes,
        source: ImageSource,
        wishes: Wishes,
        *,
        locator: Mapping[str, int | str] | None,
        replacing: bool,
    ) -> int:
        """Add a whole image; its document's number.

        Raises:
            UsageError: a live document has that name and is not to be replaced, or the image or a wish cannot be.
            SourceError: the image cannot be read, or has no pixels.
        """
        self._require_images()
        previous = self._opened.live(name)
        if previous and not replacing:
            raise UsageError(f"source {source_shown(name)!r} has a live document already; replace it")
        document = new_record(name, locator, "image", previous)
        sets = self._roster.wished(wishes.sets, source.channels)
        if previous:
            self._opened.require_removable(previous)
        number, record = self._roster.begin(name, source, wishes, tuple(sets))
        canvas = self._roster.canvas(record, sets)
        self.book.mark()
        self.book.make_arrays([canvas.statistics, *(family for _, family in canvas.coders)], record.level)
        try:
            lowest = self._paint(name, number, canvas, source, wishes)
            return self._finish(name, number, canvas, document, wishes, previous, lowest)
        except BaseException:
            self.book.take_back()
            raise

    def change(self, which: int | bytes | str, given: ImageSource | NDArray[Any], region: Box) -> None:
        """Read a region of an image again, and make what is above it anew.

        Args:
            which: the image's number or name; it must be committed.
            given: an image of the same size, of which only the region is read, or the region's pixels.
            region: in pixels; widened to whole tiles.

        Raises:
            NotFoundError: there is no such image.
            UsageError: the source has another size or type, or the region lies outside.
        """
        number, graft, record = self._roster.committed(which)
        if number in self.book.records:
            raise UsageError(f"image {number} has changed since the last commit; commit before changing it")
        image = Image(self._snapshot, graft)
        part = isinstance(given, np.ndarray) and given.shape[:2] != (image.height, image.width)
        source = Overlaid(image, region, given) if isinstance(given, np.ndarray) and part else as_image(given)
        require_same_pixels(record, source)
        within = widened(region, source)
        canvas = self._roster.canvas_of(record, image.block)
        self.book.mark()
        try:
            if next(canvas.closed(within), None) is not None:
                if part:
                    raise UsageError(
                        f"image {number} is not there down to its pixels in {region}: extend it there first, or give "
                        "the whole image as a source"
                    )
                views = Views(source, [coder for coder, _ in canvas.coders], keep=record.kept)
                Deepening(canvas, views, within, 1, Checkpoints(canvas, None, self._commit)).run(1)
            changed: Changed = {1: [np.empty(0, np.int64)]}
            for _, box in blocks_from(Everywhere(source), within, "z", 0):
                block = paint(box, read_pixels(source, box), [coder for coder, _ in canvas.coders], keep=record.kept)
                changed[1].append(canvas.put(box, block))
            canvas.raise_changed(changed)
            canvas.require_root()
        except BaseException:
            self.book.take_back()
            raise
        self.book.records[number] = replace(canvas.record, fingerprint=fingerprint_of(source))

    def deepen(
        self,
        which: int | bytes | str,
        given: ImageSource | NDArray[Any] | None,
        region: Box | None,
        *,
        finest: int,
        commit_every: int | None,
        workers: Workers,
    ) -> int:
        """Make a region of an image finer where it is coarse; how many nodes were opened for it.

        Args:
            which: the image's number or name; it must be committed.
            given: where its pixels come from; None: what its record names.
            region: in pixels; None: all of it.
            finest: the level down to which.
            commit_every: blocks from one commit to the next; None: all in the next commit.
            workers: who makes rows of blocks.

        Raises:
            NotFoundError: there is no such image, or its source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the source has another size or type, the region lies outside, or there is no such level.
        """
        number, graft, record = self._roster.committed(which)
        whole = require_inside(region, record.width, record.height)
        if not 0 <= finest <= record.level:
            raise UsageError(f"image {number} has levels 0..{record.level}, not {finest}")
        if given is None and not Image(self._snapshot, graft).from_overviews:
            return 0  # nothing is lacking, so nothing need be there to read
        with self._worked_on(graft, record, given) as (canvas, views):
            checkpoints = Checkpoints(canvas, commit_every, self._commit)
            deepening = Deepening(canvas, views, whole if region is None else region, finest, checkpoints)
            deepening.run(workers)
        if deepening.opened:
            self.book.records[number] = canvas.record
        return deepening.opened

    def extend(
        self,
        which: int | bytes | str,
        given: ImageSource | NDArray[Any] | None,
        region: Box | None,
        *,
        commit_every: int | None,
        workers: Workers,
    ) -> bool:
        """Make a region of an image known down to its pixels; whether it was not.

        Args:
            which: the image's number or name; it must be committed.
            given: where its pixels come from; None: what its record names.
            region: in pixels, widened to whole tiles; None: all of it.
            commit_every: blocks from one commit to the next; None: all in the next commit.
            workers: who makes rows of blocks.

        Raises:
            NotFoundError: there is no such image, or its source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the source has another size or type, or the region lies outside.
        """
        number, graft, record = self._roster.committed(which)
        require_inside(region, record.width, record.height)
        if given is None and Image(self._snapshot, graft).complete:
            return False
        with self._worked_on(graft, record, given) as (canvas, views):
            within = widened(region, views.source)
            extending = Extending(canvas, views, within, Checkpoints(canvas, commit_every, self._commit))
            found = extending.run(workers)
        if extending.changed:
            self.book.records[number] = found
        return extending.changed

    @contextmanager
    def _worked_on(
        self, graft: np.void, record: ImageRecord, given: ImageSource | NDArray[Any] | None
    ) -> Iterator[tuple[Canvas, Views]]:
        """A committed image and what its source shows of it; what fails within leaves nothing that is not committed."""
        with followed(Image(self._snapshot, graft), record, given) as source:
            canvas = self._roster.canvas_of(record, int(graft["block"]))
            views = Views(source, [coder for coder, _ in canvas.coders], keep=record.kept)
            self.book.mark()
            try:
                yield canvas, views
            except BaseException:
                self.book.take_back()
                raise

    def cover(self, number: int, record: GistSetRecord, budget: int) -> bool:
        """Make gists of a set for images that lack some, of so many blocks at most: see `covering.cover`.

        Raises:
            UsageError: the set's encoder is not known here.
        """
        coder = self._roster.coders({number: record})[number]
        if coder is None:
            raise UsageError(f"the encoder of gist set {record.name!r} is not known here; pass it to `mctree.open(…)`")
        self.book.mark()
        try:
            return cover(self.book, self._snapshot, number, coder, budget)
        except BaseException:
            self.book.take_back()
            raise

    def relocate(self, which: int | bytes | str, source: ImageSource) -> None:
        """Let an image come from elsewhere; see `Writer.relocate_image`.

        Raises:
            NotFoundError: there is no such image.
            UsageError: the source has another size or type, or the image is not as it was committed.
        """
        number, _, record = self._roster.committed(which)
        if number in self.book.records:
            raise UsageError(f"image {number} was changed since the last commit; commit before moving it")
        require_same_pixels(record, source)
        self.book.records[number] = replace(record, uri=source.uri, fingerprint=fingerprint_of(source))

    def forget(self, name: bytes) -> None:
        """Let an image that was begun and is not finished be gone."""
        self._roster.forget(name)

    def adopt(self, record: ImageRecord, graft: np.void, block: int) -> None:
        """Take over an image of another epoch, which there takes another block; its rows come by themselves.

        Images are taken over in the order of their blocks.
        """
        number, size = int(graft["document"]), (record.height, record.width)
        self.book.records[number] = record
        self.book.grafts.append((block, number, record.base, *size, record.space, record.level, record.channels))
        self._roster.take("graft")

    def _require_images(self) -> None:
        meta = self._session.store.meta
        if meta.format < 2:
            raise UsageError(
                f"{self._tree.path} was made by an older release, in a format without images: compact it once with "
                "`mctree compact`"
            )

    # Blocks

    def _paint(self, name: bytes, number: int, canvas: Canvas, source: ImageSource, wishes: Wishes) -> int:
        """Put down all blocks of an image, or of a smaller version of it; the level of the nodes that its tiles are."""
        record = canvas.record
        k = version_for(source, record.finest) if record.finest else 0
        views = Views(source, [coder for coder, _ in canvas.coders], keep=record.kept)
        version = Version(source, k)
        within = version.inside(Box(*record.region))
        recipe = views.recipe(k, whole=not record.finest)
        blocks = blocks_from(version, within, record.order, record.done)
        for since, (at, part) in enumerate(made(blocks, version, recipe, wishes.workers), 1):
            finer: Changed = {}
            canvas.put_part(part, {})
            for more in views.rest(k, part):
                canvas.put_part(more, finer)
            if finer:
                canvas.raise_changed(finer, top=part.level)
            if wishes.commit_every is not None and since % wishes.commit_every == 0:
                wishes.before_commit()
                self._checkpoint(name, number, record.at(at + 1))
        return own_level(version.factor)

    def _checkpoint(self, name: bytes, number: int, record: ImageRecord) -> None:
        self.book.records[number] = record
        self.book.unfinished = {**self._roster.begun(), name: number}
        self._commit()

    # Finishing

    def _finish(
        self,
        name: bytes,
        number: int,
        canvas: Canvas,
        document: DocumentRecord,
        wishes: Wishes,
        previous: int,
        lowest: int,
    ) -> int:
        record, batches = canvas.record, 0

        def checkpoint() -> None:
            nonlocal batches
            batches += 1
            if wishes.commit_every is not None and batches % _RAISED_BETWEEN == 0:
                wishes.before_commit()
                self._checkpoint(name, number, record.at(ARENA_LIMIT))

        canvas.raise_levels(lowest, checkpoint)
        canvas.require_root()
        if previous:
            self._opened.remove(previous)
        if name in (begun := self._roster.begun()):
            self.book.unfinished = {other: one for other, one in begun.items() if other != name}
        graft = self._opened.begin(number, document).graft()
        self.book.records[number] = replace(record, done=0, finest=0)
        size = record.height, record.width
        self.book.grafts.append((graft, number, record.base, *size, record.space, record.level, record.channels))
        self._roster.take("graft")
        return number
