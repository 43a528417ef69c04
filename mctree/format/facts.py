"""What do the descriptive records of the index say?  One frozen dataclass each, and its MessagePack form.

These are the records of which there are few, or which must be able to grow fields: documents, gist sets, links, stamps
of inputs; and those of the store, its commits and its arrays, which are in `mctree.format.commits`.  A reader ignores
fields it does not know and refuses records whose known fields have other types, so a store from a stranger fails here
with one clear error and not somewhere inside the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mctree.errors import CorruptError
from mctree.format.arrays import plain_name
from mctree.format.commits import MOST_ARRAYS
from mctree.format.fields import Fields
from mctree.format.values import pack

__all__ = ["DocumentRecord", "GistSetRecord", "LinkRecord", "Stamp"]

_MOST = 1 << 62
_MOST_DIM = 1 << 24
_DIGEST_BYTES = 32


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
        if any(type(n) is not int or not 0 <= n < MOST_ARRAYS for n in (*levels, *images)):
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
