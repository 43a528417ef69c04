"""How do tokenized jobs become commits?  In order, one document after the other, a batch to a commit.

A batch is so many bytes of input, where each document and each stamp counts for some bytes as well.  It ends at the
end of a document if the document is not long; so no commit holds a part of a document, but for the last one of a long
document, which is open and marked as ours (see `plan`).  Where a batch ends follows from the jobs alone.

Stamps are recorded with the documents that they speak of.  If nothing but stamps is new, no commit is made.  What is
asked for of captions is seen to after each commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from mctree.encoders import Encoded
from mctree.errors import UsageError
from mctree.ingest.captions import Captions
from mctree.ingest.images import ImageScribe
from mctree.ingest.jobs import ImagePart, Job, Part
from mctree.ingest.plan import Known, Verdict, marker_name, marker_stamp
from mctree.ingest.report import TAKEN, Tally
from mctree.sources import Skipped
from mctree.tree import OpenDocument, Tree, Writer

__all__ = ["Scribe"]

_ENTRY_BYTES = 512
_REMOVAL_BYTES = 4096
_GIST_BLOCKS = 8192
"""Gists are made of so many blocks at a time while others tokenize, so that few are left for the commit."""


class Scribe:
    """Writes jobs, and commits.

    Args:
        tree: what is written to.
        writer: its writer.
        images: writes images.
        captions: links them to their captions.
        tally: counts what is written.
        batch: bytes to a commit.
    """

    def __init__(
        self, tree: Tree, writer: Writer, images: ImageScribe, captions: Captions, tally: Tally, batch: int
    ) -> None:
        self._tree = tree
        self._writer = writer
        self._images = images
        self._captions = captions
        self._tally = tally
        self._batch = batch
        self._weight = 0
        self._changed = False
        self._gists_from = _GIST_BLOCKS
        self._committed = False
        self._document: OpenDocument | None = None
        self._marked = False
        self._resumable = False
        self._began_ns = time.time_ns()
        self._container = b""

    def write(self, job: Job, encoded: Sequence[Encoded]) -> None:
        """Write a job; wherever the batch is full, make a commit.

        Args:
            job: the next one.
            encoded: the tokens of its pieces.
        """
        tokens = iter(encoded)
        for part in job.parts:
            self._write(part, tokens)
            self._weigh(_ENTRY_BYTES + sum(map(len, part.pieces)))
        if job.image is not None:
            self._write_image(job.image)
        for name, stamp in job.stamps:
            self._writer.stamp(name, stamp)
            self._weigh(_ENTRY_BYTES)
        for image, text in job.captions:
            self._captions.ask(image, text)
            self._weigh(_ENTRY_BYTES)
        if self._writer.pending_blocks >= self._gists_from:
            self._writer.make_gists()
            self._gists_from = self._writer.pending_blocks + _GIST_BLOCKS

    def remove(self, number: int, name: bytes) -> None:
        """Remove a document whose input is gone, and forget the input's stamps."""
        self._captions.end(number)
        self._writer.remove(number)
        self._writer.stamp(name, None)
        self._writer.stamp(marker_name(name), None)
        for place, byte in enumerate(name):
            if byte == ord("#") and name[:place] != self._container:
                self._container = name[:place]
                stamp = self._writer.stamp_of(self._container)
                # A container that was not read in this run is gone, too.  It may come back as it was: as a file system
                # that is mounted again does.  Then a stamp would hide that its documents are not here any more.
                if stamp is not None and stamp.seen_ns < self._began_ns:
                    self._writer.stamp(self._container, None)
        self._tally.removed += 1
        self._changed = True
        self._weigh(_REMOVAL_BYTES)

    def forget_vanished(self, gone: Callable[[bytes], bool]) -> None:
        """Forget images that an earlier run has begun and that have no input any more; see `ImageScribe`."""
        self._changed = self._images.forget_vanished(gone) or self._changed

    def commit(self) -> None:
        """End the batch."""
        if self._changed:
            self._writer.commit()
            self._committed = True
        else:
            self._writer.keep_stamps()
        self._weight = 0
        self._changed = self._captions.settle()
        self._gists_from = _GIST_BLOCKS

    def finish(self) -> None:
        """End the last batch, and make the gists that wait, those that a broken-off run has left, too."""
        self.commit()
        self._captions.finish()
        if self._committed or self._changed or self._gists_wait():
            self._writer.commit(gists=True)
        else:
            self._writer.keep_stamps()

    def _gists_wait(self) -> bool:
        snapshot = self._writer.snapshot
        waiting = (view.record for view in snapshot.gist_sets() if view.rows(1) < snapshot.blocks)
        return any(self._tree.known_encoder(record) is not None for record in waiting)

    def _weigh(self, size: int) -> None:
        self._weight += size
        if self._weight >= self._batch and (self._document is None or self._resumable):
            self.commit()

    def _write_image(self, part: ImagePart) -> None:
        assert self._document is None, "an image comes between two documents"
        if part.verdict in (Verdict.ADD, Verdict.SUPERSEDE):
            # Taken note of before: a large image is committed on the way.
            self._captions.written(part.raw.name, image=True)
        written = self._images.write(part)
        if written is not None:
            self._supersede(part.known if written.superseded else None)
            self._changed = True
            self._weigh(_ENTRY_BYTES + written.weight)

    def _supersede(self, known: Known | None) -> None:
        """A document dies with the next commit; the writer knows that already."""
        if known is not None:
            self._captions.end(known.number)

    def _write(self, part: Part, tokens: Iterator[Encoded]) -> None:
        if part.first:
            self._begin(part)
        for left, piece in zip(range(len(part.pieces) - 1, -1, -1), part.pieces, strict=True):
            self._append(next(tokens), piece, last=part.last and not left)
        self._resumable = False
        if part.last:
            self._finish(part)
        elif self._document is not None and (part.long or part.broken):
            self._writer.stamp(marker_name(part.name), marker_stamp(self._document.size, part.digest))
            self._marked = self._resumable = True
        if part.broken:
            self._document = None

    def _begin(self, part: Part) -> None:
        known = part.known
        self._marked = known is not None and known.unfinished
        if part.verdict in (Verdict.EXTEND, Verdict.RELOCATE):
            assert known is not None
            self._document = self._writer.reopen(known.number, locator=part.locator)
            return
        if part.verdict is Verdict.SUPERSEDE:
            self._document = self._writer.begin(part.name, locator=part.locator, replace=True)
            self._supersede(part.known)
            return
        try:
            self._document = self._writer.begin(part.name, locator=part.locator)
        except UsageError:
            # It was not there before this run, so this run has made it.
            self._tally.skip(Skipped(part.name, TAKEN))
            self._document = None

    def _append(self, encoded: Encoded, piece: bytes, *, last: bool) -> None:
        if self._document is not None:
            self._document.append(encoded, piece, last=last)
            self._tally.tokens += len(encoded.ids)
            self._changed = True

    def _finish(self, part: Part) -> None:
        if self._document is None:
            return
        self._document.close(part.digest)
        self._document = None
        self._changed = True
        self._captions.written(part.name, image=False)
        if part.stamp is not None:
            self._writer.stamp(part.name, part.stamp)
        if self._marked:
            self._writer.stamp(marker_name(part.name), None)
        if part.verdict is Verdict.ADD:
            self._tally.added += 1
        elif part.verdict is Verdict.SUPERSEDE:
            self._tally.superseded += 1
        elif part.verdict is Verdict.EXTEND:
            self._tally.extended += 1
        else:
            self._tally.unchanged += 1
