"""What goes from the reader to the writer?  Jobs: some pieces of bytes to tokenize, and what to do with the tokens.

A job is a few hundred KiB of documents, small ones together and long ones in parts.  Jobs are tokenized in any order
and written in the order in which they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mctree.format.facts import Stamp
from mctree.ingest.plan import Known, Verdict

__all__ = ["Job", "Part"]

_MOST_ENTRIES = 1024


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


@dataclass(slots=True)
class Job:
    """Some parts, in order, and stamps to be recorded once they are written.

    Attributes:
        parts: what to write.
        stamps: inputs and their stamps.
        size: bytes of all pieces.
        handled: bytes of input that are dealt with when it is written.
    """

    parts: list[Part] = field(default_factory=list)
    stamps: list[tuple[bytes, Stamp]] = field(default_factory=list)
    size: int = 0
    handled: int = 0

    def __bool__(self) -> bool:
        return bool(self.parts or self.stamps or self.size)

    @property
    def entries(self) -> int:
        """How many things there are to record."""
        return len(self.parts) + len(self.stamps)

    def full(self, size: int) -> bool:
        """Whether it is enough for one job."""
        return self.size >= size or self.entries >= _MOST_ENTRIES

    def pieces(self) -> list[bytes]:
        """The pieces of all parts, in order."""
        return [piece for part in self.parts for piece in part.pieces]
