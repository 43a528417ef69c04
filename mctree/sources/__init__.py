"""Where text and images come from: folders, files, JSONL, Parquet and standard input, as one stream of raw documents.

    source = open_source(["corpus/", "extra.jsonl"], images=True)
    for found in source:
        if isinstance(found, Skipped):
            ...                                   # found.name, found.reason
        else:
            for document in found.documents():    # RawDocument, RawImage or Skipped
                ...                               # a text's `read()` gives its bytes, an image's `open()` its pixels
    source.covers(name)                           # is a document that did not come up gone?

This room knows no tokenizers, trees or stores; it hands over names and bytes.  `protocol` says what a caller may rely
on, and what a source of another kind must provide.
"""

from __future__ import annotations

from mctree.sources.opening import open_source
from mctree.sources.path_source import Format
from mctree.sources.pieces import PIECE, cut_pieces
from mctree.sources.protocol import Item, RawDocument, RawImage, Root, Skipped, Source, Stamp, path_of

__all__ = [
    "PIECE",
    "Format",
    "Item",
    "RawDocument",
    "RawImage",
    "Root",
    "Skipped",
    "Source",
    "Stamp",
    "cut_pieces",
    "open_source",
    "path_of",
]
