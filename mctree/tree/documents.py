"""Where does a document lie, and what were its bytes?  Its runs of blocks and its tail, read as of one commit.

A document's tokens are those of its runs in order, then those of its tail.  Its bytes are what the tokenizer makes of
them, except where that would not be the source: those stretches are kept as they were.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, NotFoundError, UsageError
from mctree.format.facts import DocumentRecord
from mctree.format.keys import Table, u64
from mctree.format.records import BLOCK, Original, Run, Tail
from mctree.storage.index import Reading
from mctree.tree.codecs import decoded

if TYPE_CHECKING:
    from mctree.tree.snapshot import Snapshot

__all__ = ["Document", "read_runs"]

_BLOCKS_AT_ONCE = 1 << 15
_MAX_ORIGINAL = 1 << 28


def read_runs(index: Reading, document: int, blocks: int) -> list[Run]:
    """The runs of a document among the first `blocks` blocks of the timeline, in order."""
    runs = []
    for _, payload in index.scan(Table.RUN + u64.pack(document)):
        run = Run.decode(payload)
        if run.block >= blocks:
            break
        runs.append(Run(run.block, min(run.blocks, blocks - run.block)))
    return runs


class Document:
    """One document as a snapshot sees it; made by `Snapshot.document` and its kin.

    Attributes:
        id: its number in the store.
        since: the commit since which its record says what it says.
    """

    def __init__(self, snapshot: Snapshot, number: int, since: int, record: DocumentRecord) -> None:
        self.id = number
        self.since = since
        self._snapshot = snapshot
        self._record = record
        with snapshot.reading() as index:
            self._runs = read_runs(index, number, snapshot.blocks)
            payload = index.version(Table.TAIL, u64.pack(number), snapshot.commit)
        self._tail = None if payload is None else Tail.decode(payload)

    def __repr__(self) -> str:
        state = "open, " if self.open else ""
        return f"<Document {self.id} {self.name!r}: {state}{self.tokens} tokens, {self.size} bytes>"

    @property
    def record(self) -> DocumentRecord:
        """What the index says of it."""
        return self._record

    @property
    def source(self) -> bytes:
        """The name of where it came from, as bytes."""
        return self._record.source

    @property
    def name(self) -> str:
        """The name of where it came from; bytes that are no UTF-8 are escaped as `os.fsdecode` does."""
        return self._record.source.decode("utf-8", "surrogateescape")

    @property
    def open(self) -> bool:
        """Whether tokens may still be appended to it."""
        return self._record.open

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of its bytes; empty if it is open or was given as tokens."""
        return self._record.digest

    @property
    def locator(self) -> dict[str, int | str]:
        """Where inside a container it was found."""
        return dict(self._record.locator)

    @property
    def previous(self) -> int:
        """The document that it superseded (0: none)."""
        return self._record.previous

    @property
    def runs(self) -> list[Run]:
        """Its runs of blocks on the timeline, in order."""
        return list(self._runs)

    @property
    def tail(self) -> Tail | None:
        """Its unfinished block, if it is open and has one."""
        return self._tail

    @property
    def blocks(self) -> int:
        """How many blocks it has on the timeline."""
        return sum(run.blocks for run in self._runs)

    @property
    def size(self) -> int:
        """Bytes of its source so far."""
        if not self._record.open:
            return self._record.size
        return max(self._record.size, self.placed_size if self._tail is None else self._tail.stop)

    @property
    def placed_size(self) -> int:
        """The byte of its source up to which its blocks reach."""
        return self._stop(self._runs[-1].block + self._runs[-1].blocks - 1) if self._runs else 0

    @property
    def tokens(self) -> int:
        """Real tokens so far."""
        if not self._record.open:
            return self._record.tokens
        world = self._snapshot.world
        placed = sum(world.placed(run.block, run.block + run.blocks) for run in self._runs)
        return placed + (0 if self._tail is None else len(self._tail.tokens))

    def pieces(self) -> Iterator[NDArray[np.generic]]:
        """Its real tokens in order, a bounded number at a time; padding is skipped."""
        for run in self._runs:
            for first in range(run.block, run.block + run.blocks, _BLOCKS_AT_ONCE):
                n = min(_BLOCKS_AT_ONCE, run.block + run.blocks - first)
                yield self._snapshot.packed(first * BLOCK, (first + n) * BLOCK, dead=True).tokens
        if self._tail is not None and len(self._tail.tokens):
            yield self._tail.tokens

    def read_tokens(self) -> NDArray[np.generic]:
        """All its real tokens."""
        pieces = list(self.pieces())
        return np.concatenate(pieces) if pieces else np.empty(0, self._snapshot.token_dtype)

    def read(self) -> bytes:
        """Its bytes, exactly as they were given; an image has none, and its pixels are read by `Image`."""
        return b"".join(self.stream())

    def stream(self) -> Iterator[bytes]:
        """Its bytes, exactly as they were given, a bounded number at a time.

        Raises:
            UsageError: the store has no tokenizer, so only tokens can be read.
            CorruptError: what is stored of it cannot be what was committed.
        """
        tokenizer = self._snapshot.tree.tokenizer
        if tokenizer is None:
            raise UsageError("the store has no tokenizer: read the document's tokens")
        tokens = _Tokens(self.pieces())
        for start, original in self.originals():
            for part in tokens.take(original.token - tokens.position):
                yield decoded(tokenizer, part)
            yield self._unpacked(start, original)
            for _ in tokens.take(original.tokens):
                pass
        for part in tokens.take(None):
            yield decoded(tokenizer, part)

    def originals(self) -> Iterator[tuple[int, Original]]:
        """Where its bytes are kept as they were: (first byte, record), in order, one of them in memory at a time."""
        size, prefix, start = self.size, Table.ORIGINAL + u64.pack(self.id), 0
        while start < size:  # what stands behind this version's end came with a later one
            with self._snapshot.reading() as index:
                found = next(index.scan(prefix, u64.pack(start)), None)
            if found is None:
                return
            start, original = u64.unpack(found[0])[0], Original.decode(found[1])
            if original.stop <= size:
                yield start, original
            start += 1

    def _unpacked(self, start: int, original: Original) -> bytes:
        size = original.stop - start
        if not 0 <= size <= _MAX_ORIGINAL:
            raise CorruptError(f"document {self.id}: original bytes of length {size} at {start} cannot be")
        unpack = zlib.decompressobj()
        data = unpack.decompress(original.packed, size + 1)
        if len(data) != size or not unpack.eof:
            raise CorruptError(f"document {self.id}: the original bytes at {start} are damaged; run `mctree verify`")
        return data

    def block_at(self, byte: int) -> int:
        """The block (its number on the timeline) whose source bytes hold `byte`.

        Raises:
            NotFoundError: no placed block holds it, as none does where the document is an image.
        """
        if self.record.media == "image":
            raise NotFoundError(f"{self.name!r} is an image, which has no bytes: `Snapshot.image` has its nodes")
        for run in self._runs:
            blocks = range(run.block, run.block + run.blocks)
            if byte < self._stop(blocks[-1]):
                block = blocks[bisect_right(blocks, byte, key=self._stop)]
                if self._snapshot.block_records(block, 1)["start"][0] <= byte:
                    return block
                break
        raise NotFoundError(f"byte {byte} of {self.name!r} lies in no placed block; the document has {self.size} bytes")

    def _stop(self, block: int) -> int:
        return int(self._snapshot.block_records(block, 1)["stop"][0])


class _Tokens:
    """A stream of token arrays of which any number can be taken."""

    def __init__(self, pieces: Iterator[NDArray[np.generic]]) -> None:
        self.position = 0
        self._pieces = pieces
        self._rest: NDArray[np.uint32] = np.empty(0, np.uint32)

    def take(self, count: int | None) -> Iterator[NDArray[np.uint32]]:
        """The next `count` tokens (None: all that are left), in as many parts as they come in."""
        while count is None or count > 0:
            if not len(self._rest):
                piece = next(self._pieces, None)
                if piece is None:
                    return
                self._rest = np.asarray(piece, np.uint32)
            part = self._rest if count is None else self._rest[:count]
            self._rest = self._rest[len(part) :]
            self.position += len(part)
            count = None if count is None else count - len(part)
            yield part
