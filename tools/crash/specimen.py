"""Which store is small and has everything in it, and what does a store show?  What is damaged, and compared.

The specimen has documents that are dead, superseded, open with a tail, spread over runs, and kept as original bytes;
gist sets of which one was refreshed, so that a chunk has two generations, and one dropped that old commits still see;
links, of which one ended; settings; and every commit from the first on.  Its index has a branch, leaves, large records
and a list of free pages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mctree
from mctree.encoders import HFTokenizer
from mctree.format.facts import Stamp
from mctree.format.values import describe
from mctree.geometry import Address
from mctree.testing.toys import ToyEncoder
from mctree.tree import Snapshot
from mctree.tree.problem import Problem

__all__ = ["ADVISORY", "ENCODERS", "Place", "Specimen", "make", "opened", "shown"]

ENCODERS = (ToyEncoder(dim=2), ToyEncoder(dim=2, seed=1))
ADVISORY = frozenset({"head", "lock", "index.lmdb/lock.mdb"})
"""Files that no read depends on."""
_CHUNK_BYTES = 1 << 16
_TELLING = b"bdkoqrstx"
"""Tables whose records are about blocks, rows or documents."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a row stands for: a node, and the source and the bytes of it that it stands for first."""

    node: Address
    source: bytes | None
    start: int
    stop: int


@dataclass(frozen=True)
class Specimen:
    """The specimen as it was when it was whole.

    Attributes:
        path: where it is.
        before: all that it showed.
        places: for each file of rows: bytes of a row, and what each committed one stands for.
        keys: the keys of its index, as they are named.
    """

    path: str
    before: dict[str, object]
    places: dict[str, tuple[int, list[Place]]]
    keys: frozenset[str]

    @classmethod
    def make(cls, path: Path, stage: Callable[[], object] = lambda: None) -> Specimen:
        """Make it at `path`; `stage` is called now and then between two commits."""
        make(str(path), stage)
        with opened(str(path)) as tree:
            with tree.store.reading() as index:
                keys = frozenset(describe(key) for key, _ in index.raw() if key[0] in _TELLING)
            return cls(str(path), shown(tree), dict(_places(tree)), keys)

    @property
    def files(self) -> list[str]:
        """Its files."""
        found = (os.path.join(folder, name) for folder, _, names in os.walk(self.path) for name in names)
        return sorted(os.path.relpath(file, self.path) for file in found)

    def size(self, file: str) -> int:
        """How long a file is."""
        return os.path.getsize(f"{self.path}/{file}")

    def names(self, problem: Problem, file: str, offset: int) -> bool:
        """Whether a problem says what is hit by damage to a byte."""
        if file in self.places:
            size, rows = self.places[file]
            row = offset // size
            said = Place(problem.node, problem.source, problem.start, problem.stop) if problem.node else None
            return row < len(rows) and said == rows[row]
        if problem.where.removeprefix("index record ") in self.keys:
            return problem.node is not None or problem.source is not None
        return True


def _places(tree: mctree.Tree) -> Iterator[tuple[str, tuple[int, list[Place]]]]:
    """What the committed rows of each chunk file stand for."""
    newest = tree.commits()[-1].number
    with tree.snapshot() as snapshot:
        records = snapshot.block_records(0, snapshot.blocks)
        live = {document.id: document.source for document in snapshot.documents()}

        def place(level: int, index: int) -> Place:
            width = 32 ** (level - 1)
            first, last = records[index * width], records[(index + 1) * width - 1]
            stop = (last if last["document"] == first["document"] else first)["stop"]
            document = int(first["document"])
            return Place(Address(0, level, index), live.get(document), int(first["start"]), int(stop))

        blocks = range(snapshot.blocks)
        sizes = [snapshot.store.array(array, newest).row_bytes for array in range(3)]
        yield "text/lod0/c.0", (32 * sizes[0], [place(1, block) for block in blocks])
        yield "text/count/c.0", (sizes[1], [place(1, block) for block in blocks])
        yield "text/before/c.0", (sizes[2], [place(1, block) for block in blocks[::32]])
        seen: dict[str, tuple[int, list[Place]]] = {}
        for commit in tree.commits():
            with tree.snapshot(commit.number) as older:
                for view in older.gist_sets():
                    for level in range(1, view.levels + 1):
                        layout = older.store.array(view.record.levels[level - 1], commit.number)
                        rows = [place(level, row) for row in range(view.rows(level))]
                        seen[f"{layout.path}/{layout.chunk_key(0)}"] = layout.row_bytes, rows
                        for _, _, names in os.walk(f"{tree.path}/generations"):
                            for name in names:
                                if name.startswith(f"{view.record.levels[level - 1]}.0."):
                                    # Of the commits that see it the newest has the most rows of it.
                                    seen[f"generations/{name}"] = layout.row_bytes, rows
        yield from seen.items()


def tokenizer() -> HFTokenizer:
    """One token for each byte but capital letters, which it does not give back: text with them is kept as it was."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in plain] + [chr(0x100 + n) for n in range(256 - len(plain))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    described = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {letter: n for n, letter in enumerate(letters)}, "merges": []},
    }
    return HFTokenizer(json.dumps(described, separators=(",", ":")).encode())


def make(path: str, stage: Callable[[], object] = lambda: None) -> None:
    """Make the specimen at `path`; `stage` is called now and then between two commits."""
    text = np.random.default_rng(7).choice(np.frombuffer(b"abcdefgh ijklm\n", np.uint8), 4096).tobytes()
    with mctree.create(path, tokenizer=tokenizer(), chunk_bytes=_CHUNK_BYTES, keep=0, encoders=ENCODERS) as tree:
        with tree.writer() as writer:
            writer.add("long", text[:1200])
            writer.add("gone", text[1200:1600])
            writer.add("Capitals", b"Some Text That Is Kept As It Was, Byte By Byte.")
            writer.link((0, 64), (100, 1000), kind="about", score=0.5)
            writer.link((0, 1), (1, 2), kind="ended")
        stage()
        tree.build_gists(ENCODERS[0], "kept")
        tree.build_gists(ENCODERS[1], "dropped", default=False)
        stage()
        with tree.writer() as writer:
            stream, other = writer.begin("stream"), writer.begin("other")
            for i in range(3):
                stream.write(text[1600 + 50 * i : 1650 + 50 * i])
                other.write(text[1800 + 40 * i : 1840 + 40 * i])
                writer.commit(gists=i == 1)
                stage()
            other.close()
            writer.add("gone", text[2000:2100], replace=True)
            writer.unlink(2)
            writer.stamp(b"long", Stamp(1, 2, 3, 4, 5, b"digest"))
        stage()
        tree.refresh_gists("kept")
        stage()
        tree.drop_gists("dropped")


def opened(path: str) -> mctree.Tree:
    """The specimen, to look at it."""
    return mctree.open(path, writable=False, encoders=ENCODERS)


def shown(tree: mctree.Tree) -> dict[str, object]:
    """All that a tree shows at each of its commits: what it is → its value; damage may make it raise anything."""
    seen: dict[str, object] = {"epoch": tree.epoch, "commits": [commit.number for commit in tree.commits()]}
    for commit in tree.commits():
        seen[f"{commit.number}"] = (commit.parent, commit.time_ns, commit.next, commit.tables)
        with tree.snapshot(commit.number) as snapshot:
            seen.update((f"{commit.number} {what}", value) for what, value in _shown(snapshot))
    return seen


def _shown(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
    positions, blocks = snapshot.positions, snapshot.blocks
    yield "counts", (blocks, snapshot.tokens_count, snapshot.documents_count, snapshot.top)
    yield "tokens", snapshot.tokens(0, positions).tobytes()
    yield "counts of blocks", snapshot.counts(0, blocks).tobytes()
    yield "records of blocks", snapshot.block_records(0, blocks).tobytes()
    yield "text", snapshot.text(0, positions)
    yield "provenance", snapshot.provenance(0, positions)
    yield "links", (snapshot.all_links(), snapshot.links(0, positions), snapshot.links(33, 34))
    yield "tails", [document.id for document in snapshot.tails()]
    cover = snapshot.cover()
    yield "cover", (cover.level.tobytes(), cover.index.tobytes())
    for level in range(1, snapshot.top + 1):
        index = np.arange(max(blocks // 32 ** (level - 1), 1))
        world = snapshot.world
        yield f"level {level}", (world.exists(level, index).tobytes(), world.tokens(level, index).tobytes())
    for document in snapshot.documents():
        yield (
            f"document {document.id}",
            (
                *(document.source, document.open, document.digest, document.locator, document.previous, document.since),
                *(document.runs, document.size, document.tokens, document.read(), document.read_tokens().tobytes()),
                None if document.tail is None else document.tail.encode(),
                snapshot.document(document.source).id,
            ),
        )
    yield "default", snapshot.default_gists
    for view in snapshot.gist_sets():
        yield f"set {view.name}", (view.number, view.record, view.encoder().fingerprint)
        for level in range(1, view.levels + 1):
            index = np.arange(view.rows(level))
            rows = view.gather(level, index)
            yield f"set {view.name} level {level}", (rows.tobytes(), view.stale(level, index).tobytes())
