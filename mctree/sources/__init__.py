"""Where text comes from: folders, files, JSONL, Parquet and standard input, as one stream of raw documents.

    source = open_source(["corpus/", "extra.jsonl"])
    for found in source:
        if isinstance(found, Skipped):
            ...                                   # found.name, found.reason
        else:
            for document in found.documents():    # RawDocument or Skipped
                ...                               # document.read() gives its exact bytes, piece by piece
    source.covers(name)                           # is a document that did not come up gone?

This room knows no tokenizers, trees or stores; it hands over names and bytes.  `protocol` says what a caller may rely
on, and what a source of another kind must provide.
"""

from __future__ import annotations

from mctree.sources.opening import open_source
from mctree.sources.path_source import Format
from mctree.sources.pieces import PIECE, cut_pieces
from mctree.sources.protocol import Item, RawDocument, Root, Skipped, Source, Stamp

__all__ = [
    "PIECE",
    "Format",
    "Item",
    "RawDocument",
    "Root",
    "Skipped",
    "Source",
    "Stamp",
    "cut_pieces",
    "open_source",
]
