"""What do the records of a store, its commits and its arrays say?  A frozen record each, and its MessagePack form.

A commit says in numbers what exists: how many blocks, tokens and documents, how many rows of each array, and which
numbers are free.  As with all descriptive records (see `mctree.format.facts`), a reader ignores fields it does not know
and refuses records whose known fields have other types, or say what cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from mctree.errors import CorruptError, NotAStoreError
from mctree.format.arrays import ArrayLayout
from mctree.format.fields import Fields
from mctree.format.images import ARENA_LIMIT
from mctree.format.values import pack

__all__ = [
    "FORMAT",
    "KNOWN_FORMATS",
    "MOST_ARRAYS",
    "ArrayState",
    "Commit",
    "Meta",
    "array_fact",
    "array_layout",
]

FORMAT = 2
"""Version of the format of the stores that this release makes."""

KNOWN_FORMATS = (1, 2)
"""Versions that it reads, and goes on writing where it finds them: stores of version 1 hold no images."""

MOST_ARRAYS = 1 << 31
"""Numbers of arrays and of gist sets are below it."""

_MOST_BLOCKS = 1 << 53
"""As many as geometry can address."""
_MOST_ROWS = 32 * _MOST_BLOCKS
_MOST = 1 << 62
_STORE_BYTES = 16


def _storable(time_ns: int) -> int:
    """What a clock says, as near as a record can hold it: one that is set before 1970 must not cost a commit."""
    return min(max(time_ns, 0), (1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Meta:
    """What a store is, fixed when it is made.

    Attributes:
        store: 16 random bytes that name the store wherever it is moved.
        epoch: how often it was compacted: addresses are valid within an epoch.
        created_ns: nanoseconds since 1970 when the epoch was made; informative.
        chunk_bytes: wished size of chunk files.
        format: version of the format that the store was made in, which it keeps until it is compacted.
    """

    store: bytes
    epoch: int
    created_ns: int
    chunk_bytes: int
    format: int = FORMAT

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack(
            {
                "format": self.format,
                "store": self.store,
                "epoch": self.epoch,
                "created_ns": _storable(self.created_ns),
                "chunk_bytes": self.chunk_bytes,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> Meta:
        """The record of these bytes."""
        f = Fields(payload, "the store's own record")
        if (version := f.count("format")) not in KNOWN_FORMATS:
            raise NotAStoreError(f"the store has format {version}; this release of mctree reads formats 1 to {FORMAT}")
        store, epoch = f.get("store", bytes), f.count("epoch")
        if len(store) != _STORE_BYTES or epoch >= _MOST:
            raise CorruptError("the store's own record: it has no name, or an epoch that cannot be")
        return cls(store, epoch, f.count("created_ns"), f.count("chunk_bytes"), version)


class ArrayState(NamedTuple):
    """What a commit sees of one array.

    Attributes:
        rows: how many rows, from the first on.
        refreshed: the last commit that replaced a chunk of it (0: none).
    """

    rows: int
    refreshed: int = 0


class Commit(NamedTuple):
    """One commit: what exists, in numbers.

    Attributes:
        number: its number; commits are numbered in order.
        parent: the commit it was made on (0: none).
        time_ns: wall clock, nanoseconds since 1970; informative, never used for order.
        blocks: blocks placed on the timeline, dead ones included.
        tokens: real tokens of live documents, tails included.
        documents: live documents.
        dead_blocks: blocks that have died.
        arrays: what it sees of each array, by array number.
        refreshed: for each gist set, the commit up to whose deaths its gists account for.
        next: the next free number of each kind: document, array, gist set, link, graft (an image on the timeline), and
            the next free position of the arena.
        tables: for each index table, its number of records and the sum of their checksums modulo 2^64.
    """

    number: int
    parent: int
    time_ns: int
    blocks: int = 0
    tokens: int = 0
    documents: int = 0
    dead_blocks: int = 0
    arrays: Mapping[int, ArrayState] = MappingProxyType({})
    refreshed: Mapping[int, int] = MappingProxyType({})
    next: Mapping[str, int] = MappingProxyType({"document": 1, "array": 0, "gist_set": 1, "link": 1})
    tables: Mapping[str, tuple[int, int]] = MappingProxyType({})

    @property
    def grafts(self) -> int:
        """Images grafted so far, dead ones included."""
        return self.next.get("graft", 0)

    @property
    def arena(self) -> int:
        """Positions of the arena that were given to images."""
        return self.next.get("arena", 0)

    def encode(self) -> bytes:
        """The record's bytes; its number is in its key."""
        return pack(
            {
                "parent": self.parent,
                "time_ns": _storable(self.time_ns),
                "blocks": self.blocks,
                "tokens": self.tokens,
                "documents": self.documents,
                "dead_blocks": self.dead_blocks,
                "arrays": dict(self.arrays),
                "refreshed": {number: [commit] for number, commit in self.refreshed.items()},
                "next": {kind: [number] for kind, number in self.next.items()},
                "tables": dict(self.tables),
            }
        )

    @classmethod
    def decode(cls, number: int, payload: bytes) -> Commit:
        """The record of commit `number`."""
        f = Fields(payload, f"commit {number}")
        numbers = {k: n for k, (n,) in f.counts("next", 1, str).items()}
        arrays = {k: ArrayState(rows, refreshed) for k, (rows, refreshed) in f.counts("arrays", 2, int).items()}
        if numbers.get("graft", 0) >= _MOST or numbers.get("arena", 0) > ARENA_LIMIT:
            raise CorruptError(f"commit {number}: it has more images than there can be")
        # Below these there is room for all that can ever be made; above them arithmetic would overflow somewhere.
        wide, narrow = (
            (numbers.get("document", _MOST), numbers.get("link", _MOST), number),
            (
                numbers.get("array", _MOST),
                numbers.get("gist_set", _MOST),
            ),
        )
        if max(wide) >= _MOST or max(narrow) >= MOST_ARRAYS or f.count("blocks") > _MOST_BLOCKS:
            raise CorruptError(f"commit {number}: it names no next numbers, or more blocks than there can be")
        if any(not 0 <= k < MOST_ARRAYS or state.rows > _MOST_ROWS for k, state in arrays.items()):
            raise CorruptError(f"commit {number}: it sees more of an array than there can be")
        return cls(
            number=number,
            parent=f.count("parent"),
            time_ns=f.count("time_ns"),
            blocks=f.count("blocks"),
            tokens=f.count("tokens"),
            documents=f.count("documents"),
            dead_blocks=f.count("dead_blocks"),
            arrays=arrays,
            refreshed={k: commit for k, (commit,) in f.counts("refreshed", 1, int).items()},
            next=numbers,
            tables={k: (n, total) for k, (n, total) in f.counts("tables", 2, str).items()},
        )


def array_fact(layout: ArrayLayout) -> bytes:
    """The record of an array."""
    return pack(
        {
            "path": layout.path,
            "dtype": layout.dtype,
            "row": list(layout.row),
            "rows_per_chunk": layout.rows_per_chunk,
            "fill": layout.fill,
        }
    )


def array_layout(payload: bytes) -> ArrayLayout:
    """The layout that an array's record describes."""
    f = Fields(payload, "an array's record")
    row = f.get("row", list)
    if any(type(n) is not int for n in row):
        raise CorruptError("an array's record: its row shape is damaged")
    return ArrayLayout(f.get("path", str), f.get("dtype", str), tuple(row), f.count("rows_per_chunk"), f.count("fill"))
