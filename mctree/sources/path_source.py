"""Which items do the given paths make?  Folders, files and standard input, in the order given, each under its name."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from mctree.errors import SourceError
from mctree.sources.coverage import Coverage, Extent
from mctree.sources.directory import Walk
from mctree.sources.files import RegularFile, kind_of
from mctree.sources.folders import ImageFolder
from mctree.sources.ignore import Filter
from mctree.sources.jsonl import jsonl_documents, jsonl_file_documents
from mctree.sources.locating import Located
from mctree.sources.names import failure, shown
from mctree.sources.parquet import parquet_documents
from mctree.sources.plain import Images, folder_image, plain_documents
from mctree.sources.protocol import Item, RawDocument, RawImage, Root, Skipped
from mctree.sources.records import Fields
from mctree.sources.stdin import Stream, stream_documents
from mctree.sources.told import Told

__all__ = ["Format", "PathSource", "Reading"]

Format = Literal["auto", "text", "jsonl", "parquet"]

_ENDINGS: dict[bytes, Format] = {
    b".jsonl": "jsonl",
    b".ndjson": "jsonl",
    b".jsonl.gz": "jsonl",
    b".ndjson.gz": "jsonl",
    b".parquet": "parquet",
}

_Documents = Iterator[RawDocument | RawImage | Skipped]


@dataclass(frozen=True, slots=True)
class Reading:
    """How the bytes of a file become documents.

    Attributes:
        format: of every file; `auto` goes by the ending of its name.
        fields: what is read of each record.
        max_line: the longest line of JSONL, in bytes.
        images: how images are read; None: they are not.
    """

    format: Format
    fields: Fields
    max_line: int
    images: Images | None

    def chosen(self, name: bytes) -> Format:
        """The format of what bears this name; never `auto`."""
        if self.format != "auto":
            return self.format
        lower = name.lower()
        return next((kind for ending, kind in _ENDINGS.items() if lower.endswith(ending)), "text")

    def file_documents(self, file: RegularFile) -> _Documents:
        """The documents of a file."""
        kind = self.chosen(file.path)
        if kind == "jsonl":
            return jsonl_file_documents(file, self.fields, self.max_line)
        return parquet_documents(file, self.fields) if kind == "parquet" else plain_documents(file, self.images)

    def stream_documents(self, stream: Stream) -> _Documents:
        """The documents of standard input."""
        if self.format == "jsonl":
            return jsonl_documents(stream.name, stream.chunks(), self.fields, self.max_line)
        return stream_documents(stream)


class PathSource:
    """Folders, files and standard input as one source; made by `open_source`."""

    def __init__(
        self,
        located: Sequence[Located],
        wanted: Filter,
        reading: Reading,
        *,
        ignore_files: bool,
        follow: bool,
        stdin: BinaryIO | None,
        told: Told | None,
    ) -> None:
        self._located = tuple(located)
        self._wanted = wanted
        self._reading = reading
        self._ignore_files = ignore_files
        self._follow = follow
        self._stdin = stdin
        self._given = told
        self._told = Told() if told is None else told
        self._streams: dict[bytes, Stream] = {}
        self._coverage = Coverage()

    @property
    def roots(self) -> tuple[Root, ...]:
        """The paths that were given, absolute, and their names."""
        return tuple(Root(root.name, root.path) for root in self._located)

    def covers(self, name: bytes) -> bool:
        """Whether a document of this name would have been found if it still existed; see `Source.covers`."""
        return self._coverage.covers(name)

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Find everything anew; see `Source.__iter__`."""
        self._coverage = Coverage()
        self._told = Told() if self._given is None else self._given
        return self._found(self._coverage)

    def _found(self, coverage: Coverage) -> Iterator[Item | Skipped]:
        for root in self._located:
            if root.path is None:
                item = self._stream_item(root.name, coverage)
                yield item
                extent = Extent.CONTAINER if item.container else Extent.FILE
            elif root.folder:
                for found in self._walk(root.name, root.path, coverage):
                    yield found if isinstance(found, Skipped) else self._item(found, coverage)
                # A folder that is an image, or was one, bears its name itself.
                coverage.walked(root.name, Extent.FILE)
                extent = Extent.FOLDER
            else:
                yield self._single(root.name, root.path, coverage)
                extent = Extent.FILE if self._reading.chosen(root.path) == "text" else Extent.CONTAINER
            coverage.walked(root.name, extent)

    def _walk(self, name: bytes, path: bytes, coverage: Coverage) -> Walk:
        folders = frozenset(root.identity for root in self._located if root.folder and root.identity)
        return Walk(
            name,
            path,
            self._wanted,
            folders,
            coverage,
            ignore_files=self._ignore_files,
            follow=self._follow,
            told=self._told if self._reading.images is not None else None,
        )

    def _item(self, found: RegularFile | ImageFolder, coverage: Coverage) -> Item | Skipped:
        return self._file_item(found, coverage) if isinstance(found, RegularFile) else self._folder(found, coverage)

    def _folder(self, folder: ImageFolder, coverage: Coverage) -> Item | Skipped:
        images = self._reading.images
        assert images is not None, "no folder is an image where images are not wanted"
        try:
            stamp = self._told.stamp(folder)
        except SourceError as error:
            coverage.doubt(folder.name)
            return Skipped(folder.name, str(error).removeprefix(shown(folder.path)).lstrip("/ "), certain=False)
        limit = self._reading.fields.max_bytes
        if limit is not None and stamp.size > limit:
            return Skipped(folder.name, f"larger than {limit} bytes ({stamp.size})")
        return Item(folder.name, stamp, False, lambda: iter((folder_image(folder, stamp, images),)), folder=True)

    def _single(self, name: bytes, path: bytes, coverage: Coverage) -> Item | Skipped:
        try:
            status = os.stat(path)
        except OSError as error:
            coverage.doubt(name)
            return Skipped(name, f"cannot be examined: {failure(error)}", certain=False)
        if not stat.S_ISREG(status.st_mode):
            coverage.doubt(name)
            return Skipped(name, f"has become {kind_of(status)}", certain=False)
        return self._file_item(RegularFile.seen(name, path, status, linked=True), coverage)

    def _file_item(self, file: RegularFile, coverage: Coverage) -> Item | Skipped:
        container = self._reading.chosen(file.path) != "text"
        limit = self._reading.fields.max_bytes
        if not container and limit is not None and file.stamp.size > limit:
            return Skipped(file.name, f"larger than {limit} bytes ({file.stamp.size})")
        noted = _noted(file.name, container, coverage, lambda: self._reading.file_documents(file))
        return Item(file.name, file.stamp, container, noted)

    def _stream_item(self, name: bytes, coverage: Coverage) -> Item:
        container = self._reading.format == "jsonl"
        stream = self._streams.setdefault(name, Stream(name, self._stdin or _standard_input()))
        noted = _noted(name, container, coverage, lambda: self._reading.stream_documents(stream))
        return Item(name, None, container, noted)


def _noted(
    name: bytes, container: bool, coverage: Coverage, documents: Callable[[], _Documents]
) -> Callable[[], _Documents]:
    """Wrap an item's documents so that what is left in doubt, or unread, is noted."""
    if container:
        coverage.met(name)

    def watched() -> _Documents:
        certain = True
        for found in documents():
            if isinstance(found, Skipped) and not found.certain:
                certain = False
                coverage.doubt(found.name)
            yield found
        if certain:
            coverage.read(name)

    return watched


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise SourceError("standard input is closed: pipe something into it, or name a file")
    return cast(BinaryIO, sys.stdin.buffer)
