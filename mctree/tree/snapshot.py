"""What did the tree hold at one commit?  A consistent view that costs next to nothing to take, hold and send.

A snapshot is a commit number that a process holds (`held`); here is what can be asked of it.  Pickling one sends (path,
store, epoch, commit), and the other side opens the store anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.format.commits import Commit
from mctree.format.facts import DocumentRecord, Stamp
from mctree.format.images import ARENA
from mctree.format.keys import Table, u64
from mctree.format.records import BLOCK
from mctree.geometry import TEXT, Address, Cut, cover
from mctree.storage.store import Store
from mctree.tree.arguments import as_address, as_integer
from mctree.tree.catalogue import find_document, live_documents, number_of, read_stamp, recall
from mctree.tree.codecs import decoded
from mctree.tree.documents import Document
from mctree.tree.gists import GistView, default_set, gist_set_named, gist_sets
from mctree.tree.held import Held
from mctree.tree.images.arena import Arena
from mctree.tree.images.gallery import Gallery
from mctree.tree.images.image import Image
from mctree.tree.images.nodes import ImageNode, image_node_exists
from mctree.tree.intact import intact_tokens
from mctree.tree.links import Link, all_links, links_in
from mctree.tree.moments import Moments
from mctree.tree.node import Node, node_exists
from mctree.tree.packing import Packed, packed
from mctree.tree.provenance import Provenance, block_documents, block_records, provenance
from mctree.tree.text_arrays import BEFORE, COUNT, LOD0
from mctree.tree.world import TimelineWorld

if TYPE_CHECKING:
    from mctree.tree.tree import Tree

__all__ = ["Snapshot"]


class Snapshot(Held):
    """The tree at one commit; made by `Tree.snapshot`, closed by `close` or a `with` block.

    Attributes:
        tree: the tree it was taken from.
        commit: its commit's number.
    """

    def __init__(self, tree: Tree, store: Store, record: Commit) -> None:
        """Take over a commit that `store` already holds for it."""
        super().__init__(tree, store, record)
        self._world: TimelineWorld | None = None
        self._gallery: Gallery | None = None

    def __repr__(self) -> str:
        held = f"{self.documents_count} documents, {self.tokens_count} tokens"
        return f"<Snapshot {self.tree.path} commit {self.commit}: {held}>"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _reopen, (self.tree.path, self._store.identity, self.commit, self.tree.portable)

    # What it is

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
            deaths, images = self.tree.deaths(store, self.commit), self.gallery.places.blocks
            self._world = TimelineWorld(
                self.blocks, deaths, self.rows(BEFORE), self.rows(COUNT), Moments.of(store), images
            )
        return self._world

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
        return packed(self, start, stop, dead=dead)

    def text(self, start: int, stop: int) -> str:
        """What the real, live tokens at positions [start, stop) say; compared with the checksums of their blocks.

        Raises:
            NotFoundError: there are no such positions.
            UsageError: the store has no tokenizer.
            CorruptError: they are not those that were committed.
        """
        tokenizer = self.tree.tokenizer
        if tokenizer is None:
            raise UsageError("the store has no tokenizer: read tokens instead")
        self._check_range(start, stop)
        return decoded(tokenizer, intact_tokens(self, start, stop)).decode("utf-8", "replace")

    # Nodes

    def exists(self, address: Address | str | tuple[int, int]) -> bool:
        """Whether a node exists: complete, not wholly dead, and for LOD0 a real token.

        Args:
            address: as `node` takes it.

        Raises:
            NotFoundError: it lies in a space that the store does not have.
        """
        address = as_address(address)
        self._check_space(address)
        return image_node_exists(self, address) if address.space else node_exists(self, address)

    def node(self, address: Address | str | tuple[int, int]) -> Node:
        """The node at an address: an `Address`, its text form such as `2:17`, or (level, index).

        Raises:
            NotFoundError: there is none in this snapshot.
        """
        address = as_address(address)
        if not self.exists(address):
            raise NotFoundError(f"node {address} does not exist at commit {self.commit}")
        return ImageNode(self, address) if address.space else Node(self, address)

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
        with self.reading() as index:
            return block_records(index, first, count)

    def documents_of(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the documents that blocks belong to, in any order: `int64 [n]`."""
        if len(blocks):
            self._check_range(int(blocks.min()) * BLOCK, (int(blocks.max()) + 1) * BLOCK)
        with self.reading() as index:
            return block_documents(index, blocks)

    def provenance(self, start: int, stop: int, limit: int | None = None) -> list[Provenance]:
        """Which bytes of which sources the live blocks that meet positions [start, stop) stand for, in order."""
        self._check_range(start, stop)
        return provenance(self, start, stop, limit)

    # Documents

    def document(self, which: int | bytes | str) -> Document:
        """A live document by its number, or by the name of its source.

        Raises:
            NotFoundError: there is none at this commit.
        """
        return Document(self, *find_document(self, which))

    def number(self, source: bytes) -> int:
        """The number of the live document of a source (0: none)."""
        with self.reading() as index:
            return number_of(index, source, self.commit)

    def documents(self) -> Iterator[Document]:
        """All live documents, in order of their numbers."""
        for number, since, record in live_documents(self):
            yield Document(self, number, since, record)

    def sources(self) -> Iterator[tuple[bytes, int, DocumentRecord]]:
        """Every live document's source, number and record, without looking at its blocks."""
        for number, _, record in live_documents(self):
            yield record.source, number, record

    def stamp(self, item: bytes) -> Stamp | None:
        """What a sync last saw of an input; a hint, the same for all commits."""
        with self.reading() as index:
            return read_stamp(index, item)

    def recall(self, source: bytes) -> tuple[Stamp | None, int, DocumentRecord | None]:
        """What a sync has to know of an input, in one look-up.

        Returns:
            Its stamp, and the number (0: none) and record of the live document of that name.
        """
        with self.reading() as index:
            return recall(index, source, self.commit)

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

    # Images

    def images(self) -> Iterator[Image]:
        """All live images, in the order of the timeline."""
        for graft in self.gallery.places.grafts:
            yield Image(self, graft)

    def image(self, which: int | bytes | str) -> Image:
        """A live image by the number of its document, or by the name of its source.

        Raises:
            NotFoundError: there is none at this commit.
        """
        number = find_document(self, which)[0]
        graft = self.gallery.places.of_document(number)
        if graft is None:
            raise NotFoundError(f"document {number} is no image")
        return Image(self, graft)

    @property
    def gallery(self) -> Gallery:
        """What is known of images: where they lie, and in which arrays."""
        store = self.store
        if self._gallery is None:
            self._gallery = Gallery(store, self._record, self.tree.deaths(store, self.commit))
        return self._gallery

    @property
    def arena(self) -> Arena:
        """What exists of the arena in which all images lie, for geometry and counting."""
        return self.gallery.arena(self.rows)

    # Within

    def _forget(self) -> None:
        super()._forget()
        self._world = self._gallery = None

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= as_integer(start, "a position") <= as_integer(stop, "a position") <= self.positions:
            raise NotFoundError(
                f"positions {start}..{stop} are not within 0..{self.positions}, what commit {self.commit} holds"
            )

    def _check_space(self, address: Address) -> None:
        if address.space > (ARENA if self._record.grafts else 0):
            raise NotFoundError(f"node {address} lies in space {address.space}, which this store does not have")


def _reopen(path: str, identity: tuple[bytes, int], commit: int, portable: bool) -> Snapshot:
    from mctree.tree.tree import Tree  # noqa: PLC0415  # trees make snapshots; one that travelled makes its tree

    return Tree(path, writable=False, identity=identity, portable=portable).snapshot(commit)
