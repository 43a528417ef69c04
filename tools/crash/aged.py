"""Which small store has a past, and what does it hold?  One to be moved, copied and gone on with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mctree
from mctree.testing.stores import assert_whole
from mctree.testing.toys import ToyEncoder

__all__ = ["ENCODER", "SEED", "back_up", "make", "state", "write_to"]

ENCODER = ToyEncoder(dim=16)
SEED = 11


def make(path: Path, seed: int = 0) -> Path:
    """A small store with generations, deaths, a tail and commits to travel to."""
    with mctree.create(path, chunk_bytes=1 << 16, keep=3, encoders=[ENCODER]) as tree:
        tree.build_gists(ENCODER)
        for i in range(20):
            with tree.writer() as writer:
                writer.add(f"{i}", f"text {seed} number {i} ".encode() * 30)
                if i >= 3:
                    writer.remove(f"{i - 3}")
                if i == 2:
                    writer.begin("open").write("a tail")
            if i % 7 == 6:
                tree.refresh_gists()
    return path


def state(path: Path) -> dict[int, str]:
    """What a store holds at each commit that opens, as digests; it is verified first."""
    found = {}
    with mctree.open(path, writable=False, encoders=[ENCODER]) as tree:
        assert_whole(tree)
        for commit in tree.commits():
            with tree.snapshot(commit.number) as snapshot:
                digest = hashlib.blake2b(snapshot.view().tobytes())
                for document in snapshot.documents():
                    digest.update(document.source + document.read())
                for view in snapshot.gist_sets():
                    for level in range(1, view.levels + 1):
                        digest.update(view.level(level).read(0, view.rows(level)).tobytes())
                found[commit.number] = digest.hexdigest()
    return found


def write_to(path: Path, name: str = "another") -> None:
    """Go on with a store, in all ways."""
    with mctree.open(path, encoders=[ENCODER]) as tree:
        with tree.writer() as writer:
            writer.add(name, b"more text " * 90)
            writer.reopen("open").write(" goes on")
        tree.refresh_gists()
        assert_whole(tree)
        tree.compact()
        assert_whole(tree)
        assert tree.snapshot().document(name).read() == b"more text " * 90


def back_up(source: Path, to: Path) -> None:
    """Make a copy of a store."""
    with mctree.open(source, encoders=[ENCODER]) as tree:
        tree.backup(to)
