"""How does an image become a document?  Opened, looked at, painted block by block, and stamped.

An image is refused before anything is written of it, where that can be: its header says no, or its first pixels cannot
be read.  A large one is committed on the way, at a batch of pixels each, and whoever is broken off goes on from there
with the next run, which finds it begun.  Between two blocks Ctrl-C may strike: what is not committed is taken back.

A store that has gists gets some of its images, too.  An encoder takes pixels of so many channels, so images of each
number of channels have a set of their own, which is begun with the first such image.  Who drops it is not overruled.

Of an image only a part may be wanted.  It is added to what is there of the very same image, as its fingerprint tells;
and whoever wants all of it later gets the rest.  An image that may not be whole has no stamp, so that it is looked at
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from mctree.encoders import CosineEncoder
from mctree.errors import SourceError, UsageError
from mctree.ingest.interrupts import Held
from mctree.ingest.jobs import ImagePart
from mctree.ingest.partial import PartWanted
from mctree.ingest.plan import Known, Verdict, image_digest, marker_name
from mctree.ingest.report import Tally, failed
from mctree.sources.images import Access, Box, ImageSource, Pixels
from mctree.sources.names import shown
from mctree.tree import Snapshot, Tree, Writer
from mctree.tree.sets import begin_gists

__all__ = ["SET_NAME", "ImageScribe", "Written"]

SET_NAME = "images-{channels}"
"""Of the gist set of images with so many channels."""

_IMAGES_SINCE = 2
"""The format of stores from which on they hold images."""
_BLOCK_SIDE = 1 << 10
"""Of what is read at once of an image, and made into rows by one thread."""
_BYTES_A_BYTE = 8
"""So many bytes of pixels count as one of text: they cost about as much to read, and to hold until a commit."""


@dataclass(frozen=True, slots=True)
class Written:
    """What has become of an image.

    Attributes:
        weight: how many bytes of text it counts as.
        superseded: whether the image that was known before dies with the next commit.
    """

    weight: int
    superseded: bool = False


class ImageScribe:
    """Writes images.

    Args:
        tree: what is written to.
        writer: its writer.
        tally: counts what is written.
        batch: bytes of input to a commit.
        workers: threads that make rows of blocks.
        wanted: how much of the image, of which there is one only if that is not all of it.
        held: the block that all of this runs in.
        advance: told of bytes of input that are dealt with.
        passed: told of bytes of input that are passed over.
    """

    def __init__(
        self,
        tree: Tree,
        writer: Writer,
        tally: Tally,
        *,
        batch: int,
        workers: int,
        wanted: PartWanted,
        held: Held,
        advance: Callable[[int], None],
        passed: Callable[[int], None],
    ) -> None:
        self._tree = tree
        self._writer = writer
        self._tally = tally
        self._batch = batch
        self._workers = workers
        self._wanted = wanted
        self._held = held
        self._advance = advance
        self._pass = passed
        self._failed: set[bytes] = set()

    def write(self, part: ImagePart) -> Written | None:
        """Write an image; what cannot be is reported.

        Returns:
            What has become of it; None if the next commit has nothing to say of it.

        Raises:
            SourceError: only a part of it is wanted, and it cannot be read.
            UsageError: only a part of it is wanted, and cannot be had.
        """
        watched: _Watched | None = None
        try:
            with closing(part.raw.open()) as source:
                watched = _Watched(source, part.size, self._advance, self._held)
                written = self._write(part, watched)
        except (SourceError, UsageError) as error:
            if self._wanted:
                raise
            self._tally.skip(failed(part.raw.name, error, part.raw.path))
            self._failed.add(part.raw.name)
            self._pass(part.size - (watched.advanced if watched is not None else 0))
            return None
        self._advance(part.size - watched.advanced)
        return written

    def forget_vanished(self, gone: Callable[[bytes], bool]) -> bool:
        """Let images be gone that were begun by an earlier run and have no input any more; whether there were any.

        Args:
            gone: whether what did not come up has vanished.
        """
        unfinished = self._writer.snapshot.gallery.unfinished() if self._writer.snapshot.record.arena else {}
        vanished = [name for name in unfinished if name not in self._failed and gone(name)]
        for name in vanished:
            self._writer.forget_image(name)
        return bool(vanished)

    def _write(self, part: ImagePart, source: _Watched) -> Written | None:
        name, known = part.raw.name, part.known
        if part.verdict is Verdict.RELOCATE:
            assert known is not None, "what is relocated is there"
            as_before = (source.uri, source.fingerprint.encode()) == (known.uri, known.digest)
            if not as_before:
                self._writer.relocate_image(known.number, source)
            self._stamp(part, source, part.content)
            self._tally.unchanged += 1
            return None if as_before else Written(0)
        if known is not None and _goes_on(part, source):
            return self._go_on(part, known, source)
        source.probe()
        self._begin_set(source.channels)
        self._writer.add_image(
            name,
            source,
            replace=part.verdict is Verdict.SUPERSEDE,
            region=self._wanted.region,
            finest=self._wanted.finest,
            commit_every=self._blocks_a_commit(source),
            workers=self._workers_for(source),
        )
        self._stamp(part, source, part.content)
        if known is not None and known.unfinished:
            self._writer.stamp(marker_name(name), None)
        self._tally.images += 1
        self._tally.pixels += source.pixels
        self._tally.bytes_read += part.size
        if part.verdict is Verdict.SUPERSEDE:
            self._tally.superseded += 1
        else:
            self._tally.added += 1
        return Written(source.weight, superseded=part.verdict is Verdict.SUPERSEDE)

    def _go_on(self, part: ImagePart, known: Known, source: _Watched) -> Written | None:
        """Take what is wanted of an image of which something is there."""
        region, finest, name = self._wanted.region, self._wanted.finest, shown(part.raw.name)
        every, workers = self._blocks_a_commit(source), self._workers_for(source)
        if finest:
            whole = Box(0, 0, source.width, source.height)
            looked = Box(*self._writer.snapshot.image(known.number).record.region)
            if not looked.holds(whole if region is None else region):
                raise UsageError(
                    f"of {name} only {looked} is there so far: what lies beside it is taken down to its pixels, so "
                    "name no finest level"
                )
            more = bool(
                self._writer.deepen_image(
                    known.number, source, region=region, finest=finest, commit_every=every, workers=workers
                )
            )
        else:
            more = self._writer.extend_image(known.number, source, region=region, commit_every=every, workers=workers)
        self._stamp(part, source, part.content)
        self._tally.pixels += source.pixels
        if not more:
            self._tally.unchanged += 1
            return None
        self._tally.bytes_read += part.size
        self._tally.extended += 1
        return Written(source.weight)

    def _blocks_a_commit(self, source: _Watched) -> int:
        return max(self._batch * _BYTES_A_BYTE // (_BLOCK_SIDE**2 * source.one_pixel), 1)

    def _workers_for(self, source: _Watched) -> int:
        return min(self._workers, -(-source.height // _BLOCK_SIDE) * -(-source.width // _BLOCK_SIDE))

    def _stamp(self, part: ImagePart, source: ImageSource, content: bytes) -> None:
        """Record what was seen of an image's input; where that has changed meanwhile, the next run will see it."""
        if part.sighting is None:
            return
        if self._wanted:
            self._writer.stamp(part.raw.name, None)
            return
        try:
            content = content or part.raw.digest()
        except SourceError:
            return
        stamp = part.sighting.stamp(image_digest(content, source.fingerprint))
        if stamp is not None:
            self._writer.stamp(part.raw.name, stamp)

    def _begin_set(self, channels: int) -> None:
        snapshot = self._writer.snapshot
        if snapshot.store.meta.format < _IMAGES_SINCE or not (views := snapshot.gist_sets()):
            return
        if (snapshot.gallery.places.grafts["channels"] == channels).any():
            return
        for view in views:
            encoder = self._tree.visual_encoder(view.record)
            if encoder is not None and encoder.channels == channels:
                return
        begin_gists(self._writer, CosineEncoder(channels), _free_name(snapshot, channels), default=False)


def _free_name(snapshot: Snapshot, channels: int) -> str:
    taken = {view.name for view in snapshot.gist_sets()}
    name = SET_NAME.format(channels=channels)
    return name if name not in taken else next(n for i in range(2, len(taken) + 3) if (n := f"{name}-{i}") not in taken)


def _goes_on(part: ImagePart, source: ImageSource) -> bool:
    """Whether an image is the one that is there, of which nobody says that it is whole: that would be its stamp."""
    known, sighting = part.known, part.sighting
    if known is None or sighting is None or sighting.before is not None:
        return False
    return (source.uri, source.fingerprint.encode()) == (known.uri, known.digest)


class _Watched:
    """An image that tells how far it was read, and lets Ctrl-C strike between two reads.

    Attributes:
        advanced: bytes of input that were told of.
        pixels: that were read.
        one_pixel: its bytes.
    """

    def __init__(self, source: ImageSource, size: int, advance: Callable[[int], None], held: Held) -> None:
        self.uri, self.height, self.width = source.uri, source.height, source.width
        self.channels, self.dtype, self.levels = source.channels, source.dtype, source.levels
        self.access: Access = source.access
        self.fingerprint = source.fingerprint
        self.one_pixel = source.channels * np.dtype(source.dtype).itemsize
        self.advanced = self.pixels = 0
        self._source = source
        self._size = size
        self._advance = advance
        self._held = held

    @property
    def weight(self) -> int:
        """How many bytes of text what was read of it counts as."""
        return self.pixels * self.one_pixel // _BYTES_A_BYTE

    def probe(self) -> None:
        """Read a pixel of it, if there are any: of a picture that is decoded in one piece, that takes all of it.

        Raises:
            SourceError: it cannot be read.
        """
        found = next(self._source.covered(Box(0, 0, self.width, self.height)), None)
        if found is not None:
            self._source.read(Box(found.x0, found.y0, found.x0 + 1, found.y0 + 1))

    def read(self, box: Box, level: int = 0) -> Pixels:
        """The pixels of a box."""
        self._held.allow()
        pixels = self._source.read(box, level)
        self.pixels += box.area
        share = self._size * self.pixels // (self.height * self.width) - self.advanced
        self.advanced += share
        self._advance(share)
        return pixels

    def covered(self, box: Box, level: int = 0) -> Iterator[Box]:
        """Where in a box there may be pixels."""
        return self._source.covered(box, level)

    def close(self) -> None:
        """Whoever opened the source closes it."""
