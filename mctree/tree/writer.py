"""How is a tree changed?  One writer at a time collects documents, removals and links, and commits them together.

Nothing that a writer does is seen by anybody before `commit` returns, and all of it is from then on, whatever happens
to the process or the machine.  A writer that is closed without a commit, or whose process dies, leaves the tree as it
was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import Commit, DocumentRecord, GistSetRecord, LinkRecord, Stamp
from mctree.format.keys import Table, source_digest
from mctree.format.values import number
from mctree.sources.images import Box, ImageSource
from mctree.storage.index import Writing
from mctree.storage.leases import held_commits
from mctree.storage.session import Session
from mctree.tree.arguments import as_integer, as_name, as_pieces, as_source, source_shown
from mctree.tree.building import GistBuilder
from mctree.tree.gistwork import GistWork
from mctree.tree.images.given import as_image
from mctree.tree.images.painting import Painter, Wishes
from mctree.tree.links import checked_link, has_link
from mctree.tree.opened import OpenedDocuments
from mctree.tree.pending import Pending
from mctree.tree.placing import OpenDocument, new_record
from mctree.tree.retention import KEEP, KEEP_DEFAULT, Freed, collect, forget_all
from mctree.tree.snapshot import Snapshot
from mctree.tree.timeline import Timeline
from mctree.tree.upcoming import Upcoming

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Writer"]

KEPT_PIXELS = 64 << 20
"""Bytes up to which the pixels of an image are kept if nobody says otherwise."""
COMMIT_BLOCKS = 64
"""Blocks of an image from one commit to the next if nobody says otherwise."""
_COLLECT_EVERY = 16
"""Every how many commits old ones are collected, whichever writer makes them."""


class Writer:
    """The one writer of a tree; made by `Tree.writer`, used as a `with` block that commits at its end.

    Documents that were begun and not closed stay open in the tree: `reopen` continues them, today or in years.

    A writer does one thing at a time.  Whatever would change it, or a document that is open in it, while another call
    still runs, be it from another thread or from within the iterable that `add` reads, is refused with a `UsageError`
    and has changed nothing.
    """

    def __init__(self, tree: Tree, session: Session) -> None:
        self.tree = tree
        self._session = session
        self._snapshot = tree.snapshot()
        self._timeline = Timeline(self._snapshot.blocks)
        self._turn = self._timeline.turn
        self._opened = OpenedDocuments(tree, self._snapshot, self._timeline)
        self._upcoming = Upcoming(session, self._snapshot, self._timeline, self._opened)
        self._next = dict(self._snapshot.record.next)
        self._pending = Pending(removed=self._opened.removed)
        self._painter = Painter(
            tree, session, self._snapshot, self._opened, self._next, lambda: self._commit(self._collecting())
        )
        self._gists = GistWork(tree, session, self._snapshot, self._painter.book, lambda: self._take_number("array"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.commit(gists=True)
        finally:
            self.close()

    # Documents

    def begin(
        self,
        source: bytes | str,
        *,
        locator: Mapping[str, int | str] | None = None,
        media: str = "text",
        replace: bool = False,
    ) -> OpenDocument:
        """Start a new document.

        Args:
            source: the name of where it comes from; no two live documents share one.
            locator: where inside a container it lies.
            media: what it is.
            replace: the document of that source, if there is one, is superseded: its blocks die in the same commit.

        Raises:
            UsageError: a live document has that source, and `replace` was not given.
        """
        with self._turn("beginning a document"):
            return self._begin(source, locator, media, replace=replace)

    def _begin(
        self, source: bytes | str, locator: Mapping[str, int | str] | None, media: str, *, replace: bool
    ) -> OpenDocument:
        name = as_name(source)
        previous = self._opened.live(name)
        record = new_record(name, locator, media, previous)
        if previous and not replace:
            raise UsageError(f"source {source_shown(name)!r} has a live document already; reopen it, or replace it")
        _made = self.tree.tokenizer  # where it is damaged, nothing has been done yet
        if previous:
            self._opened.remove(previous)
        return self._opened.begin(self._take_number("document"), record)

    def reopen(self, which: int | bytes | str, *, locator: Mapping[str, int | str] | None = None) -> OpenDocument:
        """Go on appending to a committed document: an open one goes on in its tail, a closed one in a new block.

        Args:
            which: its number, or its source.
            locator: where inside a container it lies now; None: where it lay.

        Raises:
            NotFoundError: there is no such live document.
        """
        with self._turn("reopening a document"):
            return self._opened.reopen(which, locator)

    def add(
        self,
        source: bytes | str,
        data: bytes | str | Iterable[bytes | str],
        *,
        locator: Mapping[str, int | str] | None = None,
        replace: bool = False,
    ) -> int:
        """Append a whole document.

        Args:
            source: the name of where it comes from.
            data: all of it, or an iterable of its pieces.  Until that ends, the writer takes no other call.
            locator: where inside a container it lies.
            replace: the document of that source, if there is one, is superseded.

        Returns:
            Its number.

        Raises:
            UsageError: the data is neither bytes nor text nor pieces of such, or `begin` refuses the rest.
        """
        pieces = as_pieces(data)
        with self._turn(f"adding {source_shown(source)!r:.80}"):
            before = self._timeline.blocks
            document = self._begin(source, locator, "text", replace=replace)
            try:
                document.write_whole(pieces)
            except BaseException:
                # Nothing else was placed since, and nothing committed: that would have wanted the turn.
                self._opened.abandon(document, before)
                raise
            return document.id

    def remove(self, which: int | bytes | str) -> None:
        """Let a document be gone from the next commit on; older snapshots still see it.

        Raises:
            NotFoundError: there is no such live document.
            UsageError: it has changes that are not committed.
        """
        with self._turn("removing a document"):
            self._opened.remove(which)

    def add_image(
        self,
        source: bytes | str,
        image: ImageSource | NDArray[Any],
        *,
        locator: Mapping[str, int | str] | None = None,
        replace: bool = False,
        region: Box | None = None,
        sets: Sequence[str] | None = None,
        keep_pixels: int = KEPT_PIXELS,
        commit_every: int | None = COMMIT_BLOCKS,
        workers: int = 1,
    ) -> int:
        """Append a whole image: it takes one block of the timeline.

        An image of many blocks (of 1024 pixels square) is committed on the way, with whatever else waits for a commit;
        nobody sees it before it is finished.  If that is broken off, adding it again goes on from there, as long as the
        source's fingerprint and what is wished for are the same.

        Args:
            source: the name of where it comes from.
            image: its pixels: `[h, w, c]` or `[h, w]`, uint8 or uint16, or a source that reads them.
            locator: where inside a container it lies.
            replace: the document of that source, if there is one, is superseded.
            region: read only this part, in pixels, widened to whole tiles; what lies outside is not known of.
            sets: names of the gist sets that are to have gists of it; all that can if None.
            keep_pixels: keep the pixels, compressed without loss, if they take no more bytes than this.
            commit_every: blocks from one commit to the next; None: all of it in the writer's next commit.
            workers: threads that make rows of blocks; the result is the same whatever their number.

        Returns:
            Its document's number.

        Raises:
            UsageError: a live document has that source and is not to be replaced, or an argument cannot be.
            NotFoundError: there is no such gist set.
            SourceError: the image cannot be read, or has no pixels.
        """
        name, given = as_name(source), as_image(image)
        wishes = Wishes(
            sets,
            as_integer(keep_pixels, "the bytes of pixels to keep"),
            None if commit_every is None else max(as_integer(commit_every, "blocks between commits"), 1),
            max(as_integer(workers, "the number of workers"), 1),
            region,
        )
        with self._turn(f"adding {source_shown(source)!r:.80}"):
            self._session.check()
            return self._painter.add(name, given, wishes, locator=locator, replacing=replace)

    def change_image(self, which: int | bytes | str, image: ImageSource | NDArray[Any], region: Box) -> None:
        """Let a region of an image be other pixels; what is above them is made anew, and nothing else.

        Args:
            which: the image, by its document's number or by its source.
            image: all of it, as it is now, of which only the region is read (widened to whole tiles); or the region's
                pixels alone, an array `[h, w, c]`: what else its tiles hold is taken from the pixels that are kept.
            region: which pixels.

        Raises:
            NotFoundError: there is no such image.
            UsageError: it has another size or type, the region reaches beyond it, it was changed since the last commit,
                or it keeps no pixels to fill up the region's tiles.
        """
        with self._turn("changing an image"):
            self._session.check()
            self._painter.change(which, image, region)

    def link(
        self,
        source: tuple[int, int],
        target: tuple[int, int],
        *,
        kind: str,
        score: float = 1.0,
        spaces: tuple[int, int] = (0, 0),
    ) -> int:
        """Link two spans of LOD0 positions, each [start, stop).

        Returns:
            The link's number.

        Raises:
            UsageError: a span is empty or out of range, the score is not in [0, 1], or the kind is no text.
        """
        record = checked_link(source, target, kind, score, spaces)
        with self._turn("linking"):
            number = self._take_number("link")
            self._pending.links[number] = record
            return number

    def unlink(self, number: int) -> None:
        """Let a link be gone from the next commit on.

        Raises:
            NotFoundError: there is no such link.
        """
        number = as_integer(number, "the number of a link")
        with self._turn("unlinking"):
            if number in self._pending.links and self._pending.links[number] is not None:
                del self._pending.links[number]
                return
            with self._snapshot.reading() as index:
                if number in self._pending.links or not has_link(index, number, self._snapshot.commit):
                    raise NotFoundError(f"there is no link {number}")
            self._pending.links[number] = None

    def stamp(self, item: bytes, stamp: Stamp | None) -> None:
        """Remember what was seen of an input, so that a sync can skip it (None: forget it).

        Raises:
            UsageError: the input's name is neither bytes nor text, or the stamp is none.
        """
        if not isinstance(stamp, Stamp | None):
            raise UsageError(f"what was seen of an input is a Stamp, or None to forget it, not {type(stamp).__name__}")
        name = as_source(item)
        with self._turn("stamping an input"):
            self._pending.stamps[source_digest(name)] = b"" if stamp is None else stamp.encode()

    def stamp_of(self, item: bytes) -> Stamp | None:
        """What is remembered of an input, or is about to be."""
        item = as_source(item)
        pending = self._pending.stamps.get(source_digest(item))
        if pending is None:
            return self._snapshot.stamp(item)
        return Stamp.decode(pending) if pending else None

    def keep_stamps(self) -> None:
        """Make the stamps given since the last commit durable without a commit: no snapshot depends on them."""
        with self._turn("keeping stamps"):
            if self._pending.stamps:
                self._session.jot(self._pending.put_stamps)
                self._pending.stamps.clear()

    @property
    def pending_blocks(self) -> int:
        """Blocks placed since the last commit."""
        return self._upcoming.new_blocks

    def make_gists(self) -> None:
        """Make the gists of all blocks placed so far, in part of the time that the next commit would take for them.

        They belong to that commit, like the blocks.  What dies until then makes them stale, as it would later.

        Raises:
            WriterFailedError: they could not be written; open the tree again to go on from the last commit.
        """
        with self._turn("making gists"):
            self._session.check()
            # First without writing anything: where one is damaged that they build on, the writer can go on.
            self._gists.behind(self._upcoming, self._pending, all_of_them=True)
            with self._session.whole("making gists"):
                self._gists.catch_up(self._upcoming, self._pending, all_of_them=True)

    # Commits

    def commit(self, *, gists: bool | None = None) -> int:
        """Make everything since the last commit durable and visible, in one step.

        Args:
            gists: also make the gists of all new blocks; None: only if many wait for theirs, so that small appends stay
                cheap.

        Returns:
            The number of the newest commit; the old one if there was nothing to commit.

        Raises:
            WriterFailedError: it could not be made; open the tree again to go on from the last commit.
            CorruptError: a gist that another one would be made of is not what was committed.  Nothing has happened:
                `commit(gists=False)` does without.
        """
        with self._turn("committing"):
            self._session.check()
            if gists is not False:  # as above
                self._gists.behind(self._upcoming, self._pending, all_of_them=gists is True)
            with self._session.whole("a commit"):
                if gists is not False:
                    self._gists.catch_up(self._upcoming, self._pending, all_of_them=gists is True)
                return self._commit(self._collecting()) if self._has_changes() else self._snapshot.commit

    def _collecting(self) -> Callable[[Writing], Freed] | None:
        """What collects old commits in the transaction of the next one, if it is time to."""
        if self._session.number % _COLLECT_EVERY:
            return None
        # Looked at before the transaction begins: what was condemned in an earlier one is free if nobody holds it now.
        held = held_commits(self._session.store.at)
        return lambda index: collect(index, self._keep(index), held)

    def _commit(self, collecting: Callable[[Writing], Freed] | None) -> int:
        self._gists.refresh_slots(self._upcoming, self._pending)
        records = self._upcoming.append_rows()
        freed: Freed | None = None

        def record(index: Writing) -> Commit:
            nonlocal freed
            commit = self._pending.record(
                index,
                self._snapshot.record,
                blocks=self._upcoming.blocks,
                records=records,
                documents=self._opened.changed,
                builders=self._gists.builders,
                images=self._painter.book,
                numbers=self._next,
            )
            freed = None if collecting is None else collecting(index)
            return commit

        commit = self._session.commit(record)
        if freed is not None:
            self._session.remove(freed.generations, freed.arrays)
        self._upcoming.committed()
        self._opened.committed()
        self._gists.committed(self._pending, self._painter.book)
        self._painter.book.committed()
        if self._pending:
            self._pending = Pending(removed=self._opened.removed)
        self._snapshot.advance(commit)
        return commit.number

    def close(self) -> None:
        """Give up the writer's lock; what was not committed is forgotten."""
        self._session.close()
        self._snapshot.close()

    # Within the room: gist sets and settings

    def put_setting(self, name: bytes, payload: bytes) -> None:
        """Let a setting say something from the next commit on."""
        self._pending.settings[name] = payload

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Keep a blob under its digest."""
        self._pending.blobs[digest] = data

    def begin_set(self, record: GistSetRecord) -> int:
        """Record a new gist set; returns its number."""
        number = self._take_number("gist_set")
        self.put_set(number, record)
        return number

    def put_set(self, number: int, record: GistSetRecord | None) -> None:
        """Record a gist set under a number (None ends it)."""
        self._pending.sets[number] = b"" if record is None else record.encode()
        self._gists.recorded(number, record)
        if record is None:
            self._painter.book.forget_set(number)

    def builder(self, number: int) -> GistBuilder | None:
        """What appends to a gist set, or None if its encoder cannot be made here."""
        return self._gists.builder(number)

    def advance(self, number: int, stop: int) -> int:
        """Make the gists of a set up to block `stop`; the next commit holds them.

        Returns:
            How many blocks have gists then.
        """
        builder = self.builder(number)
        if builder is None:
            raise UsageError("the gist set's encoder is not known here; pass it to `mctree.open(…, encoders=[…])`")
        with self._session.whole("making gists"):
            self._gists.append(number, builder, self._upcoming, min(stop, self._upcoming.blocks))
        return builder.blocks

    def cover_images(self, number: int, budget: int) -> bool:
        """Make gists of a set for images that lack some, of so many blocks of pixels at most.

        Returns:
            Whether there may be more to do.
        """
        record = self._gists.record(number)
        if record is None:
            raise NotFoundError("the gist set was dropped while it was built; build it again")
        return self._painter.cover(number, record, budget)

    @property
    def session(self) -> Session:
        """What writes."""
        return self._session

    @property
    def snapshot(self) -> Snapshot:
        """The newest commit."""
        return self._snapshot

    def block_tokens(self, first: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The tokens of blocks, committed or about to be, and how many of each are real."""
        return self._upcoming.block_tokens(first, stop)

    def refreshed(self, number: int, commit: int) -> None:
        """Record that a set's gists account for all deaths up to a commit."""
        self._pending.refreshed[number] = commit

    # Within the room: taking over an older epoch

    def adopt(self, record: DocumentRecord, number: int) -> OpenDocument:
        """Begin a document of another epoch under the number that it has there."""
        return self._opened.begin(number, record)

    def put_link(self, number: int, record: LinkRecord) -> None:
        """Enter a link under the number that it has in another epoch."""
        self._pending.links[number] = record

    def put_stamp(self, digest: bytes, payload: bytes) -> None:
        """Take over a stamp of another epoch: the digest of the item's name, and the record."""
        self._pending.stamps[digest] = payload

    @property
    def painter(self) -> Painter:
        """What works on images."""
        return self._painter

    def finish_epoch(self) -> None:
        """Make the commit that others will see first, with all gists; the steps up to it open no more."""
        with self._session.whole("a commit"):
            self._gists.catch_up(self._upcoming, self._pending, all_of_them=True)
            self._commit(forget_all)

    # Parts of a commit

    def _has_changes(self) -> bool:
        return bool(
            self._gists.has_grown()
            or self._painter.book
            or self._upcoming.new_blocks
            or self._pending
            or any(document.changes for document in self._opened.changed.values())
        )

    def _keep(self, index: Writing) -> int:
        payload = index.version(Table.SETTING, KEEP, index.number)
        return KEEP_DEFAULT if payload is None else number(payload, 4, "the setting of how much is kept")

    def _take_number(self, kind: str) -> int:
        number = self._next[kind]
        self._next[kind] = number + 1
        return number
