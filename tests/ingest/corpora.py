"""Folders that are made from a dict and changed by edits, and what a store has of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

import mctree
from mctree.ingest import Report, ingest
from mctree.sources import Item, RawDocument, Root, Skipped, Stamp
from mctree.testing import assert_whole

PLAIN: dict[str, Any] = {"tokenizer": "bytes", "encoder": "none", "chunk_bytes": 1 << 16, "workers": 1}
"""Arguments of the plainest and fastest ingest into a new store."""


@dataclass(frozen=True)
class Held:
    """What a store has of one document."""

    id: int
    data: bytes
    blocks: tuple[int, ...]
    previous: int
    open: bool
    locator: dict[str, int | str]


def held(store: str) -> dict[bytes, Held]:
    """All documents of a store, which must be whole."""
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert_whole(tree)
        return {
            document.source: Held(
                document.id,
                document.read(),
                tuple(block for run in document.runs for block in range(run.block, run.block + run.blocks)),
                document.previous,
                document.open,
                document.locator,
            )
            for document in snapshot.documents()
        }


def texts(store: str) -> dict[bytes, bytes]:
    """The bytes of all documents, none of which may be open."""
    found = held(store)
    assert not any(document.open for document in found.values())
    return {name: document.data for name, document in found.items()}


def commits(store: str) -> int:
    """The number of the newest commit."""
    with mctree.open(store, writable=False) as tree:
        return tree.commits()[-1].number


def write(root: str, files: Mapping[str, bytes]) -> None:
    """Make the folder hold these files and no others; files that are what they should be are not touched."""
    os.makedirs(root, exist_ok=True)
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if name not in files:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    for name, content in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            with open(path, "rb") as file:
                if file.read() == content:
                    continue
        with open(path, "wb") as file:
            file.write(content)


def sync(root: str, store: str, **options: Any) -> Report:
    """Ingest a folder by the plainest means."""
    fresh = {} if os.path.exists(store) else PLAIN
    return ingest([root], store, **{"workers": 1, **fresh, **options})


class ListedSource:
    """A source of documents in memory, which can fail on the way.

    Args:
        documents: pieces of each document, by name; what is an exception is raised there.
        stamps: what a `stat` of an input would tell; by default it cannot be looked at, like standard input.
        containers: inputs that are containers with one document each.
    """

    roots = (Root(b"t", None),)

    def __init__(
        self,
        documents: Mapping[bytes, list[bytes | BaseException]],
        stamps: Mapping[bytes, Stamp] | None = None,
        containers: Collection[bytes] = (),
    ) -> None:
        self.documents = documents
        self.stamps = stamps or {}
        self.containers = containers
        self.walked = False
        self.unread: set[bytes] = set()

    def __iter__(self) -> Iterator[Item | Skipped]:
        self.walked = False
        self.unread = {name for name in self.documents if name in self.containers}
        for name in self.documents:
            yield Item(name, self.stamps.get(name), name in self.containers, lambda name=name: self._open(name))
        self.walked = True

    def _open(self, name: bytes) -> Iterator[RawDocument | Skipped]:
        called = name + b"#1" if name in self.containers else name
        yield RawDocument(called, {"line": 1} if called != name else {}, lambda: self._read(name))
        self.unread.discard(name)

    def _read(self, name: bytes) -> Iterator[bytes]:
        for piece in self.documents[name]:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def covers(self, name: bytes) -> bool:
        return self.walked and name.startswith(b"t/") and name.partition(b"#")[0] not in self.unread


names = st.sampled_from(["a", "b", "c.txt", "d#1", "é"])
contents = st.one_of(
    st.binary(max_size=80).map(lambda data: data.replace(b"\0", b"\1")),
    st.integers(0, 300).map(lambda n: b"0123456789\n" * n),
)
folders = st.dictionaries(names, contents, max_size=5)
