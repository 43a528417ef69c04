"""What does a writer do to images?  It adds them, makes them finer, extends and changes them, and lets them go.

The part of `Writer` that speaks of images: what callers pass is looked at here, and `Painter` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.format.facts import Stamp
from mctree.format.keys import source_digest
from mctree.processes import Processes
from mctree.sources.images import Box, ImageSource
from mctree.tree.arguments import as_box, as_integer, as_name, as_source, as_stamp, source_shown
from mctree.tree.images.given import as_image
from mctree.tree.images.image import STATES
from mctree.tree.images.makers import Workers
from mctree.tree.images.patches import BLOCK_PIXELS
from mctree.tree.images.wishes import Wishes
from mctree.tree.turn import Turn

if TYPE_CHECKING:
    from mctree.tree.images.nodes import ImageNode
    from mctree.tree.making import NextCommit

__all__ = ["COMMIT_BLOCKS", "KEPT_PIXELS", "ImageWriting"]

KEPT_PIXELS = 64 << 20
"""Bytes up to which the pixels of an image are kept if nobody says otherwise."""
COMMIT_BLOCKS = 64
"""Blocks of an image from one commit to the next if nobody says otherwise."""


class ImageWriting:
    """What a writer does to images; see `Writer`, which is one."""

    next: NextCommit
    _turn: Turn

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
        workers: Workers = 1,
        stamps: Callable[[], Mapping[bytes, Stamp | None]] | None = None,
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
            workers: threads that make rows of blocks, or `mctree.processes.Processes` that do beside this thread, which
                pays from 25 million pixels on; the result is the same whatever their number.
            stamps: asked before each commit on the way, in this thread, for stamps that go with it; see `stamp`.

        Returns:
            Its document's number.

        Raises:
            UsageError: a live document has that source and is not to be replaced, or an argument cannot be.
            NotFoundError: there is no such gist set.
            SourceError: the image cannot be read, or has no pixels.
        """
        name, given = as_name(source), as_image(image)
        if not (stamps is None or callable(stamps)):
            raise UsageError(f"`stamps` is called before each commit on the way: not {type(stamps).__name__}")

        def before_commit() -> None:
            found = stamps() if stamps is not None else {}
            if not isinstance(found, Mapping):
                raise UsageError(f"`stamps` gives a mapping of names of inputs to stamps, not {type(found).__name__}")
            for digest, record in [(source_digest(as_source(item)), as_stamp(stamp)) for item, stamp in found.items()]:
                self.next.put_stamp(digest, record)

        wishes = Wishes(
            None if sets is None else _as_names(sets),
            as_integer(keep_pixels, "the bytes of pixels to keep"),
            _as_blocks(commit_every),
            _as_workers(workers),
            None if region is None else as_box(region),
            as_integer(finest, "the finest level of an image"),
            before_commit,
        )
        with self._turn(f"adding {source_shown(source)!r:.80}"):
            return self.next.painter.add(name, given, wishes, locator=locator, replacing=replace)

    def deepen_image(
        self,
        which: int | bytes | str,
        image: ImageSource | NDArray[Any] | None = None,
        *,
        region: Box | None = None,
        finest: int = 0,
        commit_every: int | None = COMMIT_BLOCKS,
        workers: Workers = 1,
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
            workers: threads that make rows of blocks, or `mctree.processes.Processes` that do beside this thread, which
                pays from 25 million pixels on; the result is the same whatever their number.

        Returns:
            How many nodes were coarse and are not any more; 0: there was nothing to do.

        Raises:
            NotFoundError: there is no such image, or its source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the image is not committed, the source has another size or type, the region lies outside, or
                there is no such level.
        """
        with self._turn("deepening an image"):
            return self.next.painter.deepen(
                which,
                image,
                None if region is None else as_box(region),
                finest=as_integer(finest, "the finest level of an image"),
                commit_every=_as_blocks(commit_every),
                workers=_as_workers(workers),
            )

    def extend_image(
        self,
        which: int | bytes | str,
        image: ImageSource | NDArray[Any] | None = None,
        *,
        region: Box | None = None,
        commit_every: int | None = COMMIT_BLOCKS,
        workers: Workers = 1,
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
            workers: threads that make rows of blocks, or `mctree.processes.Processes` that do beside this thread, which
                pays from 25 million pixels on; the result is the same whatever their number.

        Returns:
            Whether there was anything to do: all of the region was known if not.

        Raises:
            NotFoundError: there is no such image, or its source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the image is not committed, the source has another size or type, or the region lies outside.
        """
        with self._turn("extending an image"):
            return self.next.painter.extend(
                which,
                image,
                None if region is None else as_box(region),
                commit_every=_as_blocks(commit_every),
                workers=_as_workers(workers),
            )

    def image_node(
        self,
        which: int | bytes | str,
        level: int,
        column: int,
        row: int,
        image: ImageSource | NDArray[Any] | None = None,
    ) -> ImageNode:
        """A node of an image; one that the tree lacks and the image's source has is fetched, and committed.

        Where the image is coarse it is deepened down to the node; where it was not looked at, because only a region of
        it was added, it is extended by what is under the node.  That is committed, with whatever else waits for it.
        What is there already costs a look.

        Args:
            which: the image, by its document's number or by its source.
            level: the node's level.
            column: where it is among the nodes of its level.
            row: the same.
            image: the image's source, which must not have changed; None opens again what was recorded, if need be.

        Raises:
            NotFoundError: there is no such image, or neither it nor its source has such a node, or the source is gone.
            SourceError: the source cannot be read, or has changed.
            UsageError: the image is not committed, the source has another size or type, or more than 64 blocks would
                have to be read: `extend_image` does that.
        """
        found = self.next.snapshot.image(which)
        index = np.array([found.index_at(level, column, row)])
        (edges,) = found.raster.boxes(level, index - found.first(level)).tolist()
        box = Box(*edges)

        def unknown() -> bool:
            return int(self.next.snapshot.image(which).states(level, index)[0]) == STATES.index("unknown")

        if unknown() and self.deepen_image(which, image, region=box, finest=level, commit_every=None):
            self._commit_fetched()
        if unknown() and not self.next.snapshot.image(which).whole:
            if box.area > COMMIT_BLOCKS * BLOCK_PIXELS**2:
                raise UsageError(
                    f"image {found.id} was not looked at in {box}, and that is too much to be read for one node: "
                    "`extend_image` does it"
                )
            if self.extend_image(which, image, region=box, commit_every=None):
                self._commit_fetched()
        return self.next.snapshot.image(which).node(level, column, row)

    def _commit_fetched(self) -> None:
        with self._turn("committing what was fetched"):
            self.next.commit(gists=None)

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
            self.next.painter.change(which, image, as_box(region))

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
            self.next.painter.relocate(which, as_image(image))

    def forget_image(self, source: bytes | str) -> None:
        """Let an image be gone from the next commit on whose adding was begun and broken off; else nothing happens.

        Args:
            source: the name of where it comes from.
        """
        name = as_name(source)
        with self._turn("forgetting an image"):
            self.next.painter.forget(name)


def _as_workers(workers: Workers) -> Workers:
    return workers if isinstance(workers, Processes) else max(as_integer(workers, "the number of workers"), 1)


def _as_names(sets: object) -> tuple[str, ...]:
    if isinstance(sets, (str, bytes)) or not isinstance(sets, Iterable):
        raise UsageError(f"`sets` are names of gist sets, several of them or none, not {type(sets).__name__}")
    return tuple(sets)


def _as_blocks(commit_every: int | None) -> int | None:
    return None if commit_every is None else max(as_integer(commit_every, "blocks between commits"), 1)
