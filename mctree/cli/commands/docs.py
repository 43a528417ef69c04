"""`mctree docs`: which documents does a store hold?"""

from __future__ import annotations

from collections.abc import Iterator

import click

from mctree import Document, Snapshot
from mctree.cli.arguments import at_commit, in_json, reading, store_argument
from mctree.cli.escaping import escape, one_line
from mctree.cli.formatting import number
from mctree.cli.nodes import pixels
from mctree.cli.output import json_line, name, table

__all__ = ["command"]


@click.command("docs")
@store_argument
@at_commit
@in_json
def command(store: str, commit: int | None, as_json: bool) -> None:
    """List the documents of a store: id, bytes, tokens, blocks, source.

    A document that may still grow is marked as open.  Of an image the pixels are said, its width and its height.
    """
    with reading(store, commit) as snapshot:
        if as_json:
            for document in snapshot.documents():
                json_line(_json(snapshot, document))
        else:
            table(["id", "bytes", "tokens", "blocks", "", "source"], _rows(snapshot), align=">>>><")


def _rows(snapshot: Snapshot) -> Iterator[list[str]]:
    for document in snapshot.documents():
        yield [
            str(document.id),
            _size(snapshot, document),
            number(document.tokens),
            number(document.blocks),
            "open" if document.open else "",
            name(escape(document.source)),
        ]


def _size(snapshot: Snapshot, document: Document) -> str:
    found = pixels(snapshot, document)
    return number(document.size) if found is None else f"{number(found[0])} × {number(found[1])} px"


def _json(snapshot: Snapshot, document: Document) -> dict[str, object]:
    return {
        "id": document.id,
        "source": escape(document.source),
        "media": one_line(document.record.media),
        "bytes": document.size,
        "pixels": pixels(snapshot, document),
        "tokens": document.tokens,
        "blocks": document.blocks,
        "open": document.open,
        "digest": document.digest.hex() or None,
        "locator": {one_line(key): value for key, value in document.locator.items()},
        "previous": document.previous or None,
        "since_commit": document.since,
    }
