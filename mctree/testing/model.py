"""What should a store hold?  The same as a few Python lists: blocks in order, and documents that own them.

`Model` does to the lists what a writer does to a store, refuses what a writer has to refuse, and keeps a copy of the
lists for every commit.  It knows nothing of files, chunks, indices or levels, and is made to be read, not to be fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, Tokenizer
from mctree.errors import MctreeError, NotFoundError, UsageError
from mctree.testing.edits import Edit

__all__ = ["Model", "ModelBlock", "ModelDocument", "ModelLink", "ModelSet", "RefusedError", "State"]

BLOCK = 32


class RefusedError(Exception):
    """The model cannot do it; the store must raise `error`."""

    def __init__(self, error: type[MctreeError], why: str) -> None:
        super().__init__(why)
        self.error = error


@dataclass(frozen=True, slots=True, eq=False)
class ModelBlock:
    """A block on the timeline: `tokens` of one document, standing for its bytes [start, stop)."""

    document: int
    tokens: NDArray[np.uint32]
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class ModelDocument:
    """A live document.

    Attributes:
        id: its number.
        source: its name.
        previous: which document it superseded (0: none).
        open: whether it may be appended to.
        data: its bytes; as many as it has tokens, all zero, in a store without a tokenizer.
        tokens: `uint32 [n]`.
        stops: `int64 [n]`: the byte at which each token ends.
        blocks: the numbers of its blocks, in order.
        placed: how many of its tokens are in blocks.
        start: the byte at which its next block starts.
        hashed: whether one writer saw all its bytes, so that it has a digest when it is closed.
        locator: where inside a container it was found.
    """

    id: int
    source: bytes
    previous: int = 0
    open: bool = True
    data: bytes = b""
    tokens: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    stops: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    blocks: tuple[int, ...] = ()
    placed: int = 0
    start: int = 0
    hashed: bool = True
    locator: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """What the store says of its bytes."""
        known = self.hashed and not self.open
        return hashlib.blake2b(self.data, digest_size=32).digest() if known else b""


@dataclass(frozen=True, slots=True)
class ModelLink:
    """A link between two spans of positions."""

    source: tuple[int, int]
    target: tuple[int, int]
    kind: str
    score: float


@dataclass(frozen=True, slots=True)
class ModelSet:
    """A gist set: who encodes, how many blocks have gists, and up to which commit deaths are accounted for."""

    encoder: Encoder
    dtype: str
    rows: int
    refreshed: int


@dataclass(eq=False)
class State:
    """What one commit holds, or what the next one will."""

    documents: dict[int, ModelDocument] = field(default_factory=dict)
    blocks: list[ModelBlock] = field(default_factory=list)
    dead: dict[int, int] = field(default_factory=dict)
    """Dead block → the commit in which it died."""
    links: dict[int, ModelLink] = field(default_factory=dict)
    sets: dict[str, ModelSet] = field(default_factory=dict)
    default: str | None = None
    epoch: int = 0

    def copy(self) -> State:
        """The same; what is in the containers never changes."""
        return State(
            dict(self.documents),
            list(self.blocks),
            dict(self.dead),
            dict(self.links),
            dict(self.sets),
            self.default,
            self.epoch,
        )

    def live(self, source: bytes) -> ModelDocument | None:
        """The live document of a source."""
        return next((document for document in self.documents.values() if document.source == source), None)


class Model:
    """A store in a few lists, with one writer that may have done things which are not committed.

    Args:
        tokenizer: the store's tokenizer.
        vocabulary: how many different tokens there are.
        newest: the number of the store's newest commit, which is empty.
    """

    def __init__(self, tokenizer: Tokenizer | None, vocabulary: int, newest: int) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.newest = newest
        self.now = State()
        self.commits: dict[int, State] = {newest: self.now.copy()}
        self._numbers = {"document": 1, "link": 1}
        self.abandon()

    # The writer

    def abandon(self) -> None:
        """The writer is gone, and what it did not commit is forgotten."""
        self.now = self.commits[self.newest].copy()
        self._next = dict(self._numbers)
        self._handles: dict[bytes, int] = {}
        self._writable: set[int] = set()
        self._closed: set[int] = set()
        self._dirty: set[int] = set()
        self._changed = False

    @property
    def pending_blocks(self) -> int:
        """Blocks placed since the last commit."""
        return len(self.now.blocks) - len(self.commits[self.newest].blocks)

    @property
    def changed(self) -> bool:
        """Whether there is something to commit, gists aside."""
        return self._changed or bool(self._dirty) or self.now.links != self.commits[self.newest].links

    def removable(self, source: bytes) -> bool:
        """Whether a document can be removed, or superseded, now."""
        live = self.now.live(source)
        return live is not None and live.id not in self._dirty

    def reopenable(self, source: bytes) -> bool:
        """Whether a document can be reopened now."""
        live = self.now.live(source)
        return live is not None and live.id not in self._closed

    def do(self, edit: Edit) -> None:
        """Do what `Scribe.do` does.

        Raises:
            RefusedError: it cannot be done, and nothing was.
        """
        match edit.action:
            case "begin":
                self._handles[edit.source] = self._begin(edit.source, edit.replace)
            case "reopen":
                self._handles[edit.source] = self._reopen(edit.source)
            case "write":
                self._write(self._handle(edit.source), edit.data)
            case "extend":
                self._extend(self._handle(edit.source), edit.tokens)
            case "close":
                self._close(self._handle(edit.source))
            case "add":
                self.add(edit.source, [edit.data], superseding=edit.replace)
            case "remove":
                self._remove(edit.source)

    def add(
        self,
        source: bytes,
        pieces: Iterable[bytes],
        *,
        superseding: bool = False,
        locator: Mapping[str, int | str] | None = None,
    ) -> None:
        """Append a whole document."""
        number = self._begin(source, superseding)
        self.now.documents[number] = replace(self.now.documents[number], locator=dict(locator or {}))
        for piece in pieces:
            self._write(number, piece)
        self._close(number)

    def link(self, link: ModelLink) -> int:
        """Link two spans; returns the link's number."""
        number = self._next["link"]
        self._next["link"] += 1
        self.now.links[number] = link
        return number

    def unlink(self, number: int) -> None:
        """End a link."""
        if number not in self.now.links:
            raise RefusedError(NotFoundError, f"no link {number}")
        del self.now.links[number]

    def touch(self) -> None:
        """Something was changed that no snapshot sees."""
        self._changed = True

    def gists_made(self) -> None:
        """Every set has gists of all blocks placed so far."""
        for name, one in self.now.sets.items():
            self.now.sets[name] = replace(one, rows=len(self.now.blocks))

    def commit(self, number: int) -> None:
        """What was done is now commit `number`."""
        for block in self.now.dead:
            self.now.dead[block] = self.now.dead[block] or number
        self.newest = number
        self.commits[number] = self.now.copy()
        self._numbers = dict(self._next)
        self._closed.clear()
        self._dirty.clear()
        self._changed = False

    def compact(self, newest: int) -> None:
        """The store was written anew without its dead blocks; `newest` is its newest commit now."""
        old = self.commits[self.newest]
        place: dict[int, int] = {}
        for block in range(len(old.blocks)):
            if block not in old.dead:
                place[block] = len(place)

        def moved(span: tuple[int, int]) -> tuple[int, int] | None:
            positions = [p for p in range(*span) if p // BLOCK in place]
            if not positions:
                return None
            first, last = positions[0], positions[-1]
            return place[first // BLOCK] * BLOCK + first % BLOCK, place[last // BLOCK] * BLOCK + last % BLOCK + 1

        spans = {n: (moved(link.source), moved(link.target), link) for n, link in old.links.items()}
        self.now = State(
            documents={
                number: replace(document, blocks=tuple(place[block] for block in document.blocks))
                for number, document in old.documents.items()
            },
            blocks=[old.blocks[block] for block in place],
            links={n: replace(link, source=s, target=t) for n, (s, t, link) in spans.items() if s and t},
            sets={name: replace(one, rows=len(place), refreshed=newest) for name, one in old.sets.items()},
            default=old.default,
            epoch=old.epoch + 1,
        )
        self.newest = newest
        self.commits = {newest: self.now.copy()}
        self.abandon()

    # Documents

    def _begin(self, source: bytes, superseding: bool) -> int:
        live = self.now.live(source)
        if live is not None and not superseding:
            raise RefusedError(UsageError, "the source is taken")
        if live is not None:
            self._remove(source)
        number = self._next["document"]
        self._next["document"] += 1
        self.now.documents[number] = ModelDocument(number, source, previous=live.id if live else 0)
        self._writable.add(number)
        self._dirty.add(number)
        return number

    def _reopen(self, source: bytes) -> int:
        live = self.now.live(source)
        if live is None:
            raise RefusedError(NotFoundError, "no such document")
        if live.id in self._closed:
            raise RefusedError(UsageError, "it was closed since the last commit")
        if live.id not in self._writable:
            if not live.open:
                self._dirty.add(live.id)
            self._writable.add(live.id)
            self.now.documents[live.id] = replace(live, open=True, hashed=False)
        return live.id

    def _handle(self, source: bytes) -> int:
        if source not in self._handles:
            self._handles[source] = self._reopen(source)
        return self._handles[source]

    def _document(self, number: int) -> ModelDocument:
        if number not in self._writable:
            raise RefusedError(UsageError, "it is closed, or gone")
        return self.now.documents[number]

    def _write(self, number: int, data: bytes) -> None:
        document = self._document(number)
        if self.tokenizer is None:
            raise RefusedError(UsageError, "the store has no tokenizer")
        if data:
            encoded = self.tokenizer.encode([data])[0]
            self._append(document, encoded.ids, encoded.stops, data)

    def _extend(self, number: int, tokens: tuple[int, ...]) -> None:
        if any(not 0 <= token < self.vocabulary for token in tokens):
            raise RefusedError(UsageError, "a token is not in the vocabulary")
        document = replace(self._document(number), hashed=False)
        self.now.documents[number] = document
        if not tokens:
            return
        ids = np.array(tokens, np.uint32)
        if self.tokenizer is None:
            pieces = [b"\0"] * len(ids)
        else:
            pieces = [self.tokenizer.decode(ids[i : i + 1]) for i in range(len(ids))]
        stops = np.cumsum([len(piece) for piece in pieces])
        self._append(document, ids, stops, b"".join(pieces))

    def _append(self, document: ModelDocument, ids: NDArray[np.uint32], stops: NDArray[np.int64], data: bytes) -> None:
        document = replace(
            document,
            tokens=np.concatenate([document.tokens, ids]),
            stops=np.concatenate([document.stops, stops + len(document.data)]),
            data=document.data + data,
        )
        self._dirty.add(document.id)
        while len(document.tokens) - document.placed >= BLOCK:
            document = self._placed(document, BLOCK, int(document.stops[document.placed + BLOCK - 1]))
        self.now.documents[document.id] = document

    def _placed(self, document: ModelDocument, count: int, stop: int) -> ModelDocument:
        """The document after its next `count` tokens, which end at byte `stop`, became a block."""
        tokens = document.tokens[document.placed : document.placed + count]
        self.now.blocks.append(ModelBlock(document.id, tokens, document.start, stop))
        blocks = (*document.blocks, len(self.now.blocks) - 1)
        return replace(document, blocks=blocks, placed=document.placed + count, start=stop)

    def _close(self, number: int) -> None:
        document = self._document(number)
        if rest := len(document.tokens) - document.placed:
            document = self._placed(document, rest, len(document.data))
        self.now.documents[number] = replace(document, open=False)
        self._writable.discard(number)
        self._closed.add(number)
        self._dirty.add(number)

    def _remove(self, source: bytes) -> None:
        live = self.now.live(source)
        if live is None:
            raise RefusedError(NotFoundError, "no such document")
        if live.id in self._dirty:
            raise RefusedError(UsageError, "it has changes that are not committed")
        del self.now.documents[live.id]
        # Nought stands for the commit that is not yet made.
        self.now.dead.update(dict.fromkeys(live.blocks, 0))
        self._writable.discard(live.id)
        self._changed = True
