"""How does a source become jobs?  Item by item: what is as it was is passed over, the rest is read and judged.

A document of at most `hold` bytes is read whole before anything is decided, so that one which cannot be read leaves no
trace.  A longer one that the store knows in another form is read twice: to judge it, and to tokenize what is new of
it.  So memory holds `hold` bytes of one document and one job, whatever is read.  Of an image at most the bytes of its
file are looked at here; its pixels are read by whoever writes it.

Of two documents of one name the first one counts; the other is reported.  Images and texts whose names make the one the
caption of the other are named to the writer once both have come up, if either has changed.

It does not assume that a source ends: nothing follows from what did not come up before `jobs` is exhausted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain

from mctree.errors import SourceError
from mctree.format.facts import Stamp
from mctree.ingest.jobs import ImagePart, Job, Part
from mctree.ingest.numbers import Numbers
from mctree.ingest.plan import (
    Digest,
    Known,
    Sighting,
    Verdict,
    content_of,
    judge,
    judge_image,
    settled,
    speaks_of,
    stamp_of,
)
from mctree.ingest.recalling import Memory
from mctree.ingest.report import TAKEN, Tally, failed
from mctree.ingest.utf8 import Utf8
from mctree.sources import Item, RawDocument, RawImage, Skipped, Source, cut_pieces, path_of
from mctree.sources.images.companions import Companions
from mctree.sources.images.uris import file_uri

__all__ = ["Reader"]

_PIECE = 1 << 18
_JOB = 1 << 18
_COUNT_BYTES = 8
_WRITTEN = frozenset((Verdict.ADD, Verdict.EXTEND, Verdict.SUPERSEDE))
"""What leaves another document than before."""


class Reader:
    """Turns a source into jobs; iterate `jobs` once.

    Args:
        source: where documents come from.
        memory: the store as it was before the run.
        tally: counts what needs no job.
        advance: told of bytes of input that are dealt with without a job.
        passed: told of bytes of input that are passed over because they give no document.
        reading: 16 bytes that stand for how containers are read.
        hold: a document with more bytes than this is long.
        images: whether the source hands over images; else those that are there are not what the source says.
        captions: name all captions, those of what has not changed, too.

    Attributes:
        seen: the documents of the store as it was whose inputs came up.
    """

    def __init__(
        self,
        source: Source,
        memory: Memory,
        tally: Tally,
        advance: Callable[[int], None],
        passed: Callable[[int], None],
        *,
        reading: bytes,
        hold: int,
        images: bool = True,
        captions: bool = False,
    ) -> None:
        self.seen = Numbers()
        self._source = source
        self._memory = memory
        self._tally = tally
        self._advance = advance
        self._pass = passed
        self._reading = reading
        self._hold = hold
        self._images = images
        self._companions = Companions()
        self._captions = captions
        self._job = Job()
        self._left: int | None = None
        self._passed: list[bytes] = []

    def jobs(self) -> Generator[Job, None, None]:
        """Everything that is to be written, in the source's order."""
        for found in self._source:
            if isinstance(found, Skipped):
                self._tally.skip(found)
                continue
            self._left = None if found.stamp is None else found.stamp.size
            fruitful = yield from self._container(found) if found.container else self._plain(found)
            if fruitful:
                self._handle(self._left or 0)
            elif self._left:
                self._pass(self._left)
        if self._job:
            yield self._taken()

    # Items

    def _plain(self, item: Item) -> Generator[Job, None, bool]:
        """Read a file, if it must be read; whether it is a document of the store."""
        before, known = self._memory.recall(item.name)
        if known is not None and known.locator and self._is_in_passed(item.name):
            self._tally.skip(Skipped(item.name, TAKEN))
            return False
        as_before = speaks_of(before, known) and settled(before, item.stamp)
        if known is not None and as_before and (not known.image or (known.whole and self._stays(item.name, known))):
            if self.seen.add(known.number):
                self._tally.unchanged += 1
            self._accompany(item.name, image=known.image, folder=item.folder)
            return True
        sighting = None if item.stamp is None else Sighting(item.stamp, time.time_ns(), before)
        done: Verdict | None = None
        try:
            for found in item.documents():
                if isinstance(found, Skipped):
                    self._tally.skip(found)
                    continue
                image = isinstance(found, RawImage)
                done = yield from self._any(found, known, sighting)
                if done is not None:
                    self._accompany(item.name, image=image, folder=item.folder, changed=done in _WRITTEN)
        except SourceError as error:
            self._tally.skip(failed(item.name, error))
        return done is not None

    def _container(self, item: Item) -> Generator[Job, None, bool]:
        """Read a container, if it must be read; whether documents of the store lie in it."""
        before = self._memory.recall(item.name)[0]
        if before is not None and before.digest[:-_COUNT_BYTES] == self._reading and settled(before, item.stamp):
            self._tally.unchanged += int.from_bytes(before.digest[-_COUNT_BYTES:], "big")
            self._passed.append(item.name)
            return True
        seen_ns = time.time_ns()
        documents, readable = 0, True
        try:
            for found in item.documents():
                if isinstance(found, Skipped):
                    self._tally.skip(found)
                    readable = readable and found.name != item.name
                else:
                    done = yield from self._any(found, self._memory.recall(found.name)[1], None)
                    documents += done is not None
        except SourceError as error:
            # Each document was whole when it was read, so what came before stays; without a stamp it is read again.
            self._tally.skip(failed(item.name, error))
            return documents > 0
        if readable and item.stamp is not None:
            digest = self._reading + documents.to_bytes(_COUNT_BYTES, "big")
            self._restamp(item.name, stamp_of(item.stamp, seen_ns, digest, before))
        return documents > 0

    # Documents

    def _any(
        self, raw: RawDocument | RawImage, known: Known | None, sighting: Sighting | None
    ) -> Generator[Job, None, Verdict | None]:
        """Read and judge a document; what becomes of it, None if it is not in the store when its jobs are done."""
        if known is not None and not self.seen.add(known.number):
            self._tally.skip(Skipped(raw.name, TAKEN))
            return None
        if known is not None and known.foreign:
            reason = "an open document of this name is in the store: close it, or ingest under another name"
            self._tally.skip(Skipped(raw.name, reason))
            return None
        if isinstance(raw, RawImage):
            return (yield from self._image(raw, known, sighting))
        return (yield from self._text(raw, known, sighting))

    def _text(
        self, raw: RawDocument, known: Known | None, sighting: Sighting | None
    ) -> Generator[Job, None, Verdict | None]:
        """Read and judge a text; see `_any`."""
        digest = Digest(None if known is None else known.size)
        pieces = self._read(raw)
        held: list[bytes] = []
        again = known is not None and self._left is not None
        try:
            long = not self._take(pieces, digest, held)
            if long and again:
                held.clear()
                for piece in pieces:
                    digest.update(piece)
        except SourceError as error:
            self._tally.skip(failed(raw.name, error))
            return None
        if long and known is not None and not again:
            verdict = Verdict.SUPERSEDE  # it comes only once, and cannot be held: there is nothing to compare
        else:
            verdict = judge(known, raw.locator, digest.size, digest.prefix)
        if verdict is Verdict.KEEP:
            self._tally.unchanged += 1
            self._restamp(raw.name, None if sighting is None else sighting.stamp(digest.value))
            return verdict
        part = Part(raw.name, raw.locator, verdict, known, first=True, long=long)
        written = Digest()
        rest = self._read(raw) if long and again else chain(held, pieces) if long else iter(held)
        if known is not None and verdict is Verdict.EXTEND:
            rest = cut_pieces(_behind(rest, known.size, written), _PIECE)
        elif verdict is Verdict.RELOCATE:
            rest, long = iter(()), False
        yield from self._parts(part, rest, written, None if long else digest.value, sighting)
        return verdict

    def _image(
        self, raw: RawImage, known: Known | None, sighting: Sighting | None
    ) -> Generator[Job, None, Verdict | None]:
        """Judge an image; see `_any`.  Whether it can be read shows when it is written."""
        before = None if sighting is None else sighting.before
        content = content_of(before, known)
        at_rest = known is not None and sighting is not None and settled(before, sighting.seen)
        if known is not None and content and not (at_rest and self._stays(raw.name, known)):
            try:
                # Of parts of a large file a glance at it is on record; of what was read as a whole, all bytes.
                found = raw.glance()
                content = raw.digest() if raw.large and known.whole and found != content else found
            except SourceError as error:
                self._tally.skip(failed(raw.name, error, raw.path))
                return None
        verdict = judge_image(known, before, content)
        if self._job:
            yield self._taken()
        size, self._left = self._left or 0, 0
        yield Job(image=ImagePart(raw, verdict, known, sighting, content, size))
        return verdict

    def _parts(
        self, part: Part, pieces: Iterable[bytes], written: Digest, whole: bytes | None, sighting: Sighting | None
    ) -> Iterator[Job]:
        """Put what is new of a document into jobs; `whole` is its digest, if it is known by now."""
        text = Utf8(within=part.verdict is Verdict.EXTEND)
        try:
            for piece in pieces:
                text.update(piece)
                if self._job.full(_JOB):
                    if part.pieces:
                        part.digest = written.value
                        self._job.parts.append(part)
                        part = Part(part.name, part.locator, part.verdict, part.known, first=False, long=part.long)
                    yield self._taken()
                part.pieces.append(piece)
                self._job.size += len(piece)
                self._handle(len(piece))
                if whole is None:
                    written.update(piece)
        except SourceError as error:
            self._tally.skip(failed(part.name, error))
            if part.first:
                self._job.size -= sum(map(len, part.pieces))
                return
            part.broken = True
        else:
            part.last = True
            if not text.ended():
                self._tally.keep_raw(part.name)
        part.digest = written.value if whole is None else whole
        part.stamp = sighting.stamp(part.digest) if sighting is not None and part.last else None
        self._job.parts.append(part)
        if self._job.full(_JOB):
            yield self._taken()

    def _read(self, raw: RawDocument) -> Iterator[bytes]:
        for piece in raw.read(_PIECE):
            self._tally.bytes_read += len(piece)
            yield piece

    def _take(self, pieces: Iterator[bytes], digest: Digest, held: list[bytes]) -> bool:
        """Take the pieces of a document as far as memory allows; whether that were all."""
        for piece in pieces:
            digest.update(piece)
            held.append(piece)
            if digest.size > self._hold:
                return False
        return True

    # What the store knows, and what is to be recorded

    def _stays(self, name: bytes, known: Known) -> bool:
        """Whether an image whose input did not change is wanted still, and lies where the store says."""
        path = path_of(self._source, name)
        return self._images and (path is None or known.uri.partition("#")[0] == file_uri(path, {}))

    def _accompany(self, name: bytes, *, image: bool = False, folder: bool = False, changed: bool = False) -> None:
        """Note what an input may be the caption of, or what may be its caption."""
        changed = changed or self._captions
        if image:
            self._job.captions += self._companions.image(name, changed=changed, folder=folder)
        else:
            self._job.captions += self._companions.text(name, changed=changed)

    def _is_in_passed(self, name: bytes) -> bool:
        """Whether a file is called like a document of a container that was passed over."""
        # Names come in order, so a container is not far before a file that is called like a document of it.
        while self._passed and not name.startswith(self._passed[-1]):
            self._passed.pop()
        return any(name.startswith(container + b"#") for container in self._passed)

    def _restamp(self, name: bytes, stamp: Stamp | None) -> None:
        if stamp is not None:
            self._job.stamps.append((name, stamp))

    def _handle(self, size: int) -> None:
        if self._left is not None:
            size = min(size, self._left)
            self._left -= size
        if self._job:
            self._job.handled += size
        elif size:
            self._advance(size)

    def _taken(self) -> Job:
        job, self._job = self._job, Job()
        return job


def _behind(pieces: Iterable[bytes], size: int, dropped: Digest) -> Iterator[bytes]:
    """What follows the first `size` bytes; the digest takes those, before anything comes out."""
    left = size
    for piece in pieces:
        if left:
            inside = min(left, len(piece))
            dropped.update(piece[:inside])
            left -= inside
            if inside < len(piece):
                yield piece[inside:]
        else:
            yield piece
