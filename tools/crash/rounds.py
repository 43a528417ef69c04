"""What can a store hold so that whoever reads it sees whether it saw one commit, whole?  Rounds.

With every commit the writer supersedes all documents at once by those of the next *round*, lets an open document grow
by a line of that round, and renews a link.  The bytes of a document follow from the round and its name, so a snapshot
in which two of them are of different rounds was mixed, and one of an earlier round than the snapshot before went
backwards.  Gists are made by an encoder that notices every bit, so those of blocks can be made again from the tokens
and compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mctree import Snapshot, Tree
from mctree.encoders import Encoder, VisualEncoder
from mctree.testing import ToyEncoder
from mctree.tree.writer import Writer

__all__ = ["ENCODER", "TEXTS", "Rounds", "SeenError", "View", "begin", "content", "look", "write_round"]

DOCUMENTS = 6
STREAM = "stream"
STREAM_LINES = 64
KIND = "round"
ENCODER = ToyEncoder()


class SeenError(AssertionError):
    """A snapshot showed what no commit holds."""


@dataclass(frozen=True, slots=True)
class View:
    """What a snapshot showed.

    Attributes:
        commit: its number.
        round: the round that all of it belongs to.
        digest: of every byte that was read: documents, tokens, provenance, gists, links.
    """

    commit: int
    round: int
    digest: bytes


class _Write(Protocol):
    def __call__(self, tree: Tree, *, gists: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is written round by round; its functions are those of a module, so that other processes know them.

    Attributes:
        name: what it is called on a command line.
        encoders: what its trees are opened with.
        begin: writes round 0 of a new store.
        write: goes on to the next round, and makes the gists of it, or leaves them for a refresh.
        look: reads all that a snapshot shows; raises a `SeenError` if that is not one commit's.
        build: makes what is missing of the gist sets.
    """

    name: str
    encoders: tuple[Encoder | VisualEncoder, ...]
    begin: Callable[[Tree], None]
    write: _Write
    look: Callable[[Snapshot], View]
    build: Callable[[Tree], None]


def content(number: int, document: int) -> bytes:
    """What a document holds in a round: from one to some hundreds of bytes, never the same twice."""
    line = b"round %d document %d. " % (number, document)
    return line * (1 + (number * 7 + document * 5) % 13)


def _line(number: int) -> bytes:
    return b"%d\n" % number


def begin(tree: Tree) -> None:
    """Round 0 of a new store, with a gist set."""
    with tree.writer() as writer:
        writer.begin(STREAM).write(_line(0))
        for document in range(DOCUMENTS):
            writer.add(f"document {document}", content(0, document))
        writer.link((0, 32), (32, 64), kind=KIND, score=1.0)
    tree.build_gists(ENCODER, "toy", default=True)


def _build(tree: Tree) -> None:
    tree.build_gists(ENCODER, "toy")


def write_round(tree: Tree, *, gists: bool, first: Callable[[Writer, int], None] = lambda writer, number: None) -> None:
    """Go on to the next round, by one commit.

    Args:
        tree: the store.
        gists: also make the gists of what it places, or leave them for a refresh.
        first: does what else belongs to that round, given its number, before anything else waits for the commit.
    """
    with tree.writer() as writer:
        number = look(writer.snapshot).round + 1
        first(writer, number)
        for document in range(DOCUMENTS):
            writer.add(f"document {document}", content(number, document), replace=True)
        again = number % STREAM_LINES == 0
        stream = writer.begin(STREAM, replace=True) if again else writer.reopen(STREAM)
        stream.write(_line(number))
        for link in writer.snapshot.all_links():
            writer.unlink(link.id)
        blocks = writer.snapshot.blocks
        writer.link((32 * blocks, 32 * blocks + 32), (0, 32), kind=KIND, score=(number % 100) / 100)
        writer.commit(gists=gists)


def look(snapshot: Snapshot) -> View:
    """Read all that a snapshot shows, but images.

    Raises:
        SeenError: it is not one commit's.
    """
    digest = hashlib.blake2b()
    documents = {document.name: document for document in snapshot.documents() if document.record.media != "image"}
    if sorted(documents) != sorted([STREAM, *(f"document {i}" for i in range(DOCUMENTS))]):
        raise SeenError(f"commit {snapshot.commit} shows documents {sorted(documents)}")
    rounds = set()
    for name, document in sorted(documents.items()):
        data = document.read()
        digest.update(repr((name, document.id, document.runs, len(data))).encode() + data)
        if name == STREAM:
            lines = data.split(b"\n")[:-1]
            numbers = [int(line) for line in lines]
            if not lines or numbers != [*range(numbers[0], numbers[0] + len(lines))]:
                raise SeenError(f"commit {snapshot.commit} shows a stream of {len(lines)} lines, not in their order")
            rounds.add(numbers[-1])
        else:
            if not (found := re.match(rb"round (\d+) ", data)):
                raise SeenError(f"commit {snapshot.commit} shows {name} with bytes of no round")
            number = int(found[1])
            rounds.add(number)
            if data != content(number, int(name.split()[1])):
                raise SeenError(f"commit {snapshot.commit} shows {name} of round {number} with other bytes")
    if len(rounds) != 1:
        raise SeenError(f"commit {snapshot.commit} mixes rounds {sorted(rounds)}")
    links = snapshot.all_links()
    digest.update(repr([(link.id, link.source, link.target, link.kind, link.score) for link in links]).encode())
    tokens = snapshot.tokens(0, snapshot.positions)
    counts = snapshot.counts(0, snapshot.blocks)
    digest.update(tokens.tobytes() + counts.tobytes())
    digest.update(repr(snapshot.provenance(0, snapshot.positions)).encode())
    _look_at_gists(snapshot, tokens.reshape(-1, 32), counts, digest)
    return View(snapshot.commit, rounds.pop(), digest.digest())


def _look_at_gists(
    snapshot: Snapshot, tokens: NDArray[np.generic], counts: NDArray[np.uint8], digest: hashlib.blake2b
) -> None:
    gists = snapshot.gists()
    for level in range(1, gists.levels + 1):
        rows = gists.level(level).read(0, gists.rows(level))
        digest.update(rows.tobytes() + gists.stale(level, np.arange(len(rows))).tobytes())
        if level == 1:
            mask = np.arange(32) < counts[: len(rows), None]
            made = ENCODER.encode(1, tokens[: len(rows)].astype(np.uint32), mask)
            alive = snapshot.world.exists(1, np.arange(len(rows)))  # who was dead already got the gist of nothing
            blocks = [image.block for image in snapshot.images()]
            alive[[block for block in blocks if block < len(rows)]] = False  # they have no tokens
            wrong = np.flatnonzero((rows != made.astype(rows.dtype)).any(axis=1) & alive)
            if len(wrong):
                raise SeenError(f"commit {snapshot.commit} shows for block {wrong[0]} a gist that is not its own")


TEXTS: Final = Rounds("texts", (ENCODER,), begin, write_round, look, _build)
