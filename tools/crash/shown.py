"""What does a store show?  All that can be asked of each of its commits, to be compared with what it showed before.

Other readers of Zarr see what its metadata tell, by which nothing that is asked here goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import mctree
from mctree.geometry import IMAGE
from mctree.tree import Image, Snapshot

__all__ = ["described", "shown"]


def shown(tree: mctree.Tree) -> dict[str, object]:
    """All that a tree shows at each of its commits: what it is → its value; damage may make it raise anything."""
    seen: dict[str, object] = {"epoch": tree.epoch, "commits": [commit.number for commit in tree.commits()]}
    for commit in tree.commits():
        seen[f"{commit.number}"] = (commit.parent, commit.time_ns, commit.next, commit.tables)
        with tree.snapshot(commit.number) as snapshot:
            for kind in (_timeline, _documents, _sets, _images):
                seen.update((f"{commit.number} {what}", value) for what, value in kind(snapshot))
    return seen


def described(path: str) -> dict[str, tuple[object, int]]:
    """What the metadata in a store tell other readers: of each file all that it says but its rows, and how many.

    How many rows there are is a hint, which may be of an older commit.  What cannot be read is not there.
    """
    found: dict[str, tuple[object, int]] = {}
    for file in sorted(Path(path).rglob("zarr.json")):
        if "epochs" in file.relative_to(path).parts:
            continue
        try:
            metadata = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        match metadata:
            case {"shape": [int(rows), *row]}:
                found[f"{file.relative_to(path)}"] = {**metadata, "shape": row}, rows
            case _:
                found[f"{file.relative_to(path)}"] = metadata, 0
    return found


def _timeline(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
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


def _documents(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
    for document in snapshot.documents():
        yield (
            f"document {document.id}",
            (
                *(document.source, document.open, document.digest, document.locator, document.previous, document.since),
                *(document.runs, document.size, document.tokens, document.read(), document.read_tokens().tobytes()),
                document.record.media,
                None if document.tail is None else document.tail.encode(),
                snapshot.document(document.source).id,
            ),
        )


def _sets(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
    yield "default", snapshot.default_gists
    for view in snapshot.gist_sets():
        yield f"set {view.name}", (view.number, view.record, view.encoder().fingerprint)
        for level in range(1, view.levels + 1):
            index = np.arange(view.rows(level))
            rows = view.gather(level, index)
            yield f"set {view.name} level {level}", (rows.tobytes(), view.stale(level, index).tobytes())


def _images(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
    yield "images begun", snapshot.gallery.unfinished()
    for image in snapshot.images():
        yield f"image {image.id}", (image.record, image.block, image.base, image.root, image.raster)
        yield f"image {image.id} is closed at", tuple(part.tobytes() for part in image.coarse())
        if image.keeps_pixels:
            pixels = image.pixels(partial=True)
            yield f"image {image.id} pixels", (pixels.values.tobytes(), pixels.real().tobytes())
        for level in range(image.root + 1):
            yield f"image {image.id} level {level}", tuple(_level(snapshot, image, level))


def _level(snapshot: Snapshot, image: Image, level: int) -> Iterator[bytes]:
    first = image.first(level)
    index = np.arange(first, first + IMAGE.width(image.root) // IMAGE.width(level))
    found = image.find(level, index)
    yield from (part.tobytes() for part in (found.present, found.empty, found.stale, found.overview))
    there = index[found.present]
    yield image.rows(level, there)[1].tobytes()
    for view in snapshot.gist_sets():
        if view.record.images:
            yield from (part.tobytes() for part in image.gists(level, there, view.name))
