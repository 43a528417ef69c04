"""`mctree cat`: what were the bytes of a document?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import click

from mctree.cli.arguments import at_commit, find_document, reading, store_argument
from mctree.cli.escaping import one_line
from mctree.cli.output import raw
from mctree.errors import CorruptError, UsageError

__all__ = ["command"]


@click.command("cat")
@store_argument
@click.argument("source")
@at_commit
def command(store: str, source: str, commit: int | None) -> None:
    """Write the exact bytes of a document to standard output.

    SOURCE is a name as `mctree docs` shows it, or #ID.  The bytes are compared with the digest that was taken of the
    source; if they differ, the exit code is 1.
    """
    with reading(store, commit) as snapshot:
        document = find_document(snapshot, source)
        if document.record.media == "image":
            raise UsageError(f"{one_line(source)} is an image, and has no bytes: `mctree show --png` draws it")
        digest = hashlib.blake2b(digest_size=32)
        raw(_digested(document.stream(), digest))
        if document.digest and digest.digest() != document.digest:
            raise CorruptError(
                f"document {document.id}: these are not the bytes that were ingested; `mctree verify` says where"
            )


def _digested(parts: Iterator[bytes], digest: hashlib.blake2b) -> Iterator[bytes]:
    for part in parts:
        digest.update(part)
        yield part
