"""What is a corpus like?  A bounded sample of its text, spread evenly over all of it, without reading all of it.

The walk through the source marks places at equal distances in the corpus, as if all inputs lay end to end.  How long
it is shows only at the end, so the distance is doubled, and every second mark dropped, whenever there are too many;
what is left depends on names and sizes alone.  Each mark stands for an equal share of the sample.  An input that is no
longer than its marks' shares is taken whole.  Of a longer one a stretch is read at each mark: of JSONL, the record
that follows it.  An input that only opens at its start (Parquet, compressed JSONL) gives all shares from there.
Where most bytes are no text, most marks miss it; then the inputs give their starts instead, each as much as any other.
Images give nothing, but it is noted that there are some.  Standard input is sampled at its beginning, and handed on
whole.

A sample is only a sample: what cannot be read is passed over, and reported by the run itself when it comes to it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import BinaryIO

from mctree.errors import SourceError
from mctree.ingest.report import failed
from mctree.sources import Item, RawDocument, RawImage, Skipped, Source, cut_pieces, path_of

__all__ = ["Sample", "SpooledInput", "draw"]

_MARKS = 4096
_LONGEST_LINE = 1 << 20
_GROUP = 1 << 15
_CHUNK = 1 << 20
_CLOSED_FORMATS = (b"\x1f\x8b", b"PAR1")
_MISSED = 4
"""The marks count as having missed the text if they find less than this part of what is wanted."""
_SHORTEST_START = 1 << 12


@dataclass(frozen=True, slots=True)
class Sample:
    """Some text of a corpus.

    Attributes:
        texts: stretches of text, none of them empty.
        total: bytes of all inputs; None if that cannot be told.
        images: whether an image was met; where there is text enough, not all are looked for.
        skipped: the first thing met that gives no text, likewise.
        once: the name of the first input that can be read but once, so that nothing could be taken of it beforehand.
    """

    texts: Sequence[bytes]
    total: int | None
    images: bool = False
    skipped: Skipped | None = None
    once: bytes | None = None

    def thinned(self, size: int) -> list[bytes]:
        """About `size` bytes of it, spread over all of it."""
        step = max(sum(map(len, self.texts)) // size, 1)
        return list(self.texts[::step])


class SpooledInput(io.RawIOBase):
    """A stream that comes once, whose beginning can be looked at beforehand.

    Args:
        open_stream: gives the stream when it is first needed; it is not closed.
    """

    def __init__(self, open_stream: Callable[[], BinaryIO]) -> None:
        self._open_stream = open_stream
        self._held = bytearray()

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, fewer only if there are no more; `read` will still give them."""
        while len(self._held) < size and (chunk := self._stream.read(min(size - len(self._held), _CHUNK))):
            self._held += chunk
        return bytes(self._held[:size])

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or fewer; none at the end."""
        if not self._held:
            return self._stream.read(size)
        stop = len(self._held) if size < 0 else size
        part = bytes(self._held[:stop])
        del self._held[:stop]
        return part

    def readable(self) -> bool:
        """It is."""
        return True

    @cached_property
    def _stream(self) -> BinaryIO:
        return self._open_stream()


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place in an input: `place` bytes from the start of the corpus, `offset` from the start of the input."""

    item: Item
    place: int
    offset: int


@dataclass(slots=True)
class _Met:
    """What was met beside text: whether images were, the first thing that gives nothing, and the first of no size."""

    images: bool = False
    skipped: Skipped | None = None
    streamed: bytes | None = None

    def note(self, found: RawDocument | RawImage | Skipped) -> None:
        """Something was met."""
        self.images = self.images or isinstance(found, RawImage)
        if isinstance(found, Skipped):
            self.skipped = self.skipped or found


def draw(source: Source, spooled: SpooledInput | None, *, size: int, text_field: str) -> Sample:
    """Draw a sample.

    Args:
        source: walked to its end, up to three times; standard input is not touched.
        spooled: standard input, where the source reads it.
        size: how many bytes of text are wanted; a small corpus gives fewer.
        text_field: the field of a JSONL record that holds its text.

    Returns:
        The same for the same corpus.
    """
    met = _Met()
    marks, total, folders = _marked(source, met)
    streamed = met.streamed is not None
    wanted = size // 2 if marks and streamed else size
    texts = list(_grouped(_texts(source, marks, max(wanted // max(len(marks), 1), 1), wanted, text_field, met)))
    if sum(map(len, texts)) < min(wanted, total) // _MISSED:
        texts = list(_grouped(_starts(source, wanted, met)))
    if streamed and spooled is not None:
        texts += _grouped(_of_stream(spooled.peek(wanted), text_field))
    once = met.streamed if spooled is None else None
    return Sample(texts, None if streamed else total + folders, met.images or folders > 0, met.skipped, once)


def _marked(source: Source, met: _Met) -> tuple[list[_Mark], int, int]:
    """Places at equal distances, bytes of all files, and of folders that are images."""
    marks: list[_Mark] = []
    stride, place, total, folders = 1, 0, 0, 0
    for found in source:
        if isinstance(found, Skipped):
            met.note(found)
            continue
        if found.stamp is None:
            met.streamed = met.streamed or found.name
            continue
        if found.folder:
            folders += found.stamp.size
            continue
        stop = total + found.stamp.size
        while place < stop:
            marks.append(_Mark(found, place, place - total))
            place += stride
            if len(marks) > _MARKS:
                stride *= 2
                marks = [mark for mark in marks if mark.place % stride == 0]
                place = -(-place // stride) * stride
        total = stop
    return marks, total, folders


def _grouped(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Short texts joined to longer ones: what is made of a sample costs something for each."""
    group: list[bytes] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _GROUP:
            yield b"\n".join(group)
            group, size = [], 0
    if size:
        yield b"\n".join(group)


def _texts(source: Source, marks: list[_Mark], share: int, most: int, text_field: str, met: _Met) -> Iterator[bytes]:
    """The texts that the marks stand for, `share` bytes each, together at most `most`."""
    left = most
    for _, group in groupby(marks, lambda mark: mark.item.name):
        for text in _of_item(source, list(group), share, text_field, met):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def _starts(source: Source, most: int, met: _Met) -> Iterator[bytes]:
    """The starts of all inputs that have a size, together at most `most` bytes."""
    items = sum(_may_be_text(found) for found in source)
    share, left = max(most // max(items, 1), _SHORTEST_START), most
    for found in source:
        if isinstance(found, Skipped) or not _may_be_text(found):
            continue
        for text in _from_start(found, min(share, left), met):
            yield text
            left -= len(text)
        if left <= 0:
            return


def _may_be_text(found: Item | Skipped) -> bool:
    """Whether it is an input that can be read more than once, and that might be text."""
    return not isinstance(found, Skipped) and found.stamp is not None and not found.folder


def _of_item(source: Source, marks: list[_Mark], share: int, text_field: str, met: _Met) -> Iterator[bytes]:
    """The texts that the marks of one input stand for."""
    item, path = marks[0].item, path_of(source, marks[0].item.name)
    assert item.stamp is not None, "marks lie in inputs that have a size"
    if path is None or item.stamp.size <= share * len(marks) or _is_closed(path, item):
        yield from _from_start(item, share * len(marks), met)
        return
    if not item.container and not _is_text(item, met):
        return
    with suppress(OSError), _opened(path) as file:
        if not _is_seen(file, item):
            return
        for mark in marks:
            yield _record(file, mark, share, text_field) if item.container else _window(file, mark, share)


def _is_text(item: Item, met: _Met) -> bool:
    """Whether a plain file is handed over as text: its start says so, where a stretch of it may look like one."""
    try:
        for found in item.documents():
            met.note(found)
            return isinstance(found, RawDocument)
    except SourceError as error:
        met.note(failed(item.name, error))
    return False


def _opened(path: bytes) -> io.FileIO:
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb", buffering=0)


def _is_closed(path: bytes, item: Item) -> bool:
    """Whether a container only opens at its start."""
    if item.container:
        with suppress(OSError), _opened(path) as file:
            return os.pread(file.fileno(), 4, 0).startswith(_CLOSED_FORMATS)
    return False


def _is_seen(file: io.FileIO, item: Item) -> bool:
    status = os.fstat(file.fileno())
    return item.stamp is not None and (status.st_ino, status.st_ctime_ns) == (item.stamp.inode, item.stamp.ctime_ns)


def _window(file: io.FileIO, mark: _Mark, size: int) -> bytes:
    """A stretch of a plain file from the mark on, or up to its end; nothing if it is binary."""
    end = os.fstat(file.fileno()).st_size
    text = os.pread(file.fileno(), size, max(min(mark.offset, end - size), 0))
    return b"" if b"\0" in text else text


def _record(file: io.FileIO, mark: _Mark, size: int, text_field: str) -> bytes:
    """The start of the text of the next record of a JSONL file."""
    file.seek(mark.offset)
    lines = io.BufferedReader(file)
    try:
        if mark.offset:
            lines.readline(_LONGEST_LINE)
        return _text_of(lines.readline(_LONGEST_LINE), text_field)[:size]
    finally:
        lines.detach()


def _text_of(line: bytes, text_field: str) -> bytes:
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        text = record.get(text_field) if isinstance(record, dict) else None
        if isinstance(text, str):
            return text.encode("utf-8", "surrogatepass")
    return b""


def _from_start(item: Item, size: int, met: _Met) -> Iterator[bytes]:
    left = size
    try:
        for found in item.documents():
            met.note(found)
            if not isinstance(found, RawDocument):
                continue
            for piece in found.read():
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return
    except SourceError as error:
        met.note(failed(item.name, error))


def _of_stream(head: bytes, text_field: str) -> Iterable[bytes]:
    """The texts at the start of a stream: of its records if it holds JSON Lines, else itself in pieces."""
    if head.lstrip()[:1] == b"{":
        texts = [_text_of(line, text_field) for line in head.splitlines()]
        if any(texts):
            return texts
    return cut_pieces([head], _GROUP)
