"""How does an image get into a tree, and how does a part of it change?  Block by block, then level by level.

Blocks are read, made into rows and put down in order; every so many are committed, with how far it came, so that who is
killed goes on from there.  Then what stands above the tiles is made, and with it, in one commit, the image takes its
block of the timeline: before that nobody sees it, and a version that it supersedes lives on.

An image that was begun is found again by its name, if its source, its pixels' fate and its gist sets are the same; else
it is begun anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, SourceError, UsageError
from mctree.format.facts import DocumentRecord, GistSetRecord
from mctree.format.images import ARENA, ARENA_LIMIT, LARGEST_SIDE, ImageRecord
from mctree.format.keys import Table, u64
from mctree.geometry import IMAGE, PATCH, Raster, morton
from mctree.sources.images import Box, ImageSource
from mctree.storage.rows import distinct
from mctree.storage.session import Session
from mctree.tree.arguments import source_shown
from mctree.tree.gists import gist_sets
from mctree.tree.images.blocks import blocks_from
from mctree.tree.images.book import Book
from mctree.tree.images.covering import cover
from mctree.tree.images.families import Family
from mctree.tree.images.given import Overlaid, as_image, widened
from mctree.tree.images.image import Image
from mctree.tree.images.merging import raise_levels
from mctree.tree.images.patches import TILE_PIXELS, Block, Coder, paint
from mctree.tree.opened import OpenedDocuments
from mctree.tree.placing import new_record

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot
    from mctree.tree.tree import Tree

__all__ = ["Painter", "Wishes"]

_RAISED_BETWEEN = 1 << 6
"""Batches of nodes above the tiles from one commit to the next."""
_MOST_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class Wishes:
    """How an image is to be added.

    Attributes:
        sets: names of the gist sets that are to have gists of it; None: all that can.
        keep: bytes of pixels up to which they are kept.
        commit_every: blocks from one commit to the next; None: all in the next commit.
        workers: threads that make rows of blocks.
        region: the part that is read; None: all of it.
    """

    sets: Sequence[str] | None
    keep: int
    commit_every: int | None
    workers: int
    region: Box | None


@dataclass(frozen=True, slots=True)
class _Canvas:
    """One image that is worked on: its record, and the arrays that its rows go to."""

    record: ImageRecord
    statistics: Family
    coders: tuple[tuple[Coder, Family], ...]

    @property
    def first_tile(self) -> int:
        return self.record.base // IMAGE.block


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
        self._numbers = numbers
        self._commit = commit
        self.book = Book(session, snapshot, lambda: self._take("array"))

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
        sets = self._sets(wishes, source.channels)
        if previous:
            self._opened.require_removable(previous)
        number, record = self._begin(name, source, wishes, tuple(sets))
        canvas = self._canvas(record, sets)
        self.book.mark()
        try:
            self._paint(name, number, canvas, source, wishes)
            return self._finish(name, number, canvas, document, wishes, previous)
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
        number = self._opened.number(which)
        graft = self._snapshot.gallery.places.of_document(number)
        if graft is None or number in self.book.records:
            raise UsageError(f"document {number} is no image, or not as it was committed; commit before changing it")
        record = self._known(number)
        image = Image(self._snapshot, graft)
        part = isinstance(given, np.ndarray) and given.shape[:2] != (image.height, image.width)
        source = Overlaid(image, region, given) if isinstance(given, np.ndarray) and part else as_image(given)
        _same_pixels(record, source)
        within = widened(region, source)
        sets = self._all_sets()
        mine = {one: sets[one] for one in record.sets if one in sets}
        known = {one: coder for one, coder in self._coders(mine).items() if coder is not None}
        canvas = self._canvas(record, {one: (mine[one], coder) for one, coder in known.items()})
        self.book.mark()
        try:
            tiles = [np.empty(0, np.int64)]
            for _, box in blocks_from(_Everywhere(source), within, "z", 0):
                block = paint(box, source.read(box), [coder for coder, _ in canvas.coders], keep=record.kept)
                tiles.append(self._put(canvas, box, block))
            changed = np.sort(np.concatenate(tiles))
            raise_levels(self.book, record.base, record.level, canvas.statistics, canvas.coders, changed, lambda: None)
            self._require_root(record, canvas)
            for one, found in mine.items():
                if one not in known:
                    self._stale(record, self.book.gists(one, found), changed)
            if any("text" in coder.record.modalities for coder, _ in canvas.coders):
                self.book.slots_changed.add(image.block)
        except BaseException:
            self.book.take_back()
            raise
        current = tuple(one for one in record.sets if one in known)
        self.book.records[number] = replace(record, fingerprint=source.fingerprint, sets=current)

    def cover(self, number: int, record: GistSetRecord, budget: int) -> bool:
        """Make gists of a set for images that lack some, of so many blocks at most: see `covering.cover`.

        Raises:
            UsageError: the set's encoder is not known here.
        """
        coder = self._coders({number: record})[number]
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
        number = self._opened.number(which)
        if self._snapshot.gallery.places.of_document(number) is None or number in self.book.records:
            raise UsageError(f"document {number} is no image, or not as it was committed; commit before moving it")
        record = self._known(number)
        _same_pixels(record, source)
        self.book.records[number] = replace(record, uri=source.uri, fingerprint=source.fingerprint)

    def forget(self, name: bytes) -> None:
        """Let an image that was begun and is not finished be gone."""
        begun = self._begun()
        if name in begun:
            self.book.records[begun.pop(name)] = None
            self.book.unfinished = begun

    def adopt(self, record: ImageRecord, graft: np.void, block: int) -> None:
        """Take over an image of another epoch, which there takes another block; its rows come by themselves.

        Images are taken over in the order of their blocks.
        """
        number, size = int(graft["document"]), (record.height, record.width)
        self.book.records[number] = record
        self.book.grafts.append((block, number, record.base, *size, record.space, record.level, record.channels))
        self._take("graft")

    # Beginning

    def _begin(
        self, name: bytes, source: ImageSource, wishes: Wishes, sets: tuple[int, ...]
    ) -> tuple[int, ImageRecord]:
        """The number and the record of an image that is to be ingested, or gone on with."""
        _check(source)
        within = widened(wishes.region, source)
        raw = source.height * source.width * source.channels * source.dtype.itemsize
        raster = Raster(source.height, source.width)
        record = ImageRecord(
            uri=source.uri,
            fingerprint=source.fingerprint,
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
        )
        begun = self._begun()
        if name in begun:
            number = begun[name]
            found = self._known(number)
            if replace(found, base=0, done=0) == record:
                return number, found
            self.forget(name)
        base = -(-self._numbers["arena"] // raster.extent) * raster.extent
        if base + raster.extent > ARENA_LIMIT:
            raise UsageError(
                "no room is left in the arena for an image of this size; compact the tree, or begin another"
            )
        self._numbers["arena"] = base + raster.extent
        return self._take("document"), replace(record, base=base)

    def _canvas(self, record: ImageRecord, sets: Mapping[int, tuple[GistSetRecord, Coder]]) -> _Canvas:
        coders = tuple((coder, self.book.gists(number, found)) for number, (found, coder) in sets.items())
        return _Canvas(record, self.book.statistics(record.channels), coders)

    def _sets(self, wishes: Wishes, channels: int) -> dict[int, tuple[GistSetRecord, Coder]]:
        """The gist sets that are to have gists of an image, and what encodes them."""
        every = self._all_sets()
        if wishes.sets is None:
            coders = self._coders(every)
            return {
                number: (every[number], coder)
                for number, coder in coders.items()
                if coder is not None and coder.encoder.channels == channels
            }
        found = {}
        for name in wishes.sets:
            number = next((number for number, record in every.items() if record.name == name), None)
            if number is None:
                raise NotFoundError(f"there is no gist set {name!r:.80}")
            coder = self._coders({number: every[number]})[number]
            if coder is None or coder.encoder.channels != channels:
                raise UsageError(f"gist set {name!r} has no encoder here for images of {channels} channels")
            found[number] = (every[number], coder)
        return found

    def _all_sets(self) -> dict[int, GistSetRecord]:
        with self._snapshot.reading() as index:
            return gist_sets(index, self._snapshot.commit)

    def _coders(self, sets: Mapping[int, GistSetRecord]) -> dict[int, Coder | None]:
        coders: dict[int, Coder | None] = {}
        for number, record in sets.items():
            encoder = self._tree.visual_encoder(record)
            coders[number] = None if encoder is None else Coder(record, encoder)
        return coders

    def _begun(self) -> dict[bytes, int]:
        """Images whose ingest was begun, by name."""
        if self.book.unfinished is not None:
            return self.book.unfinished
        return self._snapshot.gallery.unfinished()

    def _known(self, number: int) -> ImageRecord:
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

    def _require_images(self) -> None:
        meta = self._session.store.meta
        if meta.format < 2:
            raise UsageError(
                f"{self._tree.path} was made by an older release, in a format without images: compact it once with "
                "`mctree compact`"
            )

    # Blocks

    def _paint(self, name: bytes, number: int, canvas: _Canvas, source: ImageSource, wishes: Wishes) -> None:
        record, since = canvas.record, 0
        within = Box(*record.region)
        coders = [coder for coder, _ in canvas.coders]
        blocks = blocks_from(source, within, record.order, record.done)
        for at, box, block in _painted(source, blocks, coders, keep=record.kept, workers=wishes.workers):
            self._put(canvas, box, block)
            since += 1
            if since == wishes.commit_every:
                self.book.records[number] = record.at(at + 1)
                self.book.unfinished = {**self._begun(), name: number}
                self._commit()
                since = 0

    def _put(self, canvas: _Canvas, box: Box, block: Block) -> NDArray[np.int64]:
        """Put down the rows of a block; its tiles, in the arena."""
        record, book = canvas.record, self.book
        every = _codes(box, TILE_PIXELS)
        gone = np.setdiff1d(every, block.tiles.index, assume_unique=True)
        patches = _codes(box, PATCH)
        patches = patches[np.isin(patches // IMAGE.block, block.tiles.index)]
        missing = np.setdiff1d(patches, block.patches.index, assume_unique=True)
        tile, patch = canvas.first_tile, record.base
        for family, lower, upper in (
            (canvas.statistics, block.patches.statistics, block.tiles.statistics),
            *((family, block.patches.gists[i], block.tiles.gists[i]) for i, (_, family) in enumerate(canvas.coders)),
        ):
            arrays = book.array(family, 0), book.array(family, 1)
            left = self._left(arrays[0], gone + tile)
            absent = np.sort(np.concatenate([missing + patch, left]))
            book.put(arrays[0], block.patches.index + patch, lower, absent)
            book.put(arrays[1], block.tiles.index + tile, upper, gone + tile)
        if record.kept:
            book.keep(block.tiles.index + tile, block.pieces, gone + tile)
        return every + tile

    def _left(self, array: int, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """The patches of tiles that had some, and have none any more."""
        below = (tiles[:, None] * IMAGE.block + np.arange(IMAGE.block)).reshape(-1)
        return below[self.book.find(array, below).present] if len(below) else below

    # Finishing

    def _finish(
        self,
        name: bytes,
        number: int,
        canvas: _Canvas,
        document: DocumentRecord,
        wishes: Wishes,
        previous: int,
    ) -> int:
        record, batches = canvas.record, 0

        def checkpoint() -> None:
            nonlocal batches
            batches += 1
            if wishes.commit_every is not None and batches % _RAISED_BETWEEN == 0:
                self.book.records[number] = record.at(ARENA_LIMIT)
                self.book.unfinished = {**self._begun(), name: number}
                self._commit()

        raise_levels(self.book, record.base, record.level, canvas.statistics, canvas.coders, None, checkpoint)
        self._require_root(record, canvas)
        if previous:
            self._opened.remove(previous)
        if name in (begun := self._begun()):
            self.book.unfinished = {other: one for other, one in begun.items() if other != name}
        graft = self._opened.begin(number, document).graft()
        self.book.records[number] = replace(record, done=0)
        size = record.height, record.width
        self.book.grafts.append((graft, number, record.base, *size, record.space, record.level, record.channels))
        self._take("graft")
        return number

    def _require_root(self, record: ImageRecord, canvas: _Canvas) -> None:
        root = np.array([record.base // IMAGE.width(record.level)])
        levels = canvas.statistics.numbers
        if len(levels) <= record.level or not self.book.find(levels[record.level], root).present[0]:
            raise SourceError("the image has no pixels: there is nothing to show")

    def _stale(self, record: ImageRecord, family: Family, tiles: NDArray[np.int64]) -> None:
        """Let the gists above tiles that changed be stale in a set whose encoder is not known here."""
        nodes = tiles
        below = (tiles[:, None] * IMAGE.block + np.arange(IMAGE.block)).reshape(-1)
        for level in range(min(record.level + 1, len(family.numbers))):
            self.book.mark_stale(family.numbers[level], nodes if level else below)
            nodes = distinct(nodes // IMAGE.fanout(level)) if level else nodes

    def _take(self, kind: str) -> int:
        number = self._numbers.get(kind, 0)
        self._numbers[kind] = number + 1
        return number


def _painted(
    source: ImageSource, blocks: Iterator[tuple[int, Box]], coders: Sequence[Coder], *, keep: bool, workers: int
) -> Iterator[tuple[int, Box, Block]]:
    """The rows of blocks, in their order; pixels are read by one thread, and made into rows by so many."""
    if workers == 1:
        for at, box in blocks:
            yield at, box, paint(box, source.read(box), coders, keep=keep)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="mctree-paint") as pool:
        waiting: deque[tuple[int, Box, Future[Block]]] = deque()
        try:
            for at, box in blocks:
                waiting.append((at, box, pool.submit(paint, box, source.read(box), coders, keep=keep)))
                if len(waiting) > workers:
                    number, part, made = waiting.popleft()
                    yield number, part, made.result()
            while waiting:
                number, part, made = waiting.popleft()
                yield number, part, made.result()
        finally:
            for _, _, made in waiting:
                made.cancel()


def _codes(box: Box, side: int) -> NDArray[np.int64]:
    """The Z-order codes, ascending, of the squares of a side that meet a box, counted from the image's first."""
    x, y = np.meshgrid(np.arange(box.x0 // side, -(-box.x1 // side)), np.arange(box.y0 // side, -(-box.y1 // side)))
    return np.sort(morton.encode(x.ravel(), y.ravel()))


def _check(source: ImageSource) -> None:
    """Refuse an image that a store cannot hold.

    Raises:
        UsageError: it is too large, or its pixels are of another kind.
    """
    if not 1 <= source.height <= LARGEST_SIDE or not 1 <= source.width <= LARGEST_SIDE:
        raise UsageError(f"an image is 1 to {LARGEST_SIDE} pixels high and wide, not {source.height} × {source.width}")
    if not 1 <= source.channels <= _MOST_CHANNELS:
        raise UsageError(f"an image has 1 to {_MOST_CHANNELS} channels, not {source.channels}")
    if np.dtype(source.dtype).name not in ("uint8", "uint16"):
        raise UsageError(f"pixels are uint8 or uint16, not {np.dtype(source.dtype).name}")


def _same_pixels(record: ImageRecord, source: ImageSource) -> None:
    found = source.height, source.width, source.channels, np.dtype(source.dtype).name
    if found != (record.height, record.width, record.channels, record.dtype):
        raise UsageError(
            f"the image is {record.height} × {record.width} × {record.channels} of {record.dtype}, and what is to "
            f"change it {found[0]} × {found[1]} × {found[2]} of {found[3]}: replace it instead"
        )


class _Everywhere:
    """A source of which every block is looked at: where it has no pixels, what was there is gone."""

    def __init__(self, source: ImageSource) -> None:
        self.width, self.height = source.width, source.height

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """All of a box."""
        yield box
