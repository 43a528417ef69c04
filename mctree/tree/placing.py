"""How do a document's tokens become blocks?  They fill blocks of 32 in order; what is left over waits in a tail.

A document owns whole blocks.  While it is open its unfinished block is its tail; when the tail fills, or the document
is closed, the block is placed at the end of the timeline, and is final.  Blocks carry the bytes of the source that
they stand for: a block starts where the one before it in the document ends.  Nothing here is written anywhere.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mctree.encoders import Encoded, Tokenizer
from mctree.errors import UsageError
from mctree.format.facts import DocumentRecord
from mctree.format.records import BLOCK, Original, Run, Tail
from mctree.format.values import checked_text
from mctree.sources.pieces import PIECE, cut_place
from mctree.storage.rows import distinct
from mctree.tree.arguments import as_locator, as_piece
from mctree.tree.timeline import Timeline

__all__ = ["OpenDocument"]

_NO_IDS = np.empty(0, np.uint32)
_NO_STOPS = np.empty(0, np.uint64)


@dataclass(slots=True)
class Changes:
    """What of one document the next commit has to record."""

    record: bool = False
    tail: bool = False
    runs: dict[int, Run] = field(default_factory=dict)
    originals: list[tuple[int, Original]] = field(default_factory=list)
    tokens: int = 0

    def __bool__(self) -> bool:
        return self.record or self.tail or bool(self.runs) or bool(self.originals)


class OpenDocument:
    """A document that tokens can be appended to; made by `Writer.begin` and `Writer.reopen`.

    Attributes:
        id: its number in the store.
        source: the name of where it comes from.
        new: nothing of it is committed.
        has_tail: the newest commit knows an unfinished block of it.
    """

    def __init__(
        self,
        number: int,
        record: DocumentRecord,
        timeline: Timeline,
        tokenizer: Tokenizer | None,
        vocabulary: int,
        *,
        runs: list[Run] | None = None,
        tail: Tail | None = None,
        start: int = 0,
        size: int = 0,
        tokens: int = 0,
        changed: Callable[[OpenDocument], None],
    ) -> None:
        """Continue a document from what is committed of it."""
        self.id = number
        self.source = record.source
        self.new = runs is None
        self.has_tail = tail is not None
        self.changes = Changes(record=runs is None)
        self._record = record
        self._timeline = timeline
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._changed = changed
        self._blocks = sum(run.blocks for run in runs or [])
        self._run = (self._blocks - runs[-1].blocks, runs[-1]) if runs else None
        self._size = size
        self._tokens = tokens
        self._block_start = start
        self._ids = _NO_IDS if tail is None else np.asarray(tail.tokens, np.uint32)
        self._stops = _NO_STOPS if tail is None else np.asarray(tail.stops, np.uint64)
        # The digest of what another session wrote cannot be continued.
        self._hash = hashlib.blake2b(digest_size=32) if runs is None else None
        self._closed = False

    def __repr__(self) -> str:
        return f"<OpenDocument {self.id} {self.source!r}: {self._tokens} tokens, {self._size} bytes>"

    @property
    def open(self) -> bool:
        """Whether it may still be appended to."""
        return not self._closed

    @property
    def tokens(self) -> int:
        """Real tokens so far, uncommitted ones included."""
        return self._tokens

    @property
    def size(self) -> int:
        """Bytes so far, uncommitted ones included."""
        return self._size

    @property
    def waiting(self) -> bool:
        """Whether it has an unfinished block; one that is closed has none."""
        return len(self._ids) > 0 and not self._closed

    @property
    def tail(self) -> Tail:
        """The unfinished block."""
        return Tail(self._block_start, self._ids, self._stops)

    @property
    def record(self) -> DocumentRecord:
        """What the index is to say of it."""
        return self._record

    def write(self, data: bytes | str) -> None:
        """Append text, tokenized by the store's tokenizer; bytes may be anything.

        Raises:
            UsageError: it is neither bytes nor text, the store has no tokenizer, or the document is closed.
        """
        with self._timeline.turn(f"writing to document {self.id}"):
            self._write(data)

    def write_whole(self, pieces: Iterable[bytes | str]) -> None:
        """Append all pieces and close the document; the caller has the writer's turn.

        Raises:
            UsageError: one is neither bytes nor text, or the store has no tokenizer.
        """
        for piece in pieces:
            self._write(piece)
        self._close(None)

    def extend(self, tokens: ArrayLike) -> None:
        """Append tokens: each stands for the bytes that it decodes to by itself, or one if there is no tokenizer.

        Args:
            tokens: integers `[n]`, all below the store's vocabulary.

        Raises:
            UsageError: a token is out of range, the document is closed, or the tokenizer does not decode tokens one by
                one, so that there is nothing that each of them stands for.
        """
        try:
            given = np.asarray(tokens)
        except ValueError:
            raise UsageError("tokens are one row of integers") from None
        if not given.ndim:
            given = given.reshape(1)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise UsageError("tokens are one row of integers")
        # What is negative becomes larger than any vocabulary.
        unsigned = given if given.dtype.kind == "u" else given.astype(np.uint64)
        # Of a few numbers the largest is found sooner than NumPy has begun to look for it.
        if given.size and (max(unsigned.tolist()) if given.size <= BLOCK else int(unsigned.max())) >= self._vocabulary:
            raise UsageError(f"tokens must lie in 0..{self._vocabulary - 1}, the store's vocabulary")
        ids = given.astype(np.uint32)
        lengths = None if self._tokenizer is None else _lengths(self._tokenizer, ids)
        with self._timeline.turn(f"writing to document {self.id}"):
            self._hash = None
            first = self._size + 1
            if lengths is None:
                self._take(ids, np.arange(first, first + len(ids), dtype=np.uint64), len(ids))
            else:
                self._take(ids, self._ends(np.cumsum(lengths)), int(lengths.sum()))

    def append(self, encoded: Encoded, piece: bytes, *, last: bool = False) -> None:
        """Append a piece of the source that was tokenized before, as bulk readers do.

        Args:
            encoded: its tokens.
            piece: its bytes.
            last: nothing but `close` with the document's digest will follow; the unfinished block is placed at once.
        """
        with self._timeline.turn(f"writing to document {self.id}"):
            self._append(encoded, piece, last=last)

    def _write(self, data: bytes | str) -> None:
        self._check_open()
        if self._tokenizer is None:
            raise UsageError("the store has no tokenizer: append tokens instead")
        whole = as_piece(data)
        start = 0
        while start < len(whole):
            stop = cut_place(whole, start, PIECE) if len(whole) - start > PIECE else len(whole)
            piece = whole[start:stop]
            self._append(self._tokenizer.encode([piece])[0], piece)
            start = stop

    def _append(self, encoded: Encoded, piece: bytes, *, last: bool = False) -> None:
        self._check_open()
        if len(encoded.stops) != len(encoded.ids):
            raise UsageError(f"{len(encoded.ids)} tokens were given with the ends of {len(encoded.stops)}")
        if last:
            self._hash = None  # whoever knows that it ends here knows the digest
        elif self._hash is not None:
            self._hash.update(piece)
        if not encoded.exact and piece:
            original = Original(self._size + len(piece), self._tokens, len(encoded.ids), zlib.compress(piece))
            self.changes.originals.append((self._size, original))
            if not len(encoded.ids):
                # No block and no tail will say that the document reaches so far.
                self._record = replace(self._record, size=original.stop)
                self.changes.record = True
        self._take(encoded.ids, self._ends(encoded.stops), len(piece), last=last)

    def close(self, digest: bytes | None = None) -> None:
        """Place the unfinished block: the document is complete.

        Args:
            digest: BLAKE2b-256 of all its bytes, if the caller knows it; worked out where it can be otherwise.
        """
        with self._timeline.turn(f"closing document {self.id}"):
            self._close(digest)

    def _close(self, digest: bytes | None) -> None:
        self._check_open()
        self._changed(self)
        if len(self._ids):
            self._place(len(self._ids), self._size)
        if digest is None:
            digest = b"" if self._hash is None else self._hash.digest()
        self._closed = True
        self._record = DocumentRecord(
            source=self._record.source,
            open=False,
            size=self._size,
            tokens=self._tokens,
            digest=digest,
            locator=self._record.locator,
            media=self._record.media,
            previous=self._record.previous,
        )
        self.changes.record = True

    def graft(self) -> int:
        """Place the one block of an image, which holds no tokens, and close the document; the block's number."""
        self._check_open()
        self._changed(self)
        grid, records = self._timeline.room(1)
        grid[:] = 0
        records[0] = (self.id, 0, 0, 0, 0)
        block = self._timeline.place(1, 0)
        self._ran(block, 1)
        self._closed = True
        self._record = replace(self._record, open=False, size=0, tokens=0, digest=b"")
        self.changes.record = True
        return block

    def adopt(self, grid: NDArray[np.uint32], records: NDArray[np.void]) -> int:
        """Take over finished blocks of the same document in another epoch.

        Args:
            grid: `uint32 [n, 32]`.
            records: `BLOCK_DTYPE [n]`.

        Returns:
            The number of the first here.
        """
        tokens = int(records["count"].sum(dtype=np.int64))
        self._changed(self)
        self._tokens += tokens
        self.changes.tokens += tokens
        placed, placed_records = self._timeline.room(len(grid))
        placed[:], placed_records[:] = grid, records
        first = self._timeline.place(len(grid), tokens)
        self._block_start = int(records["stop"][-1])
        self._ran(first, len(grid))
        return first

    def adopt_original(self, start: int, original: Original) -> None:
        """Take over source bytes, from byte `start` on, that its tokens do not give back."""
        self._changed(self)
        self.changes.originals.append((start, original))

    def finish_adoption(self, record: DocumentRecord, tail: Tail | None) -> None:
        """Take over what the document has beside its blocks and original bytes."""
        self._changed(self)
        self._record = record
        self._closed = not record.open
        self.changes.record = True
        if tail is not None:
            self._block_start, self._ids, self._stops = tail.start, tail.tokens, tail.stops
            self.changes.tail = True
            self.changes.tokens += len(tail.tokens)

    def discard(self) -> None:
        """Take no more tokens: the document was removed."""
        self._closed = True

    def committed(self) -> None:
        """Forget the changes: they are in the index now."""
        self.changes = Changes()
        self.new = False
        self.has_tail = self.waiting

    def _ends(self, stops: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The source bytes at which tokens end that are about to be taken, given where they end in what comes."""
        return np.add(stops, self._size, dtype=np.int64).view(np.uint64)

    def _take(self, ids: NDArray[np.uint32], ends: NDArray[np.uint64], size: int, *, last: bool = False) -> None:
        """Append tokens that end at bytes `ends` of the source, of which there are `size` more then."""
        self._check_open()
        self._changed(self)
        if len(ids):
            self.changes.tail = True
            self.changes.tokens += len(ids)
            self._ids = np.concatenate([self._ids, ids]) if len(self._ids) else ids
            self._stops = np.concatenate([self._stops, ends]) if len(self._stops) else ends
            self._tokens += len(ids)
        self._size += size
        if last and len(self._ids):
            self._place(len(self._ids), self._size)
        elif full := len(self._ids) // BLOCK * BLOCK:
            self._place(full, int(self._stops[full - 1]))
        elif self._ids is ids:
            self._ids = ids.copy()  # the caller may use the array again

    def _place(self, count: int, stop: int) -> None:
        """Place the first `count` waiting tokens, which end at source byte `stop`."""
        blocks = -(-count // BLOCK)
        grid, records = self._timeline.room(blocks)
        flat = grid.reshape(-1)
        flat[:count] = self._ids[:count]
        if count < len(flat):
            flat[count:] = 0
        start = self._block_start
        if blocks > 1:
            full, stops = records[:-1], self._stops[BLOCK - 1 : count - 1 : BLOCK]
            full["document"], full["sum"], full["count"] = self.id, 0, BLOCK
            full["start"][0], full["start"][1:], full["stop"] = start, stops[:-1], stops
            start = int(stops[-1])
        records[-1] = (self.id, start, stop, 0, count - (blocks - 1) * BLOCK)
        self.changes.tail = True
        self._ran(self._timeline.place(blocks, count), blocks)
        self._block_start = stop
        if count == len(self._ids):
            self._ids, self._stops = _NO_IDS, _NO_STOPS
        else:
            self._ids, self._stops = self._ids[count:].copy(), self._stops[count:].copy()

    def _ran(self, first: int, blocks: int) -> None:
        """Note that the document goes on with `blocks` blocks from `first` on."""
        ordinal, run = self._run or (self._blocks, Run(first, 0))
        if run.block + run.blocks != first:
            ordinal, run = self._blocks, Run(first, 0)
        run = Run(run.block, run.blocks + blocks)
        self._run = ordinal, run
        self.changes.runs[ordinal] = run
        self._blocks += blocks

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"document {self.id} was closed or removed; reopen it to append")


def _lengths(tokenizer: Tokenizer, ids: NDArray[np.uint32]) -> NDArray[np.int64]:
    """How many bytes each token stands for, where that does not depend on its neighbours.

    Raises:
        UsageError: it does: a token decodes to something else beside another than alone.
    """
    known = distinct(ids)
    alone = [tokenizer.decode(known[i : i + 1]) for i in range(len(known))]
    for token, data in zip(known.tolist(), alone, strict=True):
        if tokenizer.decode(np.array([token, token], np.uint32)) != data + data:
            raise UsageError(
                f"token {token} of the store's tokenizer ({tokenizer.kind} {tokenizer.fingerprint[:12]}) stands for no "
                "bytes of its own: append the text with `write`, or use a store without a tokenizer"
            )
    lengths: NDArray[np.int64] = np.array([len(data) for data in alone], np.int64)[np.searchsorted(known, ids)]
    return lengths


def new_record(source: bytes, locator: Mapping[str, int | str] | None, media: str, previous: int) -> DocumentRecord:
    """The record of a document that has just begun.

    Raises:
        UsageError: the locator or the medium cannot be stored.
    """
    media = checked_text(media, "the medium of a document")
    return DocumentRecord(
        source=source, open=True, locator=as_locator({} if locator is None else locator), media=media, previous=previous
    )
