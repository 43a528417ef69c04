"""Which documents are live at a commit, and what is remembered of inputs?  By number, by name, and all in order.

Each look-up is one short transaction; going through all documents takes one for every thousand, so that nobody who does
so slowly keeps pages of the index from being used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from mctree.errors import NotFoundError
from mctree.format.facts import DocumentRecord, Stamp
from mctree.format.keys import Table, source_digest, u64
from mctree.storage.index import Reading
from mctree.tree.arguments import as_source, source_shown

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["find_document", "live_documents", "number_of", "read_stamp", "recall"]

_AT_ONCE = 1000


def number_of(index: Reading, source: bytes, commit: int) -> int:
    """The number of the live document of a source at a commit (0: none)."""
    prefix = source_digest(source)
    for key, _, payload in index.versions(Table.SOURCE, commit, prefix=prefix):
        if payload[1:] == source:
            return int(u64.unpack(key[len(prefix) :])[0])
    return 0


def find_document(snapshot: Snapshot, which: int | bytes | str) -> tuple[int, int, DocumentRecord]:
    """A live document by its number or the name of its source: (number, since which commit its record holds, record).

    Raises:
        NotFoundError: there is none.
        UsageError: that is neither a number nor a name.
    """
    with snapshot.reading() as index:
        number = which if isinstance(which, int) else number_of(index, as_source(which), snapshot.commit)
        known = 0 < number < 1 << 64
        found = index.floor(Table.DOCUMENT + u64.pack(number), u64.pack(snapshot.commit)) if known else None
    if found is None or not found[1]:
        raise NotFoundError(
            f"no document {source_shown(which)!r} at commit {snapshot.commit}; `mctree docs` lists them"
        )
    return number, u64.unpack(found[0])[0], DocumentRecord.decode(found[1])


def live_documents(snapshot: Snapshot) -> Iterator[tuple[int, int, DocumentRecord]]:
    """All live documents in order of their numbers, each as `find_document` gives it."""
    after = 0
    while True:
        with snapshot.reading() as index:
            versions = index.versions(Table.DOCUMENT, snapshot.commit, start=u64.pack(after))
            batch = [(u64.unpack(key)[0], since, payload) for key, since, payload in islice(versions, _AT_ONCE)]
        for number, since, payload in batch:
            yield number, since, DocumentRecord.decode(payload)
        if len(batch) < _AT_ONCE:
            return
        after = batch[-1][0] + 1


def read_stamp(index: Reading, item: bytes) -> Stamp | None:
    """What a sync last saw of an input."""
    payload = index.get(Table.STAMP + source_digest(item))
    return None if payload is None else Stamp.decode(payload)


def recall(index: Reading, source: bytes, commit: int) -> tuple[Stamp | None, int, DocumentRecord | None]:
    """The stamp of an input, and the number (0: none) and record of the live document of that name."""
    number = number_of(index, source, commit)
    record = index.version(Table.DOCUMENT, u64.pack(number), commit) if number else None
    return read_stamp(index, source), number, None if record is None else DocumentRecord.decode(record)
