"""Folders of texts and images, and what a store has of them."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import mctree
from mctree.ingest import Report, ingest
from mctree.testing import assert_whole
from mctree.testing.dump import dump

OPTIONS: dict[str, Any] = {"tokenizer": "bytes", "chunk_bytes": 1 << 16}
"""Arguments of the fastest ingest of images into a new store."""


def pixels(height: int = 40, width: int = 30, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def png(height: int = 40, width: int = 30, channels: int = 3, seed: int = 0, kind: str = "PNG") -> bytes:
    """The same as a picture."""
    out = io.BytesIO()
    values = pixels(height, width, channels, seed)
    Image.fromarray(values[:, :, 0] if channels == 1 else values).save(out, kind)
    return out.getvalue()


def sync(root: str, store: str, **options: Any) -> Report:
    """Ingest a folder, with gists, by one worker."""
    fresh = {} if os.path.exists(store) else OPTIONS
    return ingest([root], store, **{"workers": 1, **fresh, **options})


def told(store: str) -> list[str]:
    """All that a store holds, which must be whole."""
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert_whole(tree)
        return list(dump(snapshot))


def held(store: str) -> dict[str, bytes | NDArray[np.uint8]]:
    """The bytes of texts and the pixels of images, by name; the store must be whole."""
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        assert_whole(tree)
        images = {image.name: image for image in snapshot.images()}
        return {
            document.name: images[document.name].pixels(partial=True).values
            if document.name in images
            else document.read()
            for document in snapshot.documents()
        }


def captions(store: str, *, dead: bool = False) -> set[tuple[str, str]]:
    """Which image is linked to which text; each link must be found from both ends, once, and lead to what lives.

    Args:
        store: its path.
        dead: pass over links that do not; `mctree rm` leaves them to the next compaction.
    """
    found = []
    with mctree.open(store, writable=False) as tree, tree.snapshot() as snapshot:
        for link in snapshot.all_links():
            assert link.kind == "caption"
            images = [one for one in snapshot.images() if one.base == link.source[1]]
            texts = [one for one in snapshot.documents() if one.runs and one.runs[0].block * 32 == link.target[1]]
            if dead and not (images and texts):
                continue
            (image,), (text,) = images, texts
            assert link in snapshot.links(*link.source[1:], space=1)
            assert link in snapshot.links(*snapshot.find(text).span)
            found.append((image.name, text.name))
    assert len(found) == len(set(found))
    return set(found)
