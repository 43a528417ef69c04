"""What does a source hand over?  Items, their documents, and what was skipped and why.

A *source* is iterated for *items* (a file, a folder that is an image, standard input); an item is asked for its
*documents*: one if it is plain text or an image, many if it is a *container* (JSONL, Parquet); a text is read as bytes,
an image opened as an `ImageSource`.  Each step is lazy and does no more than it must, so that an item whose `stamp` is
known to the caller costs one `stat` and is never opened.

What a caller may rely on:

* Names are bytes, stable from run to run, and not interpreted.  Two documents of one run can bear the same name only
  if a container repeats an id, or a file is called like a document of a container (`a.jsonl#1`); the caller decides.
* `Skipped` comes from the source for what a `stat` tells (FIFOs, links …), and from `Item.documents` for what opening
  tells (unreadable, binary, bad lines …).
* `SourceError` raised by `Item.documents` or `RawDocument.read` takes back what the item gave so far: it changed
  under the reader's hands or turned out to be damaged, and its stamp does not describe the bytes that were read.
* Bytes are the document's own, of whatever encoding; nothing is transcoded, normalised, or checked to be UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mctree.sources.pieces import PIECE, cut_pieces

if TYPE_CHECKING:
    from mctree.sources.images.protocol import ImageSource

__all__ = ["Item", "RawDocument", "RawImage", "Root", "Skipped", "Source", "Stamp", "path_of"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Cheap evidence that a file is unchanged: equal stamps of one path mean equal bytes.

    Attributes:
        size: bytes.
        mtime_ns: time of last modification, nanoseconds since 1970.
        inode: the file's number in its file system; a file replaced by renaming gets another.
        ctime_ns: time of last change of the inode, nanoseconds since 1970; no program can set it back.
    """

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not handed over, and why.

    Attributes:
        name: what it would have been called.
        reason: one line of printable text.
        certain: whether it is known that there is nothing to read (a FIFO, a binary file).  If not (no permission,
            changed while it was read), what is stored under this name is still the best that is known of it, and
            `Source.covers` says so.
    """

    name: bytes
    reason: str
    certain: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class RawDocument:
    """One document, not yet read.

    Attributes:
        name: within the store.
        locator: where it lies in its item: `line`, `offset`, `length` for JSONL (the line counted from 1, the
            JSON text's first byte and number of bytes), `row` for Parquet (counted from 1), nothing for plain files.
    """

    name: bytes
    locator: dict[str, int | str]
    _chunks: Callable[[], Iterator[bytes]] = field(repr=False)

    def read(self, piece: int = PIECE) -> Iterator[bytes]:
        """The exact bytes, in pieces of at most `piece` bytes that are cut as `cut_pieces` says.

        Files and container documents can be read any number of times, also after their item's iterator went on;
        standard input only once.

        Raises:
            SourceError: it cannot be opened any more, or changed while it was read; forget the pieces.
        """
        return cut_pieces(self._chunks(), piece)


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """One image, not yet opened.

    Attributes:
        name: within the store.
        path: where it lies, absolute; errors of what reads it begin with this.
    """

    name: bytes
    path: bytes
    _open: Callable[[], ImageSource] = field(repr=False)
    _digest: Callable[[Callable[[], object]], bytes] = field(repr=False)
    _glance: Callable[[], bytes] | None = field(default=None, repr=False)

    def open(self) -> ImageSource:
        """Open it; the caller closes it.

        Raises:
            SourceError: it is damaged, too large, of a kind that cannot be read, or no longer what was found.
            UsageError: what reads it is not installed, or it does not say what of it is meant.
        """
        return self._open()

    def digest(self, between: Callable[[], object] = lambda: None) -> bytes:
        """32 bytes that stand for what it consists of: the bytes of a file; names, sizes and times in a folder.

        Args:
            between: called now and then, as all of a large file is read; what it raises ends that.

        Raises:
            SourceError: it cannot be read, or is no longer what was found.
        """
        return self._digest(between)

    @property
    def large(self) -> bool:
        """Whether a glance tells less than the digest."""
        return self._glance is not None

    def glance(self, between: Callable[[], object] = lambda: None) -> bytes:
        """The same, but of a large file its size, its time and samples of its bytes: whatever its size, it is quick.

        Raises:
            SourceError: it cannot be read, or is no longer what was found.
        """
        return self._digest(between) if self._glance is None else self._glance()


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A file, a folder that is one image, or standard input.

    Attributes:
        name: within the store.
        stamp: what a `stat` told, or None where there is none (standard input).  Of a folder: the bytes of all its
            files, and the latest times of anything in it.
        container: False: at most one document, which is named as the item; True: any number of them.
        folder: it is a folder, so that it can be told to be an image without a look into it.
    """

    name: bytes
    stamp: Stamp | None
    container: bool
    _documents: Callable[[], Iterator[RawDocument | RawImage | Skipped]] = field(repr=False)
    folder: bool = False

    def documents(self) -> Iterator[RawDocument | RawImage | Skipped]:
        """The documents in the item's order, lazily.

        Raises:
            SourceError: the container is damaged, changed while it was read, or lacks the wanted column; or what reads
                this format is not installed.
        """
        return self._documents()


@dataclass(frozen=True, slots=True)
class Root:
    """One of the paths that a source was opened with.

    Attributes:
        name: the first part of the names of everything below it.
        path: absolute; None for standard input.
    """

    name: bytes
    path: bytes | None


@runtime_checkable
class Source(Protocol):
    """Where documents come from.  Anything with these three members can be ingested."""

    @property
    def roots(self) -> tuple[Root, ...]:
        """What the source was opened with, in that order."""
        ...

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Find everything, anew each time: the roots as given, and each in bytewise order of the names."""
        ...

    def covers(self, name: bytes) -> bool:
        """Whether a document of this name would have been handed over if it still existed.

        Speaks of the latest iteration, of names that it did not hand over, and is False until that iteration and
        the documents of the containers in question came to their end.
        """
        ...


def path_of(source: Source, name: bytes) -> bytes | None:
    """Where an input of a source lies, absolute, if its name says so."""
    for root in source.roots:
        if root.path is not None and (name == root.name or name.startswith(root.name + b"/")):
            return root.path + name[len(root.name) :]
    return None
