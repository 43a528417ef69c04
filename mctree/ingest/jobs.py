"""What goes from the reader to the writer?  Jobs: some pieces of bytes to tokenize, and what to do with the tokens.

A job is a few hundred KiB of documents, small ones together and long ones in parts; or it is one image, whose pixels
are read when it is written.  Jobs are tokenized in any order and written in the order in which they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mctree.format.facts import Stamp
from mctree.ingest.plan import Known, Sighting, Verdict
from mctree.sources import RawImage

__all__ = ["ImagePart", "Job", "Part"]

_MOST_ENTRIES = 1024
_IMAGE_WEIGHT = 1 << 16
"""Bytes that an image counts as while it waits: it holds no pixels, but a folder may hold a million of them."""


@dataclass(slots=True)
class Part:
    """A stretch of one document.

    Attributes:
        name: the document's.
        locator: where inside a container it lies.
        verdict: what to do with the document; read where it begins.
        known: the document that is extended, relocated or superseded.
        first: the document begins here.
        last: it ends here.
        long: it may be too long for one commit.
        broken: it could not be read on.
        pieces: its bytes.
        digest: BLAKE2b-256 of the document up to here, where it is `last`, `long` or `broken`.
        stamp: to be recorded with the complete document.
    """

    name: bytes
    locator: Mapping[str, int | str]
    verdict: Verdict
    known: Known | None
    first: bool
    last: bool = False
    long: bool = False
    broken: bool = False
    pieces: list[bytes] = field(default_factory=list)
    digest: bytes = b""
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class ImagePart:
    """One image.

    Attributes:
        raw: where it comes from.
        verdict: ADD, SUPERSEDE, EXTEND or RELOCATE.
        known: the document that is superseded, extended or relocated.
        sighting: what its stamp is made of.
        content: what stands for what its file or folder holds, if that was looked at; else empty.
        size: bytes of input.
    """

    raw: RawImage
    verdict: Verdict
    known: Known | None
    sighting: Sighting | None
    content: bytes
    size: int


@dataclass(slots=True)
class Job:
    """Some parts, in order, or an image, and what is to be recorded once that is written.

    Attributes:
        parts: what to write.
        image: what to write instead.
        stamps: inputs and their stamps.
        captions: the names of images and of the texts beside them that may be their captions.
        size: bytes of all pieces.
        handled: bytes of input that are dealt with when it is written.
    """

    parts: list[Part] = field(default_factory=list)
    image: ImagePart | None = None
    stamps: list[tuple[bytes, Stamp]] = field(default_factory=list)
    captions: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0
    handled: int = 0

    def __bool__(self) -> bool:
        return bool(self.parts or self.image or self.stamps or self.captions or self.size)

    @property
    def weight(self) -> int:
        """Bytes that it counts as while it waits."""
        return self.size + (_IMAGE_WEIGHT if self.image is not None else 0)

    @property
    def entries(self) -> int:
        """How many things there are to record."""
        return len(self.parts) + len(self.stamps) + len(self.captions)

    def full(self, size: int) -> bool:
        """Whether it is enough for one job."""
        return self.size >= size or self.entries >= _MOST_ENTRIES

    def pieces(self) -> list[bytes]:
        """The pieces of all parts, in order."""
        return [piece for part in self.parts for piece in part.pieces]
