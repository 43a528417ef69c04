"""What is in a file that is no container?  A text, or nothing for us."""

from __future__ import annotations

from collections.abc import Iterator

from mctree.sources.files import RegularFile, read_head, text_document
from mctree.sources.protocol import RawDocument, Skipped

__all__ = ["plain_documents"]


def plain_documents(file: RegularFile) -> Iterator[RawDocument | Skipped]:
    """The file as one document, unless it is binary."""
    head = read_head(file)
    yield head if isinstance(head, Skipped) else text_document(file, head)
