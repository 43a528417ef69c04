"""Do two stores hold the same?  A line for everything that can be asked of a commit, whatever way led to it.

Lines say nothing of when, in how many commits, or in which rows of which files something was written: so a store that
was made in one go and one whose making was broken off give the same, if all is well.  Large things stand there as
digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.geometry import IMAGE
from mctree.sources.images import Box
from mctree.tree import Snapshot
from mctree.tree.images.image import Image
from mctree.tree.images.pages import set_bits

__all__ = ["dump"]


def dump(snapshot: Snapshot) -> Iterator[str]:
    """All that a snapshot holds, line by line.

    Args:
        snapshot: of a store that may hold text, images, or both.
    """
    yield f"blocks {snapshot.blocks} tokens {snapshot.tokens_count} default {snapshot.default_gists}"
    for document in snapshot.documents():
        tail = None if document.tail is None else document.tail.tokens.tolist()
        yield (
            f"document {document.id} {document.source!r} {document.record.media} open {document.open} "
            f"bytes {document.size} {document.digest.hex()} after {document.previous} at {document.locator} "
            f"blocks {[(run.block, run.blocks) for run in document.runs]} "
            f"tokens {_digest(document.read_tokens().astype('<u4'))} tail {tail}"
        )
    for view in snapshot.gist_sets():
        yield f"gist set {view.name!r} {view.record.kind} {view.record.fingerprint} {view.dim} {view.record.dtype}"
        for level in range(1, view.levels + 1):
            index = np.arange(view.rows(level))
            index = index[snapshot.world.exists(level, index) & ~view.absent(level, index)]
            gists, stale = _digest(view.gather(level, index)), np.count_nonzero(view.stale(level, index))
            yield f"  level {level}: {len(index)} gists {gists}, {stale} stale"
    for link in snapshot.all_links():
        yield f"link {link.id} {link.source} {link.target} {link.kind!r} {link.score}"
    for image in snapshot.images():
        yield from _image(snapshot, image)


def _image(snapshot: Snapshot, image: Image) -> Iterator[str]:
    record = image.record
    yield (
        f"image {image.id} block {image.block} {record.uri!r} {record.fingerprint} {image.width} × {image.height} × "
        f"{image.channels} {record.dtype} at {image.base} root {image.root} kept {record.kept} region {record.region}"
    )
    names = [view.name for view in snapshot.gist_sets()]
    arrays = snapshot.gallery.statistics_arrays(image.channels)
    whole: list[int] = []
    for level in range(image.root + 1):
        first = image.first(level)
        stop = first + IMAGE.width(image.root) // IMAGE.width(level)
        parts: list[list[bytes]] = [[] for _ in range(3 + len(names))]
        nodes = 0
        for pages in snapshot.gallery.pages.pages(arrays[level], first, stop):
            numbers = pages["page"].astype(np.int64)
            index = set_bits(numbers, np.ascontiguousarray(pages["present"]))
            index = index[(index >= first) & (index < stop)]
            found = image.find(level, index)
            nodes += len(index)
            whole += index[~found.overview].tolist() if level == 1 else []
            parts[0].append(index.tobytes())
            parts[1].append(snapshot.rows(arrays[level]).gather(found.row).tobytes())
            parts[2].append(np.stack([found.stale, found.overview]).tobytes())
            for part, name in zip(parts[3:], names, strict=True):
                gists, there = image.gists(level, index, name)
                part += [gists.tobytes(), there.tobytes()]
        digests = [hashlib.blake2b(b"".join(part), digest_size=8).hexdigest() for part in parts]
        yield f"  level {level}: {nodes} nodes {' '.join(digests)}"
    if record.kept:
        if image.complete:
            pixels = image.pixels()
            yield f"  pixels {_digest(pixels.values)} {_digest(pixels.real())}"
            return
        for tile in whole:
            box = Box(*image.raster.boxes(1, np.array([tile - image.first(1)]))[0].tolist())
            pixels = image.pixels(box)
            yield f"  pixels of tile {tile} {_digest(pixels.values)} {_digest(pixels.real())}"


def _digest(values: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=8).hexdigest()
