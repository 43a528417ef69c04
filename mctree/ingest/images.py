"""How does an image become a document?  Opened, looked at, painted block by block, and stamped.

An image is refused before anything is written of it, where that can be: its header says no, or its first pixels cannot
be read.  A large one is committed on the way, at a batch of pixels each, and whoever is broken off goes on from there
with the next run, which finds it begun.  Between two blocks Ctrl-C may strike: what is not committed is taken back.

A store that has gists gets some of its images, too.  An encoder takes pixels of so many channels, so images of each
number of channels have a set of their own, which is begun with the first such image.  Who drops it is not overruled.

Of an image only a part may be wanted.  It is added to what is there of the very same image (`plan` says which that is);
and whoever wants all of it later gets the rest.  Whatever is there stays, unless the file holds another image now.

What the file holds tells whether it is the same, not its times alone: so a part that is there has a stamp like any
image, and one that is begun has a marker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from mctree.encoders import CosineEncoder
from mctree.errors import SourceError, UsageError
from mctree.format.facts import Stamp
from mctree.ingest.digesting import Digesting
from mctree.ingest.interrupts import Held
from mctree.ingest.jobs import ImagePart
from mctree.ingest.partial import PartWanted, is_there, lacks_sizes
from mctree.ingest.plan import (
    Known,
    Sighting,
    Verdict,
    begun_name,
    content_for,
    image_digest,
    is_as_recorded,
    marker_name,
    settled,
)
from mctree.ingest.report import Tally, failed
from mctree.ingest.watched import BYTES_A_BYTE, Watched
from mctree.processes import Processes
from mctree.sources.images import Box, ImageSource
from mctree.sources.names import shown
from mctree.tree import Snapshot, Tree, Writer
from mctree.tree.images.makers import Workers
from mctree.tree.sets import begin_gists

__all__ = ["SET_NAME", "ImageScribe", "Written"]

SET_NAME = "images-{channels}"
"""Of the gist set of images with so many channels."""

_IMAGES_SINCE = 2
"""The format of stores from which on they hold images."""
_BLOCK_SIDE = 1 << 10
"""Of what is read at once of an image, and made into rows by one thread."""
_LEAST_OF_A_BLOCK = 1 << 12
"""Bytes of input that stand for a block of pixels at least, if there are any in it."""


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
        workers: who makes rows of blocks: so many threads, or processes.
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
        workers: Workers,
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
        watched: Watched | None = None
        try:
            with closing(part.raw.open()) as source:
                watched = Watched(source, part.size, self._advance, self._held)
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
        vanished = [name for name in self._unfinished() if name not in self._failed and gone(name)]
        for name in vanished:
            self._writer.forget_image(name)
            self._writer.stamp(begun_name(name), None)
        return bool(vanished)

    def _write(self, part: ImagePart, source: Watched) -> Written | None:
        known, before = part.known, None if part.sighting is None else part.sighting.before
        same = part.verdict in (Verdict.RELOCATE, Verdict.EXTEND)
        if known is not None and (same or is_as_recorded(known, before, source.uri, source.fingerprint)):
            return self._go_on(part, known, source)
        return self._begin(part, source, replace=part.verdict is Verdict.SUPERSEDE)

    def _begin(self, part: ImagePart, source: Watched, *, replace: bool) -> Written:
        """Take what is wanted of an image of which nothing is there, or go on with one that was begun."""
        name, known = part.raw.name, part.known
        source.probe(self._wanted.region, self._wanted.finest)
        workers = self._workers_for(source)
        self._begin_set(source.channels)
        with self._looking(part, source) as content_of:
            self._writer.add_image(
                name,
                source,
                replace=replace,
                region=self._wanted.region,
                finest=self._wanted.finest,
                commit_every=self._blocks_a_commit(source),
                workers=workers,
                stamps=lambda: self._marks(part, source, content_of()),
            )
            content = content_of()
        self._stamp(part, source, content)
        if content:
            self._writer.stamp(begun_name(name), None)
        if known is not None and known.unfinished:
            self._writer.stamp(marker_name(name), None)
        self._tally.images += 1
        self._tally.pixels += source.pixels
        self._tally.bytes_read += source.advanced if self._wanted else part.size
        if replace:
            self._tally.superseded += 1
        else:
            self._tally.added += 1
        return Written(source.weight, superseded=replace)

    def _go_on(self, part: ImagePart, known: Known, source: Watched) -> Written | None:
        """Take what is wanted of an image of which something is there, or all."""
        moved = (source.uri, source.fingerprint.encode()) != (known.uri, known.digest)
        if moved:
            self._writer.relocate_image(known.number, source)
        # Recorded before more of it comes, as that may be committed on the way.
        self._stamp(part, source, part.content)
        try:
            more = not known.whole and self._add_to(part, known, source)
        except SourceError as error:
            if not lacks_sizes(source):
                raise
            if self._wanted:
                raise SourceError(
                    f"{error}; ingest it without a region or a finest level, and it is superseded by an image made of "
                    "its pixels"
                ) from error
            return self._begin(part, source, replace=True)
        self._tally.pixels += source.pixels
        if not more:
            self._tally.unchanged += 1
            return Written(0) if moved else None
        self._tally.bytes_read += source.advanced
        self._tally.extended += 1
        return Written(source.weight)

    def _add_to(self, part: ImagePart, known: Known, source: Watched) -> bool:
        """Add what is wanted to a part of an image that is there; whether it was not there already."""
        region, finest, name = self._wanted.region, self._wanted.finest, shown(part.raw.name)
        every, workers = self._blocks_a_commit(source), self._workers_for(source)
        if not finest:
            return self._writer.extend_image(known.number, source, region=region, commit_every=every, workers=workers)
        image = self._writer.snapshot.image(known.number)
        asked = Box(0, 0, source.width, source.height) if region is None else region
        looked = Box(*image.record.region)
        if not looked.holds(asked):
            if is_there(image, source, asked):
                return False
            raise UsageError(
                f"of {name} a coarse view can be taken inside {looked}, and not all of {asked} lies there or is there "
                "in full: what lies beside it is taken down to its pixels, so name no finest level"
            )
        opened = self._writer.deepen_image(
            known.number, source, region=region, finest=finest, commit_every=every, workers=workers
        )
        return bool(opened)

    @contextmanager
    def _looking(self, part: ImagePart, source: Watched) -> Iterator[Callable[[], bytes]]:
        """Look at what the file of an image holds, if that may be committed on the way, or was.

        Processes paint meanwhile, unless the file could change without that its `stat` tells.  What was begun of
        another file of the same fingerprint is forgotten.

        Returns:
            What tells it, once it is known; empty if it was not looked at, or is no longer what was seen.
        """
        sighting, begun = part.sighting, part.raw.name in self._unfinished()
        if sighting is None or not (begun or self._blocks(source) > self._blocks_a_commit(source)):
            yield lambda: b""
        elif begun or self._wanted or not isinstance(self._workers, Processes) or not sighting.sure:
            content = self._content_of_begun(part, sighting, source) if begun else self._content(part)
            yield lambda: content
        else:
            with Digesting(part.raw.digest) as digesting:
                yield lambda: digesting.result(self._held.allow)

    def _content_of_begun(self, part: ImagePart, sighting: Sighting, source: Watched) -> bytes:
        """What the file of an image holds that was begun; if that was another file's, it is forgotten."""
        marker = self._writer.stamp_of(begun_name(part.raw.name))
        noted = content_for(marker, source.fingerprint.encode())
        content = noted if settled(marker, sighting.seen) else self._content(part)
        if noted and noted != content:
            self._writer.forget_image(part.raw.name)
        return content

    def _marks(self, part: ImagePart, source: Watched, content: bytes) -> dict[bytes, Stamp]:
        """The marker of an image that is committed on the way, by its name: what its file holds, if that is known."""
        if part.sighting is None or not content:
            return {}
        name = begun_name(part.raw.name)
        seen = Sighting(part.sighting.seen, part.sighting.seen_ns, self._writer.stamp_of(name))
        mark = seen.stamp(image_digest(content, source.fingerprint))
        return {} if mark is None else {name: mark}

    def _unfinished(self) -> Mapping[bytes, int]:
        """Images that were begun and are not finished, by name."""
        return self._writer.snapshot.gallery.unfinished() if self._writer.snapshot.record.arena else {}

    def _content(self, part: ImagePart) -> bytes:
        """What the file or folder of an image holds; empty if it is no longer what was seen.

        Of a large file of which a part is wanted, so that it may never be read as a whole, a glance has to do.
        """
        try:
            return part.raw.glance(self._held.allow) if self._wanted else part.raw.digest(self._held.allow)
        except SourceError:
            return b""

    def _blocks_a_commit(self, source: Watched) -> int:
        return max(self._batch * BYTES_A_BYTE // (_BLOCK_SIDE**2 * source.one_pixel), 1)

    def _blocks(self, source: Watched) -> int:
        return -(-source.height // _BLOCK_SIDE) * -(-source.width // _BLOCK_SIDE)

    def _workers_for(self, source: Watched) -> Workers:
        """Who makes rows of an image: as many as have something to do, who begin with it at once if it is much."""
        blocks = self._blocks(source)
        if not isinstance(self._workers, Processes):
            return min(self._workers, blocks)
        if blocks == 1:
            return 1
        if not self._wanted:
            self._workers.expect(min(blocks, source.size // _LEAST_OF_A_BLOCK))
        return self._workers

    def _stamp(self, part: ImagePart, source: ImageSource, content: bytes) -> None:
        """Record what was seen of an image's input; where that has changed meanwhile, the next run will see it."""
        if part.sighting is None or not (content := content or self._content(part)):
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
