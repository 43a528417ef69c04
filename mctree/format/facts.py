"""What do the descriptive records of the index say?  One frozen dataclass each, and its MessagePack form.

These are the records of which there are few, or which must be able to grow fields: the store, commits, arrays,
documents, gist sets, links.  A reader ignores fields it does not know and refuses records whose known fields have other
types, so a store from a stranger fails here with one clear error and not somewhere inside the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mctree.errors import CorruptError, NotAStoreError
from mctree.format.arrays import ArrayLayout, plain_name
from mctree.format.fields import Fields
from mctree.format.images import ARENA_LIMIT
from mctree.format.values import pack

__all__ = [
    "FORMAT",
    "KNOWN_FORMATS",
    "ArrayState",
    "Commit",
    "DocumentRecord",
    "GistSetRecord",
    "LinkRecord",
    "Meta",
    "Stamp",
    "array_fact",
]

FORMAT = 2
"""Version of the format of the stores that this release makes."""

KNOWN_FORMATS = (1, 2)
"""Versions that it reads, and goes on writing where it finds them: stores of version 1 hold no images."""

_MOST_BLOCKS = 1 << 53
"""As many as geometry can address."""
_MOST_ROWS = 32 * _MOST_BLOCKS
_MOST = 1 << 62
_MOST_DIM = 1 << 24
_STORE_BYTES, _DIGEST_BYTES = 16, 32
_MOST_ARRAYS = 1 << 31


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


@dataclass(frozen=True, slots=True)
class ArrayState:
    """What a commit sees of one array.

    Attributes:
        rows: how many rows, from the first on.
        refreshed: the last commit that replaced a chunk of it (0: none).
    """

    rows: int
    refreshed: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
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
    arrays: Mapping[int, ArrayState] = field(default_factory=dict)
    refreshed: Mapping[int, int] = field(default_factory=dict)
    next: Mapping[str, int] = field(default_factory=lambda: {"document": 1, "array": 0, "gist_set": 1, "link": 1})
    tables: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def grafts(self) -> int:
        """Images grafted so far, dead ones included."""
        return self.next.get("graft", 0)

    @property
    def arena(self) -> int:
        """Positions of the arena that were given to images."""
        return self.next.get("arena", 0)

    def holding(self, arrays: Mapping[int, ArrayState], tables: Mapping[str, tuple[int, int]]) -> Commit:
        """The same commit with other arrays and tables."""
        return Commit(
            self.number,
            self.parent,
            self.time_ns,
            self.blocks,
            self.tokens,
            self.documents,
            self.dead_blocks,
            arrays,
            self.refreshed,
            self.next,
            tables,
        )

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
                "arrays": {number: [s.rows, s.refreshed] for number, s in self.arrays.items()},
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
        if max(wide) >= _MOST or max(narrow) >= _MOST_ARRAYS or f.count("blocks") > _MOST_BLOCKS:
            raise CorruptError(f"commit {number}: it names no next numbers, or more blocks than there can be")
        if any(not 0 <= k < _MOST_ARRAYS or state.rows > _MOST_ROWS for k, state in arrays.items()):
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


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """What one version of a document's record says.

    Attributes:
        source: the name of where it came from, as bytes of the file system or UTF-8.
        open: whether tokens may still be appended.
        size: bytes of the source so far (while open, at least so many: its blocks or its tail may reach further).
        tokens: real tokens so far (0 while open).
        digest: BLAKE2b-256 of the source's bytes; empty if it was never known.
        locator: where inside a container the source lies, such as line and offset of a JSONL record.
        media: what it is; `text` today.
        previous: the document that this one superseded (0: none).
    """

    source: bytes
    open: bool
    size: int = 0
    tokens: int = 0
    digest: bytes = b""
    locator: Mapping[str, int | str] = field(default_factory=dict)
    media: str = "text"
    previous: int = 0

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack(
            {
                "source": self.source,
                "open": self.open,
                "size": self.size,
                "tokens": self.tokens,
                "digest": self.digest,
                "locator": dict(self.locator),
                "media": self.media,
                "previous": self.previous,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> DocumentRecord:
        """The record of these bytes."""
        f = Fields(payload, "a document's record")
        locator = f.get("locator", dict)
        if any(type(k) is not str or type(v) not in (int, str) for k, v in locator.items()):
            raise CorruptError("a document's record: its locator is damaged")
        return cls(
            f.get("source", bytes),
            f.get("open", bool),
            f.count("size"),
            f.count("tokens"),
            f.get("digest", bytes),
            locator,
            f.get("media", str),
            f.count("previous"),
        )


@dataclass(frozen=True, slots=True)
class GistSetRecord:
    """What one version of a gist set's record says.

    Attributes:
        name: its name.
        folder: its folder below `gists/`.
        kind: which encoder class made it.
        fingerprint: of that encoder.
        blob: digest of the encoder's dump.
        dim: length of a gist.
        dtype: element type as stored.
        modalities: what the encoder covers.
        levels: array numbers of LOD1, LOD2 … of the timeline.
        images: array numbers of LOD0, LOD1 … of images.
    """

    name: str
    folder: str
    kind: str
    fingerprint: str
    blob: bytes
    dim: int
    dtype: str
    modalities: tuple[str, ...]
    levels: tuple[int, ...] = ()
    images: tuple[int, ...] = ()

    def with_level(self, array: int) -> GistSetRecord:
        """The record with one more, coarser, level."""
        return replace(self, levels=(*self.levels, array))

    def encode(self) -> bytes:
        """The record's bytes."""
        fields = {
            "name": self.name,
            "folder": self.folder,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "blob": self.blob,
            "dim": self.dim,
            "dtype": self.dtype,
            "modalities": list(self.modalities),
            "levels": list(self.levels),
        }
        return pack({**fields, "images": list(self.images)} if self.images else fields)

    @classmethod
    def decode(cls, payload: bytes) -> GistSetRecord:
        """The record of these bytes."""
        f = Fields(payload, "a gist set's record")
        levels, modalities = f.get("levels", list), f.get("modalities", list)
        images = f.get("images", list) if "images" in f.map else []
        if any(type(n) is not int or not 0 <= n < _MOST_ARRAYS for n in (*levels, *images)):
            raise CorruptError("a gist set's record: its levels are damaged")
        if any(type(m) is not str for m in modalities) or not plain_name(f.get("folder", str)):
            raise CorruptError("a gist set's record: its modalities or its folder are damaged")
        if not 0 < f.count("dim") <= _MOST_DIM or len(f.get("blob", bytes)) != _DIGEST_BYTES:
            raise CorruptError("a gist set's record: its dimension or its digest is damaged")
        return cls(
            f.get("name", str),
            f.get("folder", str),
            f.get("kind", str),
            f.get("fingerprint", str),
            f.get("blob", bytes),
            f.count("dim"),
            f.get("dtype", str),
            tuple(modalities),
            tuple(levels),
            tuple(images),
        )


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """A link from one span to another: half-open LOD0 ranges, each in a space.

    Attributes:
        source: (space, start, stop).
        target: (space, start, stop).
        kind: what it says, such as `caption` or `ocr`.
        score: how sure it is, in [0, 1].
    """

    source: tuple[int, int, int]
    target: tuple[int, int, int]
    kind: str
    score: float

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack({"source": list(self.source), "target": list(self.target), "kind": self.kind, "score": self.score})

    @classmethod
    def decode(cls, payload: bytes) -> LinkRecord:
        """The record of these bytes."""
        f = Fields(payload, "a link's record")
        spans = []
        for name in ("source", "target"):
            span = f.get(name, list)
            if len(span) != 3 or any(type(n) is not int or not 0 <= n < _MOST for n in span) or span[1] >= span[2]:
                raise CorruptError(f"a link's record: its {name} is damaged")
            spans.append((span[0], span[1], span[2]))
        return cls(spans[0], spans[1], f.get("kind", str), f.get("score", float))


@dataclass(frozen=True, slots=True)
class Stamp:
    """What was last seen of an input: a hint that lets a sync skip it, never a truth that a snapshot depends on.

    Attributes:
        size: bytes.
        mtime_ns: time of last change, nanoseconds.
        inode: inode number.
        ctime_ns: time of last change of the inode, nanoseconds.
        seen_ns: when it was looked at; a change within the clock's grain of that may have been missed.
        digest: BLAKE2b-256 of its bytes.
    """

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int
    seen_ns: int
    digest: bytes

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def decode(cls, payload: bytes) -> Stamp:
        """The record of these bytes."""
        f = Fields(payload, "a sync stamp")
        return cls(
            f.count("size"),
            f.get("mtime_ns", int),
            f.count("inode"),
            f.get("ctime_ns", int),
            f.get("seen_ns", int),
            f.get("digest", bytes),
        )
