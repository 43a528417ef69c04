"""What is to be done with an input, given what the store knows of it?  Decisions alone, nothing is read or written.

Two questions, in this order.  *Must it be read?*  Not if its `stat` is the one that was stamped, and the stamp is no
younger than a clock can tell (`settled`).  *What has become of the document?*  `judge` compares sizes and digests:

    no document of that name                     ADD
    one that somebody is writing to              LEAVE
    its bytes are the document                   KEEP, or RELOCATE if it lies elsewhere in its container
    its bytes begin with the document            EXTEND: what is there keeps its blocks
    anything else                                SUPERSEDE

A document too long for one commit is open while it is ingested.  Should the run be broken off, a *marker* beside it
(a stamp under a name that no input can have) says that it is ours and how far it got; going on with it is EXTEND.

Of an image there are two questions.  *Is it the same one?*  It is if the bytes of its file are (`judge_image`).  What a
store keeps of where an image came from is its fingerprint, which changes with the file's time, and its URI; so its
stamp holds the digest of the bytes and that fingerprint, one behind the other: it speaks of this image, and of no
other.  Where no stamp does, its fingerprint and URI have to do (`is_as_recorded`).  *How much of it is there?*  That is
said by the image itself, and by no stamp:

    the same image, all of it                    RELOCATE: it may have another fingerprint or URI now
    the same image, a part of it                 EXTEND: what is there stays, and what is wanted comes beside it

An image that is written in more than one commit has a marker, too: a stamp, of the same form, of the file that it was
begun from.

It does not assume that times are right: a `stat` that differs in anything only leads to a look at the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mctree.format.facts import DocumentRecord, Stamp
from mctree.format.images import ImageRecord
from mctree.sources import Stamp as Seen

__all__ = [
    "Digest",
    "Known",
    "Sighting",
    "Verdict",
    "begun_name",
    "content_for",
    "content_of",
    "image_digest",
    "is_as_recorded",
    "judge",
    "judge_image",
    "marker_name",
    "marker_stamp",
    "settled",
    "speaks_of",
    "stamp_of",
]

RACY_NS = 2_000_000_000
"""Coarsest grain of time stamps in use (FAT): what changed this shortly before it was looked at may change unseen."""

_DIGEST_BYTES = 32


class Verdict(Enum):
    """What is to be done with a document."""

    ADD = "add"
    LEAVE = "leave"
    KEEP = "keep"
    RELOCATE = "relocate"
    EXTEND = "extend"
    SUPERSEDE = "supersede"


@dataclass(frozen=True, slots=True)
class Known:
    """The live document of a name.

    Attributes:
        number: in the store.
        size: bytes that it has.
        digest: BLAKE2b-256 of them; empty where that is not known.  Of an image: its fingerprint.
        locator: where inside a container it lay.
        unfinished: ours, from a run that was broken off.
        foreign: open, and not ours.
        uri: where the pixels of an image came from; empty for a text.
        whole: of an image: whether all of it is there, down to its pixels.
    """

    number: int
    size: int
    digest: bytes
    locator: Mapping[str, int | str] = field(default_factory=dict)
    unfinished: bool = False
    foreign: bool = False
    uri: str = ""
    whole: bool = True

    @property
    def image(self) -> bool:
        """Whether it is an image."""
        return bool(self.uri)

    @classmethod
    def of_image(cls, number: int, record: ImageRecord, *, whole: bool) -> Known:
        """An image, of which all is there or a part."""
        return cls(number, 0, record.fingerprint.encode(), uri=record.uri, whole=whole)

    @classmethod
    def closed(cls, number: int, record: DocumentRecord) -> Known:
        """A complete document."""
        return cls(number, record.size, record.digest, record.locator)

    @classmethod
    def open(cls, number: int, record: DocumentRecord, size: int, marker: Stamp | None) -> Known:
        """A document that tokens can be appended to.

        Args:
            number: in the store.
            record: of it.
            size: bytes that it has.
            marker: what a run left beside it.
        """
        if marker is None or size > marker.size:
            return cls(number, size, b"", record.locator, foreign=True)
        # Fewer bytes than were marked: the last ones left no token, so where to go on cannot be told from the store.
        digest = marker.digest if size == marker.size else b""
        return cls(number, size, digest, record.locator, unfinished=True)


def judge(known: Known | None, locator: Mapping[str, int | str], size: int, prefix: bytes | None) -> Verdict:
    """What is to be done with a document.

    Args:
        known: the live document of its name.
        locator: where it lies now.
        size: bytes that it has now.
        prefix: BLAKE2b-256 of its first `known.size` bytes; None if it has fewer.
    """
    if known is None:
        return Verdict.ADD
    if known.foreign:
        return Verdict.LEAVE
    if prefix is None or prefix != known.digest:
        return Verdict.SUPERSEDE
    if known.unfinished or size > known.size:
        return Verdict.EXTEND
    return Verdict.KEEP if dict(known.locator) == dict(locator) else Verdict.RELOCATE


def judge_image(known: Known | None, before: Stamp | None, content: bytes) -> Verdict:
    """What is to be done with an image that may not be what it was.

    Args:
        known: the live document of its name; not one that somebody is writing to.
        before: the stamp of its input.
        content: 32 bytes that stand for what its file or folder holds now; empty if no stamp speaks of the image.
    """
    if known is None:
        return Verdict.ADD
    if not content or content_of(before, known) != content:
        return Verdict.SUPERSEDE
    return Verdict.RELOCATE if known.whole else Verdict.EXTEND


def is_as_recorded(known: Known | None, before: Stamp | None, uri: str, fingerprint: str) -> bool:
    """Whether a known image that no stamp speaks of is the one that is found now, as far as its fingerprint tells.

    Args:
        known: the live document of its name.
        before: the stamp of its input.
        uri: where its pixels are now.
        fingerprint: of what is there.
    """
    if known is None or content_of(before, known):
        return False
    return (uri, fingerprint.encode()) == (known.uri, known.digest)


def image_digest(content: bytes, fingerprint: str) -> bytes:
    """What the stamp of an image holds for a digest.

    Args:
        content: 32 bytes that stand for what its file or folder holds.
        fingerprint: of the image in the store.
    """
    return content + fingerprint.encode()


def content_of(stamp: Stamp | None, known: Known | None) -> bytes:
    """What a known image's file or folder held when it was read, 32 bytes; empty if its stamp speaks of another."""
    return content_for(stamp, known.digest) if known is not None and known.image else b""


def content_for(stamp: Stamp | None, fingerprint: bytes) -> bytes:
    """What the file or folder of an image of this fingerprint held, 32 bytes; empty if the stamp speaks of another."""
    if stamp is None or stamp.digest[_DIGEST_BYTES:] != fingerprint:
        return b""
    return stamp.digest[:_DIGEST_BYTES]


def speaks_of(stamp: Stamp | None, known: Known | None) -> bool:
    """Whether a stamp was taken of the very document that the store has."""
    if stamp is None or known is None or known.foreign or known.unfinished:
        return False
    return bool(content_of(stamp, known)) if known.image else stamp.digest == known.digest


def settled(known: Stamp | None, seen: Seen | None) -> bool:
    """Whether a stamp shows that an input is what it was, without a look at its bytes."""
    return known is not None and seen is not None and _same(known, seen) and not _racy(known)


def stamp_of(seen: Seen, seen_ns: int, digest: bytes, before: Stamp | None) -> Stamp | None:
    """The stamp to record of an input that was read.

    Args:
        seen: its `stat`, taken before it was read and confirmed after.
        seen_ns: a time between the two.
        digest: of its bytes, or of how a container was read.
        before: the stamp that it has.

    Returns:
        The stamp, or None where the one before says as much.
    """
    stamp = Stamp(seen.size, seen.mtime_ns, seen.inode, seen.ctime_ns, seen_ns, digest)
    if before is not None and _same(before, seen) and before.digest == digest and (_racy(stamp) or not _racy(before)):
        return None
    return stamp


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a `stat` told of an input.

    Attributes:
        seen: what it told.
        seen_ns: when.
        before: the stamp that the input had.
    """

    seen: Seen
    seen_ns: int
    before: Stamp | None

    @property
    def sure(self) -> bool:
        """Whether what changes after this shows in its `stat`, however coarse the clock."""
        return not _racy(
            Stamp(self.seen.size, self.seen.mtime_ns, self.seen.inode, self.seen.ctime_ns, self.seen_ns, b"")
        )

    def stamp(self, digest: bytes) -> Stamp | None:
        """The stamp to record, if another one than before; see `stamp_of`."""
        return stamp_of(self.seen, self.seen_ns, digest, self.before)


def marker_name(document: bytes) -> bytes:
    """The name under which the marker of an unfinished document stands; no input has a NUL in its name."""
    return b"\0" + document


def begun_name(image: bytes) -> bytes:
    """The name under which it stands what file an image was begun from that is not finished."""
    return b"\0begun\0" + image


def marker_stamp(size: int, digest: bytes) -> Stamp:
    """The marker of a document of which `size` bytes with this digest are in the store."""
    return Stamp(size, 0, 0, 0, 0, digest)


class Digest:
    """BLAKE2b-256 of bytes as they come, and of the first `mark` of them on the way.

    Args:
        mark: how many bytes; None for none.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, mark: int | None = None) -> None:
        self.size = 0
        self._hash = hashlib.blake2b(digest_size=32)
        self._mark = mark
        self._prefix = self._hash.digest() if mark == 0 else None

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        stop = self.size + len(data)
        if self._mark is not None and self.size < self._mark <= stop:
            inside = self._mark - self.size
            self._hash.update(data[:inside])
            self._prefix = self._hash.digest()
            self._hash.update(data[inside:])
        else:
            self._hash.update(data)
        self.size = stop

    @property
    def value(self) -> bytes:
        """Of all bytes so far."""
        return self._hash.digest()

    @property
    def prefix(self) -> bytes | None:
        """Of the first `mark` bytes; None if there were fewer so far."""
        return self._prefix


def _same(known: Stamp, seen: Seen) -> bool:
    return (known.size, known.mtime_ns, known.inode, known.ctime_ns) == (
        seen.size,
        seen.mtime_ns,
        seen.inode,
        seen.ctime_ns,
    )


def _racy(stamp: Stamp) -> bool:
    return stamp.seen_ns - max(stamp.mtime_ns, stamp.ctime_ns) < RACY_NS
