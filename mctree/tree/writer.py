"""How is a tree changed?  One writer at a time collects documents, removals and links, and commits them together.

Nothing that a writer does is seen by anybody before `commit` returns, and all of it is from then on, whatever happens
to the process or the machine.  A writer that is closed without a commit, or whose process dies, leaves the tree as it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import Stamp
from mctree.format.keys import source_digest
from mctree.sources.images import Box, ImageSource
from mctree.storage.session import Session
from mctree.tree.arguments import as_integer, as_name, as_pieces, as_source, source_shown
from mctree.tree.images.given import as_image
from mctree.tree.images.painting import Wishes
from mctree.tree.links import checked_link, has_link
from mctree.tree.making import NextCommit
from mctree.tree.placing import OpenDocument, new_record
from mctree.tree.snapshot import Snapshot

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Writer"]

KEPT_PIXELS = 64 << 20
"""Bytes up to which the pixels of an image are kept if nobody says otherwise."""
COMMIT_BLOCKS = 64
"""Blocks of an image from one commit to the next if nobody says otherwise."""


class Writer:
    """The one writer of a tree; made by `Tree.writer`, used as a `with` block that commits at its end.

    Documents that were begun and not closed stay open in the tree: `reopen` continues them, today or in years.

    A writer does one thing at a time.  Whatever would change it, or a document that is open in it, while another call
    still runs, be it from another thread or from within the iterable that `add` reads, is refused with a `UsageError`
    and has changed nothing.

    Attributes:
        tree: the tree that it writes to.
        next: what it is about to commit; for the rest of this room.
    """

    def __init__(self, tree: Tree, session: Session) -> None:
        self.tree = tree
        self.next = NextCommit(tree, session)
        self._turn = self.next.timeline.turn

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
        previous = self.next.opened.live(name)
        record = new_record(name, locator, media, previous)
        if previous and not replace:
            raise UsageError(f"source {source_shown(name)!r} has a live document already; reopen it, or replace it")
        _made = self.tree.tokenizer  # where it is damaged, nothing has been done yet
        if previous:
            self.next.opened.remove(previous)
        return self.next.opened.begin(self.next.take_number("document"), record)

    def reopen(self, which: int | bytes | str, *, locator: Mapping[str, int | str] | None = None) -> OpenDocument:
        """Go on appending to a committed document: an open one goes on in its tail, a closed one in a new block.

        Args:
            which: its number, or its source.
            locator: where inside a container it lies now; None: where it lay.

        Raises:
            NotFoundError: there is no such live document.
        """
        with self._turn("reopening a document"):
            return self.next.opened.reopen(which, locator)

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
            before = self.next.timeline.blocks
            document = self._begin(source, locator, "text", replace=replace)
            try:
                document.write_whole(pieces)
            except BaseException:
                # Nothing else was placed since, and nothing committed: that would have wanted the turn.
                self.next.opened.abandon(document, before)
                raise
            return document.id

    def remove(self, which: int | bytes | str) -> None:
        """Let a document be gone from the next commit on; older snapshots still see it.

        Raises:
            NotFoundError: there is no such live document.
            UsageError: it has changes that are not committed.
        """
        with self._turn("removing a document"):
            self.next.opened.remove(which)

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
        finest: int = 0,
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
            region: read only this part, in pixels, widened to whole tiles, or to nodes of the finest level made; what
                lies outside is not known of.
            sets: names of the gist sets that are to have gists of it; all that can if None.
            keep_pixels: keep the pixels, compressed without loss, if they take no more bytes than this.
            finest: begin with a coarse view: make the nodes of this level, of 64·2^finest pixels a side, and those
                above, from the smaller version of the image that its source has for them.  What is below can come
                later, wherever it is wanted: see `deepen_image`.  Where the source has no version as small, the next
                larger one is taken, and its levels come too.  With 0, all is there at once.
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
            _as_blocks(commit_every),
            max(as_integer(workers, "the number of workers"), 1),
            region,
            as_integer(finest, "the finest level of an image"),
        )
        with self._turn(f"adding {source_shown(source)!r:.80}"):
            self.next.session.check()
            return self.next.painter.add(name, given, wishes, locator=locator, replacing=replace)

    def deepen_image(
        self,
        which: int | bytes | str,
        image: ImageSource | NDArray[Any] | None = None,
        *,
        region: Box | None = None,
        finest: int = 0,
        commit_every: int | None = COMMIT_BLOCKS,
        workers: int = 1,
    ) -> int:
        """Make an image finer where it is coarse: below nodes that were made from overviews, the next ones come.

        All children of a node come at once, and what is above them is made of them.  An image that was deepened
        everywhere is the same as one that was added at once.  Long work is committed on the way, with whatever else
        waits for a commit; if it is broken off, the same call goes on from there.

        Args:
            which: the image, by its document's number or by its source.
            image: its source, which must not have changed; None opens again what was recorded.
            region: only there, in pixels; what is around it comes as coarse as it may be.
            finest: the level down to which: nodes of this level may stay as they are.
            commit_every: blocks from one commit to the next; None: all of it in the writer's next commit.
            workers: threads that make rows of blocks; the result is the same whatever their number.

        Returns:
            How many nodes were coarse and are not any more; 0: there was nothing to do.

        Raises:
            NotFoundError: there is no such image, or its source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the image is not committed, the source has another size or type, the region lies outside, or
                there is no such level.
        """
        with self._turn("deepening an image"):
            self.next.session.check()
            return self.next.painter.deepen(
                which,
                image,
                region,
                finest=as_integer(finest, "the finest level of an image"),
                commit_every=_as_blocks(commit_every),
                workers=max(as_integer(workers, "the number of workers"), 1),
            )

    def extend_image(
        self,
        which: int | bytes | str,
        image: ImageSource | NDArray[Any] | None = None,
        *,
        region: Box | None = None,
        commit_every: int | None = COMMIT_BLOCKS,
        workers: int = 1,
    ) -> bool:
        """Make more of an image known than the region that it was added with: another one, down to its pixels.

        What is known already is not read again, and what is coarse there is deepened.  An image that was extended to
        all of it is the same as one that was added at once.  Long work is committed on the way, with whatever else
        waits for a commit; if it is broken off, the same call goes on from there.

        Args:
            which: the image, by its document's number or by its source.
            image: its source, which must not have changed; None opens again what was recorded.
            region: in pixels, widened to whole tiles; None: all of the image.
            commit_every: blocks from one commit to the next; None: all of it in the writer's next commit.
            workers: threads that make rows of blocks; the result is the same whatever their number.

        Returns:
            Whether there was anything to do: all of the region was known if not.

        Raises:
            NotFoundError: there is no such image, or its source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the image is not committed, the source has another size or type, or the region lies outside.
        """
        with self._turn("extending an image"):
            self.next.session.check()
            return self.next.painter.extend(
                which,
                image,
                region,
                commit_every=_as_blocks(commit_every),
                workers=max(as_integer(workers, "the number of workers"), 1),
            )

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
            self.next.session.check()
            self.next.painter.change(which, image, region)

    def relocate_image(self, which: int | bytes | str, image: ImageSource) -> None:
        """Record that the very pixels of an image come from elsewhere now; none of them is read.

        Where pixels are not kept, they are read again from where they came from, as long as that has not changed: its
        folder may have been moved, or its file written anew as it was.

        Args:
            which: the image, by its document's number or by its source.
            image: where its pixels are now; it is not closed.

        Raises:
            NotFoundError: there is no such image.
            UsageError: it has another size or type, or the image was changed since the last commit.
        """
        with self._turn("moving an image"):
            self.next.session.check()
            self.next.painter.relocate(which, as_image(image))

    def forget_image(self, source: bytes | str) -> None:
        """Let an image be gone from the next commit on whose adding was begun and broken off; else nothing happens.

        Args:
            source: the name of where it comes from.
        """
        name = as_name(source)
        with self._turn("forgetting an image"):
            self.next.painter.forget(name)

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
            number = self.next.take_number("link")
            self.next.pending.links[number] = record
            return number

    def unlink(self, number: int) -> None:
        """Let a link be gone from the next commit on.

        Raises:
            NotFoundError: there is no such link.
        """
        number = as_integer(number, "the number of a link")
        with self._turn("unlinking"):
            if number in self.next.pending.links and self.next.pending.links[number] is not None:
                del self.next.pending.links[number]
                return
            with self.next.snapshot.reading() as index:
                if number in self.next.pending.links or not has_link(index, number, self.next.snapshot.commit):
                    raise NotFoundError(f"there is no link {number}")
            self.next.pending.links[number] = None

    def stamp(self, item: bytes, stamp: Stamp | None) -> None:
        """Remember what was seen of an input, so that a sync can skip it (None: forget it).

        Raises:
            UsageError: the input's name is neither bytes nor text, or the stamp is none.
        """
        if not isinstance(stamp, Stamp | None):
            raise UsageError(f"what was seen of an input is a Stamp, or None to forget it, not {type(stamp).__name__}")
        name = as_source(item)
        with self._turn("stamping an input"):
            self.next.pending.stamps[source_digest(name)] = b"" if stamp is None else stamp.encode()

    def stamp_of(self, item: bytes) -> Stamp | None:
        """What is remembered of an input, or is about to be."""
        item = as_source(item)
        pending = self.next.pending.stamps.get(source_digest(item))
        if pending is None:
            return self.next.snapshot.stamp(item)
        return Stamp.decode(pending) if pending else None

    def keep_stamps(self) -> None:
        """Make the stamps given since the last commit durable without a commit: no snapshot depends on them."""
        with self._turn("keeping stamps"):
            if self.next.pending.stamps:
                self.next.session.jot(self.next.pending.put_stamps)
                self.next.pending.stamps.clear()

    @property
    def pending_blocks(self) -> int:
        """Blocks placed since the last commit."""
        return self.next.new_blocks

    def make_gists(self) -> None:
        """Make the gists of all blocks placed so far, in part of the time that the next commit would take for them.

        They belong to that commit, like the blocks.  What dies until then makes them stale, as it would later.

        Raises:
            WriterFailedError: they could not be written; open the tree again to go on from the last commit.
        """
        with self._turn("making gists"):
            self.next.make_gists()

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
            return self.next.commit(gists=gists)

    def close(self) -> None:
        """Give up the writer's lock; what was not committed is forgotten."""
        self.next.close()

    @property
    def snapshot(self) -> Snapshot:
        """The newest commit, wherever it goes."""
        return self.next.snapshot


def _as_blocks(commit_every: int | None) -> int | None:
    return None if commit_every is None else max(as_integer(commit_every, "blocks between commits"), 1)
