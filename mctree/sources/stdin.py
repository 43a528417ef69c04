"""How is standard input read?  Once, as it comes, as one document or as JSONL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from mctree.errors import SourceError
from mctree.sources.files import CHUNK, HEAD, is_binary
from mctree.sources.names import failure, shown
from mctree.sources.protocol import RawDocument, Skipped

__all__ = ["Stream", "stream_documents"]


class Stream:
    """Bytes that come once.

    Args:
        name: what they are called.
        file: where they come from; it is not closed.
    """

    def __init__(self, name: bytes, file: BinaryIO) -> None:
        self.name = name
        self._file = file
        self._spent = False

    def chunks(self) -> Iterator[bytes]:
        """All bytes.

        Raises:
            SourceError: they were asked for before, or reading failed.
        """
        if self._spent:
            raise SourceError(f"{shown(self.name)} was read already, and comes only once: put it in a file")
        self._spent = True
        try:
            while chunk := self._file.read(CHUNK):
                yield chunk
        except OSError as error:
            raise SourceError(f"{shown(self.name)} cannot be read: {failure(error)}") from error


def stream_documents(stream: Stream) -> Iterator[RawDocument | Skipped]:
    """The stream as one document, which can be read once, unless it is binary or nothing came."""
    chunks = stream.chunks()
    head = b""
    while len(head) < HEAD and (chunk := next(chunks, b"")):
        head += chunk
    if is_binary(head):
        yield Skipped(stream.name, "binary")
        return
    if not head:
        # More likely a command that failed before it wrote anything than a document that is empty now.
        yield Skipped(stream.name, "empty: nothing came in", certain=False)
        return
    spent: list[bytes] = []

    def once() -> Iterator[bytes]:
        if spent:
            yield from stream.chunks()
        spent.append(stream.name)
        yield from chain((head,), chunks)

    yield RawDocument(stream.name, {}, once)
