"""What did the tree hold at one commit?  A consistent view that costs next to nothing to take, hold and send.

A snapshot is a commit number: every fact in the store says since which commit it holds, so looking something up *as of*
the number is all there is to it.  Index transactions last one look-up, so a snapshot held for days pins no index pages;
a lease keeps the files that it needs.  Pickling one sends (path, store, epoch, commit), and the other side opens the
store anew; after a fork the child does the same by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError, NotFoundError, UsageError
from mctree.format.facts import ArrayState, Commit, DocumentRecord, Stamp
from mctree.format.keys import Table, block_page_key, source_digest, u64
from mctree.format.records import BLOCK, BLOCK_DTYPE, BLOCKS_PER_PAGE, decode_blocks
from mctree.geometry import TEXT, Address, Cut, cover
from mctree.storage.index import Reading
from mctree.storage.store import Store
from mctree.tree.documents import Document
from mctree.tree.gists import GistView, default_set, gist_set_named, gist_sets
from mctree.tree.links import Link, all_links, links_in
from mctree.tree.node import Node, Provenance
from mctree.tree.rows import Rows
from mctree.tree.world import TimelineWorld

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["BEFORE", "COUNT", "LOD0", "Packed", "Snapshot", "as_source", "read_block_page"]

LOD0, COUNT, BEFORE = 0, 1, 2
"""Numbers of the arrays that every store has: tokens, real tokens per block, real tokens before every 32nd block."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Real tokens without padding.

    Attributes:
        tokens: `[n]`, of the store's token type.
        blocks: `int64 [b]`: the blocks they come from, in order.
        counts: `int64 [b]`: how many each block gave.
    """

    tokens: NDArray[np.generic]
    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]


class Snapshot:
    """The tree at one commit; made by `Tree.snapshot`, closed by `close` or a `with` block.

    Attributes:
        tree: the tree it was taken from.
        commit: its commit's number.
    """

    def __init__(self, tree: Tree, store: Store, record: Commit) -> None:
        """Take over a commit that `store` already holds for it."""
        self.tree = tree
        self.commit = record.number
        self._record = record
        self._store = store
        self._held = True
        self._world: TimelineWorld | None = None
        self._rows: dict[int, Rows] = {}

    def __repr__(self) -> str:
        held = f"{self.documents_count} documents, {self.tokens_count} tokens"
        return f"<Snapshot {self.tree.path} commit {self.commit}: {held}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_held", False):
            self.close()

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _reopen, (self.tree.path, self._store.identity, self.commit, self.tree.portable)

    def close(self) -> None:
        """Let the commit be collected once nobody else holds it."""
        if self._held:
            self._held = False
            self._store.unhold(self.commit)

    def advance(self, record: Commit) -> None:
        """Become a view of the commit that the one writer, whose snapshot this is, has just made."""
        # Nobody but the writer collects commits, so the newest needs no check after it is leased.
        self.store.leases.exchange(self.commit, record.number)
        self.commit, self._record = record.number, record
        self._forget()

    # What it is

    @property
    def store(self) -> Store:
        """The open store in this process; a forked child gets one of its own at its first use."""
        if not self._held:
            raise UsageError("this snapshot was closed; take a new one")
        if self._store.pid != os.getpid():
            store = Store(self.tree.path, writable=False, identity=self._store.identity)
            store.hold(self.commit)
            self._store = store
            self._forget()
        return self._store

    @property
    def record(self) -> Commit:
        """The commit's record."""
        return self._record

    @property
    def blocks(self) -> int:
        """Blocks placed on the timeline, dead ones included."""
        return self._record.blocks

    @property
    def positions(self) -> int:
        """LOD0 positions of the timeline: 32 for each block."""
        return self._record.blocks * BLOCK

    @property
    def tokens_count(self) -> int:
        """Real tokens of all live documents."""
        return self._record.tokens

    @property
    def documents_count(self) -> int:
        """Live documents."""
        return self._record.documents

    @property
    def token_dtype(self) -> np.dtype[np.generic]:
        """Element type of stored tokens."""
        return self.rows(LOD0).layout.numpy

    @property
    def top(self) -> int:
        """The highest level that has a node (0 if nothing is placed)."""
        return int(TEXT.top(self.positions))

    @property
    def world(self) -> TimelineWorld:
        """What exists, for geometry and counting."""
        store = self.store
        if self._world is None:
            self._world = TimelineWorld(
                self.blocks,
                self.tree.deaths(store, self.commit),
                self.rows(BEFORE),
                self.rows(COUNT),
            )
        return self._world

    def reading(self) -> AbstractContextManager[Reading]:
        """Look things up in the index; keep the block short.

        Raises:
            CommitGoneError: this user may not take leases, and the commit was collected meanwhile.
        """
        store = self.store
        return store.reading() if store.leases.writable else store.reading(self.commit)

    # Tokens

    def tokens(self, start: int, stop: int, out: NDArray[np.generic] | None = None) -> NDArray[np.generic]:
        """The stored tokens at positions [start, stop), padding (0) and dead ones included: `[stop - start]`."""
        self._check_range(start, stop)
        return self.rows(LOD0).read(start, stop, out)

    def view(self, start: int = 0, stop: int | None = None) -> NDArray[np.generic]:
        """The same without copying, where the level is mapped as a whole: a read-only array."""
        stop = self.positions if stop is None else stop
        self._check_range(start, stop)
        return self.rows(LOD0).view(start, stop)

    def counts(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Real tokens of each of the blocks [start, stop): `uint8 [stop - start]`."""
        self._check_range(start * BLOCK, stop * BLOCK)
        counts: NDArray[np.uint8] = self.rows(COUNT).read(start, stop).astype(np.uint8, copy=False)
        return counts

    def packed(self, start: int, stop: int, *, dead: bool = False) -> Packed:
        """The real tokens among positions [start, stop), padding skipped.

        Args:
            start: first position; need not be the start of a block.
            stop: position after the last.
            dead: also those of documents that are gone.
        """
        self._check_range(start, stop)
        first, last = start // BLOCK, -(-stop // BLOCK)
        blocks = np.arange(first, last, dtype=np.int64)
        alive = np.ones(len(blocks), np.bool_) if dead else self.world.exists(1, blocks)
        offsets = np.arange(BLOCK, dtype=np.int64)
        positions = blocks[:, None] * BLOCK + offsets
        counts = self.rows(COUNT).read(first, last).astype(np.int64)
        real = (offsets < counts[:, None]) & alive[:, None] & (positions >= start) & (positions < stop)
        grid = self.rows(LOD0).read(first * BLOCK, last * BLOCK).reshape(-1, BLOCK)
        kept = real.sum(axis=1)
        found = kept > 0
        return Packed(grid[real], blocks[found], kept[found])

    def text(self, start: int, stop: int) -> str:
        """What the real, live tokens at positions [start, stop) say.

        Raises:
            UsageError: the store has no tokenizer.
        """
        tokenizer = self.tree.tokenizer
        if tokenizer is None:
            raise UsageError("the store has no tokenizer: read tokens instead")
        tokens = self.packed(start, stop).tokens
        return tokenizer.decode(np.asarray(tokens, np.uint32)).decode("utf-8", "replace")

    # Nodes

    def exists(self, address: Address) -> bool:
        """Whether a node exists: complete, not wholly dead, and for LOD0 a real token."""
        self._check_space(address)
        if address.level > TEXT.max_level or address.index >= int(TEXT.complete(address.level, self.positions)):
            return False
        if not bool(self.world.exists(address.level, np.array([address.index]))[0]):
            return False
        if address.level == 0:
            block, offset = divmod(address.index, BLOCK)
            return offset < int(self.counts(block, block + 1)[0])
        return True

    def node(self, address: Address | str | tuple[int, int]) -> Node:
        """The node at an address: an `Address`, its text form such as `2:17`, or (level, index).

        Raises:
            NotFoundError: there is none in this snapshot.
        """
        if isinstance(address, str):
            address = Address.parse(address)
        elif not isinstance(address, Address):
            address = Address(0, *address)
        if not self.exists(address):
            raise NotFoundError(f"node {address} does not exist at commit {self.commit}")
        return Node(self, address)

    def at(self, position: int, level: int = 1) -> Node:
        """The node of a level above a LOD0 position.

        Raises:
            NotFoundError: there is none.
        """
        self._check_range(position, position + 1)
        return self.node((level, int(TEXT.node_at(level, position))))

    def find(self, source: bytes | str | Document, byte: int = 0) -> Node:
        """The block that holds a byte of a source.

        Raises:
            NotFoundError: no live document has that source, or no placed block holds the byte.
        """
        document = source if isinstance(source, Document) else self.document(source)
        return self.node((1, document.block_at(byte)))

    def cover(self, start: int = 0, stop: int | None = None) -> Cut:
        """The smallest gap-free cover of positions [start, stop) by nodes that exist; tails come behind it."""
        stop = self.positions if stop is None else stop
        self._check_range(start, stop)
        return cover(TEXT, start, stop, world=self.world.geometry)

    def block_records(self, first: int, count: int) -> NDArray[np.void]:
        """The index records of blocks [first, first + count): a structured array of `BLOCK_DTYPE`."""
        self._check_range(first * BLOCK, (first + count) * BLOCK)
        pages = range(first // BLOCKS_PER_PAGE, -(-(first + count) // BLOCKS_PER_PAGE))
        with self.reading() as index:
            records = [read_block_page(index, page) for page in pages]
        if not records:
            return np.empty(0, BLOCK_DTYPE)
        skip = first - pages[0] * BLOCKS_PER_PAGE
        found = np.concatenate(records)[skip : skip + count]
        if len(found) != count:
            raise CorruptError(f"the records of blocks {first}..{first + count} are cut off; run `mctree verify`")
        return found

    def provenance(self, start: int, stop: int, limit: int | None = None) -> list[Provenance]:
        """Which bytes of which sources the live blocks that meet positions [start, stop) stand for, in order."""
        self._check_range(start, stop)
        found: list[Provenance] = []
        last = -(-stop // BLOCK)
        first = start // BLOCK
        while first < last:
            count = min(last - first, 1 << 12)
            records = self.block_records(first, count)
            alive = self.world.exists(1, np.arange(first, first + count))
            for record in records[alive]:
                document, begin, end = int(record["document"]), int(record["start"]), int(record["stop"])
                if found and found[-1].document == document and found[-1].stop == begin:
                    found[-1] = Provenance(document, found[-1].source, found[-1].start, end)
                    continue
                if limit is not None and len(found) == limit:
                    return found
                source = next((p.source for p in found if p.document == document), None)
                found.append(Provenance(document, source or self.document(document).source, begin, end))
            first += count
        return found

    # Documents

    def document(self, which: int | bytes | str) -> Document:
        """A live document by its number, or by the name of its source.

        Raises:
            NotFoundError: there is none at this commit.
        """
        number = which if isinstance(which, int) else self.number(as_source(which))
        with self.reading() as index:
            known = 0 < number < 1 << 64
            found = index.floor(Table.DOCUMENT + u64.pack(number), u64.pack(self.commit)) if known else None
        if found is None or not found[1]:
            shown = which if isinstance(which, int) else as_source(which).decode("utf-8", "backslashreplace")
            raise NotFoundError(f"no document {shown!r} at commit {self.commit}; `mctree docs` lists them")
        return Document(self, number, u64.unpack(found[0])[0], DocumentRecord.decode(found[1]))

    def number(self, source: bytes) -> int:
        """The number of the live document of a source (0: none)."""
        with self.reading() as index:
            return self._number(index, source)

    def documents(self) -> Iterator[Document]:
        """All live documents, in order of their numbers."""
        after = 0
        while True:
            with self.reading() as index:
                batch = []
                for key, since, payload in index.versions(Table.DOCUMENT, self.commit, start=u64.pack(after)):
                    batch.append((u64.unpack(key)[0], since, payload))
                    if len(batch) == 1000:
                        break
            for number, since, payload in batch:
                yield Document(self, number, since, DocumentRecord.decode(payload))
            if len(batch) < 1000:
                return
            after = batch[-1][0] + 1

    def sources(self) -> Iterator[tuple[bytes, int, DocumentRecord]]:
        """Every live document's source, number and record, without looking at its blocks."""
        after = 0
        while True:
            with self.reading() as index:
                batch = []
                for key, _, payload in index.versions(Table.DOCUMENT, self.commit, start=u64.pack(after)):
                    batch.append((u64.unpack(key)[0], DocumentRecord.decode(payload)))
                    if len(batch) == 1000:
                        break
            for number, record in batch:
                yield record.source, number, record
            if len(batch) < 1000:
                return
            after = batch[-1][0] + 1

    def stamp(self, item: bytes) -> Stamp | None:
        """What a sync last saw of an input; a hint, the same for all commits."""
        with self.reading() as index:
            payload = index.get(Table.STAMP + source_digest(item))
        return None if payload is None else Stamp.decode(payload)

    def recall(self, source: bytes) -> tuple[Stamp | None, int, DocumentRecord | None]:
        """What a sync has to know of an input, in one look-up.

        Returns:
            Its stamp, and the number (0: none) and record of the live document of that name.
        """
        with self.reading() as index:
            stamp = index.get(Table.STAMP + source_digest(source))
            number = self._number(index, source)
            record = index.version(Table.DOCUMENT, u64.pack(number), self.commit) if number else None
        return (
            None if stamp is None else Stamp.decode(stamp),
            number,
            None if record is None else DocumentRecord.decode(record),
        )

    def tails(self) -> list[Document]:
        """Open documents that have an unfinished block: what a cut of everything shows last, at LOD0."""
        with self.reading() as index:
            numbers = [u64.unpack(key)[0] for key, _, _ in index.versions(Table.TAIL, self.commit)]
        return [self.document(number) for number in numbers]

    # Gists and links

    def gists(self, name: str | None = None) -> GistView:
        """A gist set (the default one if none is named).

        Raises:
            NotFoundError: there is no such set at this commit.
        """
        with self.reading() as index:
            number, record = gist_set_named(index, self.commit, name)
        return GistView(self, number, record)

    def gist_sets(self) -> list[GistView]:
        """All gist sets, in the order in which they were begun."""
        with self.reading() as index:
            sets = gist_sets(index, self.commit)
        return [GistView(self, number, record) for number, record in sorted(sets.items())]

    @property
    def default_gists(self) -> str | None:
        """The name of the default gist set, if there is one."""
        with self.reading() as index:
            number = default_set(index, self.commit)
            sets = gist_sets(index, self.commit)
        return sets[number].name if number in sets else None

    def links(self, start: int, stop: int, space: int = 0) -> list[Link]:
        """Links from or to spans that meet [start, stop) of a space."""
        with self.reading() as index:
            return links_in(index, self.commit, space, start, stop)

    def all_links(self) -> list[Link]:
        """All links, in order of their numbers."""
        with self.reading() as index:
            return all_links(index, self.commit)

    # Within the room

    def rows(self, array: int) -> Rows:
        """An array of the store as this commit sees it."""
        store = self.store
        rows = self._rows.get(array)
        if rows is None:
            # Kept, for the store finds a level again only by what its newest users see.
            state = self.state(array)
            level = store.level(array, state, self.commit, portable=self.tree.portable)
            rows = self._rows[array] = Rows(level, state.rows)
        return rows

    def state(self, array: int) -> ArrayState:
        """What the commit sees of an array: how many rows, and when a chunk of it was last replaced."""
        return self._record.arrays.get(array, ArrayState(0))

    def _forget(self) -> None:
        """What was read of another commit, or through another store, is not this one's."""
        self._world = None
        self._rows.clear()

    def _number(self, index: Reading, source: bytes) -> int:
        prefix = source_digest(source)
        for key, _, payload in index.versions(Table.SOURCE, self.commit, prefix=prefix):
            if payload[1:] == source:
                return int(u64.unpack(key[len(prefix) :])[0])
        return 0

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.positions:
            raise NotFoundError(
                f"positions {start}..{stop} are not within 0..{self.positions}, what commit {self.commit} holds"
            )

    def _check_space(self, address: Address) -> None:
        if address.space != 0:
            raise NotFoundError(f"node {address} lies in space {address.space}, which this store does not have")


def read_block_page(index: Reading, page: int) -> NDArray[np.void]:
    """A page of block records.

    Raises:
        CorruptError: it is missing: blocks that were placed always have records.
    """
    payload = index.get(block_page_key(page))
    if payload is None:
        first = page * BLOCKS_PER_PAGE
        raise CorruptError(f"the records of blocks {first} and on are missing; run `mctree verify`")
    return decode_blocks(payload)


def as_source(source: bytes | str) -> bytes:
    """A source's name as the bytes that stand in the store.

    Raises:
        UsageError: it is a string that stands for no bytes.
    """
    try:
        return source if isinstance(source, bytes) else source.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"source {ascii(source)[:80]} is no name: give its bytes instead") from None


def _reopen(path: str, identity: tuple[bytes, int], commit: int, portable: bool) -> Snapshot:
    from mctree.tree.tree import Tree  # noqa: PLC0415  # trees make snapshots; one that travelled makes its tree

    return Tree(path, writable=False, identity=identity, portable=portable).snapshot(commit)
