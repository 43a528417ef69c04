"""What does one snapshot, held for long, cost a store that goes on changing?

    python -m tools.endurance.held_commit --changes 100000

A reader in a process of its own takes a snapshot and holds it.  The writer then supersedes documents and refreshes
gists, one change to a commit.  All the while the reader compares every byte of what it holds with what it read at
first, and now and then sends its snapshot to a spawned process that does the same.  At the end the growth of index
and disk is set beside what was written, and, once the reader has let go, what was only kept for it must be gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import mctree
from mctree import Snapshot
from mctree.testing.toys import ToyEncoder
from tools.endurance.disk import disk_usage

DOCUMENTS = 64
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Result:
    """What a run measured; sizes in bytes."""

    changes: int
    seconds: float
    reader_checks: int
    spawned_checks: int
    blocks_added: int
    index_before: int
    index_after: int
    index_per_change: float
    disk_before: int
    disk_after: int
    disk_per_block: float
    generations_while_held: int
    generations_after: int
    commits_after: int
    problems: int


def content(snapshot: Snapshot) -> bytes:
    """A digest over everything that a snapshot shows: documents, provenance, tokens, gists."""
    digest = hashlib.blake2b()
    for document in snapshot.documents():
        digest.update(repr((document.id, document.source, document.runs)).encode())
        digest.update(document.read())
    digest.update(snapshot.tokens(0, snapshot.positions).tobytes())
    digest.update(repr(snapshot.provenance(0, snapshot.positions)).encode())
    gists = snapshot.gists()
    for level in range(1, gists.levels + 1):
        digest.update(gists.level(level).read(0, gists.rows(level)).tobytes())
        digest.update(gists.stale(level, np.arange(gists.rows(level))).tobytes())
    return digest.digest()


def check_spawned(snapshot: Snapshot, expected: bytes) -> None:
    """In a spawned process: the snapshot that was sent shows the same."""
    if content(snapshot) != expected:
        sys.exit(1)


def read(path: str, pipe: Connection) -> None:
    """In the reader's process: hold a snapshot until told to let go."""
    context = multiprocessing.get_context("spawn")
    with mctree.open(path, writable=False) as tree, tree.snapshot() as snapshot:
        expected = content(snapshot)
        pipe.send("ready")
        checks = spawned = 0
        last = 0.0
        while not pipe.poll(0.01):
            if content(snapshot) != expected:
                pipe.send("the held snapshot changed")
                return
            checks += 1
            if time.monotonic() - last > 10:
                worker = context.Process(target=check_spawned, args=(snapshot, expected))
                worker.start()
                worker.join()
                if worker.exitcode:
                    pipe.send("the snapshot reads otherwise in a spawned process")
                    return
                spawned += 1
                last = time.monotonic()
        pipe.send((checks, spawned))
        pipe.recv()


def run(folder: Path, changes: int, *, quiet: bool = False) -> Result:
    """Make a store, hold a commit of it, change it so often, and measure.

    Raises:
        RuntimeError: the reader saw something change.
    """
    path = folder / "held.mctree"
    rng = np.random.default_rng(7)
    tree = mctree.create(path, chunk_bytes=CHUNK_BYTES, keep=4, encoders=[ToyEncoder()])
    with tree.writer() as writer:
        for i in range(DOCUMENTS):
            writer.add(f"document {i}", rng.bytes(2000))
    tree.build_gists(ToyEncoder(), "toy")
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    reader = context.Process(target=read, args=(str(path), there))
    reader.start()
    if here.recv() != "ready":
        raise RuntimeError("the reader did not start")
    index_before, disk_before = tree.store.environment.size(), disk_usage(path)
    blocks_before = tree.snapshot().blocks
    start = time.monotonic()
    for i in range(changes):
        with tree.writer() as writer:
            writer.add(f"document {rng.integers(DOCUMENTS)}", rng.bytes(int(rng.integers(1, 100))), replace=True)
        if i % 2:
            tree.refresh_gists()
        if here.poll():
            raise RuntimeError(str(here.recv()))
        if not quiet and i % 1000 == 999:
            print(f"{i + 1} changes, {(i + 1) / (time.monotonic() - start):.0f} a second", file=sys.stderr, flush=True)
    seconds = time.monotonic() - start
    index_after, disk_after = tree.store.environment.size(), disk_usage(path)
    blocks = tree.snapshot().blocks - blocks_before
    while_held = len(list((path / "generations").iterdir()))
    here.send("enough")
    told = here.recv()
    if isinstance(told, str):
        raise RuntimeError(told)
    here.send("bye")
    reader.join()
    with tree.writer() as writer:
        for i in range(64):  # enough commits to pass two collections
            writer.add(f"last {i}", b"x")
            writer.commit()
    return Result(
        changes=changes,
        seconds=round(seconds, 1),
        reader_checks=told[0],
        spawned_checks=told[1],
        blocks_added=blocks,
        index_before=index_before,
        index_after=index_after,
        index_per_change=round((index_after - index_before) / changes, 1),
        disk_before=disk_before,
        disk_after=disk_after,
        disk_per_block=round((disk_after - disk_before) / max(blocks, 1), 1),
        generations_while_held=while_held,
        generations_after=len(list((path / "generations").iterdir())),
        commits_after=len(tree.commits()),
        problems=sum(1 for _ in tree.verify()),
    )


def main() -> int:
    """Run as a script; prints the result as JSON."""
    parser = argparse.ArgumentParser(description="Hold a commit through many changes.")
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where to make the store; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = run(Path(folder), options.changes)
    print(json.dumps(asdict(result), indent=2))
    return int(result.problems > 0)


if __name__ == "__main__":
    sys.exit(main())
