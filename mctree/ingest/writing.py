"""How do tokenized jobs become commits?  In order, one document after the other, a batch to a commit.

A batch is so many bytes of input, where each document and each stamp counts for some bytes as well.  It ends at the
end of a document if the document is not long; so no commit holds a part of a document, but for the last one of a long
document, which is open and marked as ours (see `plan`).  Where a batch ends follows from the jobs alone.

Stamps are recorded with the documents that they speak of.  If nothing but stamps is new, no commit is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from mctree.encoders import Encoded
from mctree.errors import UsageError
from mctree.ingest.jobs import Job, Part
from mctree.ingest.plan import Verdict, marker_name, marker_stamp
from mctree.ingest.report import Tally
from mctree.sources import Skipped
from mctree.tree import OpenDocument, Writer

__all__ = ["Scribe"]

_ENTRY_BYTES = 512
_REMOVAL_BYTES = 4096


class Scribe:
    """Writes jobs, and commits.

    Args:
        writer: the tree's writer.
        tally: counts what is written.
        batch: bytes to a commit.
    """

    def __init__(self, writer: Writer, tally: Tally, batch: int) -> None:
        self._writer = writer
        self._tally = tally
        self._batch = batch
        self._weight = 0
        self._changed = False
        self._committed = False
        self._document: OpenDocument | None = None
        self._marked: bytes | None = None

    def write(self, job: Job, encoded: Sequence[Encoded]) -> None:
        """Write a job, and make a commit if the batch is full.

        Args:
            job: the next one.
            encoded: the tokens of its pieces.
        """
        tokens = iter(encoded)
        for part in job.parts:
            if part.first:
                self._begin(part)
            for piece in part.pieces:
                self._append(next(tokens), piece)
            if part.last:
                self._finish(part)
            elif part.broken:
                self._mark(part)
                self._document = None
        for name, stamp in job.stamps:
            self._writer.stamp(name, stamp)
        self._weight += job.size + _ENTRY_BYTES * job.entries
        if self._weight >= self._batch:
            last = job.parts[-1] if job.parts else None
            if last is not None and last.long and self._document is not None:
                self._mark(last)
                self.commit()
            elif self._document is None:
                self.commit()

    def remove(self, number: int, stamped: Sequence[bytes]) -> None:
        """Remove a document, and forget the stamps of its inputs."""
        self._writer.remove(number)
        for name in stamped:
            self._writer.stamp(name, None)
        self._tally.removed += 1
        self._changed = True
        self._weight += _REMOVAL_BYTES
        if self._weight >= self._batch:
            self.commit()

    def commit(self) -> None:
        """End the batch."""
        if self._changed:
            self._writer.commit()
            self._committed = True
        else:
            self._writer.keep_stamps()
        self._weight = 0
        self._changed = False

    def finish(self) -> None:
        """End the last batch, and make the gists that wait, unless nothing was written at all."""
        self.commit()
        if self._committed:
            self._writer.commit(gists=True)

    def _begin(self, part: Part) -> None:
        known = part.known
        self._marked = part.name if known is not None and known.unfinished else None
        if part.verdict in (Verdict.EXTEND, Verdict.RELOCATE):
            assert known is not None
            self._document = self._writer.reopen(known.number, locator=part.locator)
            return
        if part.verdict is Verdict.SUPERSEDE:
            self._document = self._writer.begin(part.name, locator=part.locator, replace=True)
            return
        try:
            self._document = self._writer.begin(part.name, locator=part.locator)
        except UsageError:
            # It was not there before this run, so this run has made it.
            self._tally.skip(Skipped(part.name, "another document of this run has the same name"))
            self._document = None

    def _append(self, encoded: Encoded, piece: bytes) -> None:
        if self._document is not None:
            self._document.append(encoded, piece)
            self._tally.tokens += len(encoded.ids)
            self._changed = True

    def _finish(self, part: Part) -> None:
        if self._document is None:
            return
        self._document.close(part.digest)
        self._document = None
        self._changed = True
        if part.stamp is not None:
            self._writer.stamp(part.name, part.stamp)
        if self._marked is not None:
            self._writer.stamp(marker_name(self._marked), None)
            self._marked = None
        if part.verdict is Verdict.ADD:
            self._tally.added += 1
        elif part.verdict is Verdict.SUPERSEDE:
            self._tally.superseded += 1
        elif part.verdict is Verdict.EXTEND:
            self._tally.extended += 1
        else:
            self._tally.unchanged += 1

    def _mark(self, part: Part) -> None:
        if self._document is not None:
            self._marked = part.name
            self._writer.stamp(marker_name(part.name), marker_stamp(self._document.size, part.digest))
