"""How is a tree changed?  One writer at a time collects documents, removals and links, and commits them together.

Nothing that a writer does is seen by anybody before `commit` returns, and all of it is from then on, whatever happens
to the process or the machine.  A writer that is closed without a commit, or whose process dies, leaves the tree as it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self

from mctree.errors import NotFoundError, UsageError
from mctree.format.facts import Stamp
from mctree.format.keys import source_digest
from mctree.storage.session import Session
from mctree.tree.arguments import as_integer, as_name, as_pieces, as_source, as_stamp, source_shown
from mctree.tree.images.writing import ImageWriting
from mctree.tree.links import checked_link, has_link
from mctree.tree.making import NextCommit
from mctree.tree.placing import OpenDocument, new_record
from mctree.tree.snapshot import Snapshot

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Writer"]


class Writer(ImageWriting):
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
            media: what it is; not `image`, for these are added with `add_image`.
            replace: the document of that source, if there is one, is superseded: its blocks die in the same commit.

        Raises:
            UsageError: a live document has that source, and `replace` was not given; or it would be called an image.
        """
        with self._turn("beginning a document"):
            return self._begin(source, locator, media, replace=replace)

    def _begin(
        self, source: bytes | str, locator: Mapping[str, int | str] | None, media: str, *, replace: bool
    ) -> OpenDocument:
        name = as_name(source)
        previous = self.next.opened.live(name)
        record = new_record(name, locator, media, previous)
        if media == "image":
            raise UsageError("a document of text cannot be called an image; add images with `add_image`")
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

        Nothing needs to lie there yet, or any more: a link is a statement about positions, and found by these.

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
        name, record = as_source(item), as_stamp(stamp)
        with self._turn("stamping an input"):
            self.next.pending.stamps[source_digest(name)] = record

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
