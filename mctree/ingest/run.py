"""What happens from the paths to the report?  The store is prepared, the source read, what changed written.

Every step between two commits can be lost at any moment and is done again by the next run.  The writer's lock is taken
before anything is compared, so what is compared cannot change.  Documents whose inputs are gone are removed when, and
only when, everything was looked at to the end; they go with the last batch.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import BinaryIO, cast

from mctree.cores import cores
from mctree.encoders import Encoder, Tokenizer
from mctree.errors import UsageError
from mctree.format.facts import DocumentRecord
from mctree.ingest.captions import Captions
from mctree.ingest.images import ImageScribe
from mctree.ingest.interrupts import Interrupts
from mctree.ingest.partial import PartWanted, require_one_image
from mctree.ingest.pipeline import Tokenized
from mctree.ingest.preparing import EncoderChoice, Prepared, Purpose, TokenizerChoice, begin, is_new, prepare
from mctree.ingest.progress import Progress, SizeScan, Tracker
from mctree.ingest.reading import Reader
from mctree.ingest.recalling import Memory
from mctree.ingest.report import Report, Tally
from mctree.ingest.sample import Sample, SpooledInput, draw
from mctree.ingest.writing import Scribe
from mctree.processes import Processes
from mctree.sources import Format, Source, open_source
from mctree.sources.images import Box
from mctree.sources.images.bounded import MOST_PIXELS
from mctree.sources.told import Told
from mctree.tree import Snapshot, Tree, Writer
from mctree.tree.images.makers import Workers
from mctree.tree.images.overviews import Recipe
from mctree.tree.tree import CHUNK_BYTES

__all__ = ["ingest"]

_READING_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Input:
    """What to read, as often as it is asked for.

    Attributes:
        open: opens it anew, for one walk; given whether a store has an image of a name, beside that store.
        again: two walks do not disturb each other.
        reading: 16 bytes that stand for how containers are read.
        images: whether it may give images.
        spooled: standard input, where it may be read.
        text_field: the field that holds the text of a record.
    """

    open: Callable[[Callable[[bytes], bool]], Source]
    again: bool
    reading: bytes
    images: bool
    spooled: SpooledInput | None
    text_field: str

    def sample(self, size: int) -> Sample:
        """A sample of it, of so many bytes."""
        return draw(self.open(_no_image), self.spooled, size=size, text_field=self.text_field)


def ingest(
    paths: Sequence[str | os.PathLike[str]] | Source,
    store: str | os.PathLike[str],
    *,
    tokenizer: TokenizerChoice = None,
    encoder: EncoderChoice = None,
    names: Sequence[str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    ignore_files: bool = True,
    follow_symlinks: bool = False,
    format: Format = "auto",  # noqa: A002  # as `open_source` calls it
    text_field: str = "text",
    id_field: str | None = None,
    max_bytes: int | None = None,
    images: bool = True,
    max_pixels: int = MOST_PIXELS,
    region: Box | None = None,
    finest: int = 0,
    stdin: BinaryIO | None = None,
    keep_vanished: bool = False,
    workers: int | None = None,
    processes: bool | Processes = False,
    batch_bytes: int = 8 << 20,
    chunk_bytes: int = CHUNK_BYTES,
    on_event: Callable[[Progress], None] | None = None,
) -> Report:
    """Turn inputs into a tree, or bring a tree up to date with them.

    What did not change is not read, what grew is extended, what changed is superseded, what vanished is removed; inputs
    of other names in the store are left alone.  Breaking a run off loses at most the current batch, and the next run
    goes on.  Images are documents like texts; a text that is called as an image beside it is, `NAME.txt` or
    `NAME.png.txt` beside `NAME.png`, is linked to it as its caption.

    Args:
        paths: files, folders, `-` for standard input; or a `Source`, for which the options of `open_source` do not
            count.
        store: the store's path; it is made if nothing is there.
        tokenizer: of a new store: an object, "bytes", or the path of a `tokenizer.json`; None trains a byte-level one
            on a sample of the inputs.  An existing store keeps its own.
        encoder: of a new store: an object, "lexical", or "none"; None is "lexical".  An existing store keeps its own.
            A store that has gists gets some of its images, too, by `CosineEncoder` if it has no encoder of its own.
        names: see `mctree.sources.open_source`, as for all up to `stdin`.
        include: what to read of folders.
        exclude: what not to read.
        ignore_files: honour `.mctreeignore` and `.gitignore`.
        follow_symlinks: read what links lead to.
        format: how files are read.
        text_field: the field that holds the text of a record.
        id_field: the field that names a record.
        max_bytes: skip documents that are larger.
        images: read images as such; else they are skipped as binary.
        max_pixels: of an image: the most that are decoded in one piece.
        region: read only this part of the one image that is given, in pixels of its full size, widened to whole tiles.
            What is there already stays, be it a part or all of the image, if the bytes of its file are the same (of a
            folder: the names, sizes and times in it); a run without a region reads the rest.
        finest: of the one image that is given, make nodes of this level and those above alone, from the smaller
            versions that it has (see `Writer.add_image`).  What is finer there already stays, under the same
            condition; a run without it reads the rest.
        stdin: read instead of standard input.
        keep_vanished: keep documents whose inputs are gone.
        workers: how many cores to use; None for all that this process may run on.
        processes: use them for large images by processes, where threads hinder one another; the main module must be one
            that can be imported, as for `multiprocessing`.  Or processes to do that, one fewer than `workers`, which
            may have begun already.
        batch_bytes: bytes of input to a commit.
        chunk_bytes: wished size of chunk files of a new store.
        on_event: told how far the run is, in this thread.

    Raises:
        UsageError: an argument makes no sense, or contradicts the store.
        SourceError: an input does not exist, or the tokenizer cannot be read.
        LockedError: somebody else is writing to the store.
        KeyboardInterrupt: Ctrl-C; everything up to the last full batch is in the store.
    """
    began = time.monotonic()
    if batch_bytes < 1 or (workers is not None and workers < 1):
        raise UsageError("batch_bytes and workers are 1 or more")
    wanted = PartWanted(region, finest)
    if not (tokenizer is None or isinstance(tokenizer, str | os.PathLike | Tokenizer)):
        raise UsageError(f"a tokenizer is an object with the members of Tokenizer, or a path, not {_kind(tokenizer)}")
    if not (encoder is None or isinstance(encoder, str | Encoder)):
        raise UsageError(f"an encoder is an object with the members of Encoder, or a word, not {_kind(encoder)}")
    if isinstance(paths, Source):
        if wanted:
            raise UsageError("a region or a coarse view is taken of one image: give its path, and not a Source")
        given = _Input(lambda _: paths, False, _reading("source"), True, None, text_field)
    else:
        spooled, told = SpooledInput(_standard_input if stdin is None else lambda: stdin), Told()

        def opened(is_image: Callable[[bytes], bool]) -> Source:
            return open_source(
                paths,
                names=names,
                include=include,
                exclude=exclude,
                ignore_files=ignore_files,
                follow_symlinks=follow_symlinks,
                format=format,
                text_field=text_field,
                id_field=id_field,
                max_bytes=max_bytes,
                images=images,
                max_pixels=max_pixels,
                stdin=cast(BinaryIO, spooled),
                told=told.beside(is_image),
            )

        reading = _reading(format, text_field, id_field, max_bytes)
        given = _Input(opened, True, reading, images and format == "auto", spooled, text_field)
    source = given.open(_no_image)  # what cannot be opened is said before anything is made
    if wanted:
        require_one_image(source, wanted)
    tally = Tally()
    tracker = Tracker(tally, on_event)
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())

        def sample(size: int, purpose: Purpose) -> Sample:
            tracker.enter("sampling")
            drawn = given.sample(size)
            tracker.total = lambda: drawn.total
            tracker.enter(purpose)
            return drawn

        again = given.again and all(root.path is not None for root in source.roots)
        prepared = prepare(store, tokenizer, encoder, sample, again=again, chunk_bytes=chunk_bytes)
        stack.enter_context(prepared.tree)
        preparing_seconds = time.monotonic() - began
        workers = workers or cores()
        scanning = on_event is not None and given.again
        painters: Workers = workers
        if isinstance(processes, Processes):
            painters = processes
        elif processes and workers > 1:
            painters = stack.enter_context(_painters(workers - 1))
        run = _Run(given, wanted, scanning, workers, painters, batch_bytes, keep_vanished, tally, tracker, interrupts)
        before, after = run.sync(prepared)
    seconds = time.monotonic() - began
    return tally.report(seconds, None if prepared.made else before, after, preparing_seconds=preparing_seconds)


@dataclass(frozen=True, slots=True)
class _Run:
    """One walk over a source, and what is done on it.

    Attributes:
        given: what to read.
        wanted: how much of an image.
        scanning: whether to find out meanwhile how much it is.
        workers: how many cores to use.
        painters: who makes rows of images.
        batch: bytes of input to a commit.
        keep_vanished: keep documents whose inputs are gone.
        tally: what was done so far.
        tracker: told how far it is.
        interrupts: holds Ctrl-C back where a step must be whole.
    """

    given: _Input
    wanted: PartWanted
    scanning: bool
    workers: int
    painters: Workers
    batch: int
    keep_vanished: bool
    tally: Tally
    tracker: Tracker
    interrupts: Interrupts

    def sync(self, prepared: Prepared) -> tuple[int, int]:
        """Bring the tree up to date with the source; the newest commits before and after."""
        tree, held, tracker = prepared.tree, self.interrupts.held, self.tracker
        assert tree.tokenizer is not None, "the store was prepared for text"
        with closing(tree.writer()) as writer, tree.snapshot() as base, ExitStack() as stack:
            memory = Memory(base, held)
            source = self.given.open(memory.has_image)
            captions = Captions(writer, source.roots)
            scribe = Scribe(tree, writer, self._image_scribe(tree, writer), captions, self.tally, self.batch)
            reader = Reader(
                source,
                memory,
                self.tally,
                tracker.advance,
                tracker.pass_over,
                reading=self.given.reading,
                hold=self.batch,
                images=self.given.images,
                captions=captions.in_doubt,
            )
            with (
                closing(reader.jobs()) as jobs,
                closing(Tokenized(jobs, tree.tokenizer, self.workers, self.batch)) as ready,
            ):
                if prepared.encoder is not None and is_new(base):  # still, now that nobody else may write
                    ready.read_ahead()
                    tracker.enter("fitting")
                    encoder = prepared.encoder()
                    with held:
                        begin(writer, encoder)
                if self.scanning and tracker.total is None:
                    scan = SizeScan(self.given.open(memory.has_image))
                    stack.callback(scan.stop)
                    scan.start()
                    tracker.total = lambda: scan.total
                tracker.enter("ingesting")
                for job, encoded in ready:
                    with held:
                        scribe.write(job, encoded)
                    tracker.advance(job.handled)
            if not self.keep_vanished and len(reader.seen) < base.documents_count:
                tracker.enter("removing")
                self._remove_vanished(source, base, memory, reader, scribe)
            if not self.keep_vanished:
                with held:
                    scribe.forget_vanished(source.covers)
            tracker.enter("finishing")
            with held:
                scribe.finish()
            return base.commit, writer.snapshot.commit

    def _image_scribe(self, tree: Tree, writer: Writer) -> ImageScribe:
        return ImageScribe(
            tree,
            writer,
            self.tally,
            batch=self.batch,
            workers=self.painters,
            wanted=self.wanted,
            held=self.interrupts.held,
            advance=self.tracker.advance,
            passed=self.tracker.pass_over,
        )

    def _remove_vanished(self, source: Source, base: Snapshot, memory: Memory, reader: Reader, scribe: Scribe) -> None:
        live = base.sources()
        while True:
            with self.interrupts.held:
                entry = next(live, None)
                if entry is None:
                    return
                name, number, record = entry
                if number not in reader.seen and _is_gone(source, name, record, memory):
                    scribe.remove(number, name)


def _is_gone(source: Source, name: bytes, record: DocumentRecord, memory: Memory) -> bool:
    """Whether a document that no input stands for is this source's, so that its input has vanished."""
    return source.covers(name) and not (record.open and memory.is_foreign(name))


def _painters(count: int) -> Processes:
    """Processes that make rows of images, and import what that takes as they begin."""
    return Processes(count, modules=[Recipe.__module__])


def _no_image(name: bytes) -> bool:
    return False


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"


def _reading(*options: object) -> bytes:
    return hashlib.blake2b(repr(options).encode(), digest_size=_READING_BYTES).digest()


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("standard input is closed: pipe something into it, or name a file")
    return cast(BinaryIO, sys.stdin.buffer)
