"""What is in a file that is no container, or in a folder that a walk does not enter?  A text, an image, or neither.

The first bytes of a file say whether it is an image (`kind_among_files`); whether it can be read, and by what, is found
out when it is opened.  A folder is an image if it holds Zarr's metadata, or tiles and nothing else (`directory` tells):
then it is one thing, and its files are none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mctree.sources.files import RegularFile, read_head, reopened, text_document
from mctree.sources.folders import ImageFolder, folder_digest
from mctree.sources.images.opening import open_file, open_image
from mctree.sources.images.sniffing import kind_among_files
from mctree.sources.protocol import RawDocument, RawImage, Skipped, Stamp

__all__ = ["Images", "folder_image", "plain_documents"]

_DIGEST_BYTES = 32
_SAMPLED = 1 << 28
"""Bytes of a file above which a glance at it takes samples: so many are read in a second or less."""
_SAMPLES = 64
_SAMPLE = 1 << 16
"""Bytes of each sample."""


@dataclass(frozen=True, slots=True)
class Images:
    """How images are read.

    Attributes:
        max_pixels: the most that are decoded in one piece.
    """

    max_pixels: int


def plain_documents(file: RegularFile, images: Images | None) -> Iterator[RawDocument | RawImage | Skipped]:
    """What a file is: one document, or none of ours.

    Args:
        file: which.
        images: None: they are not wanted, and count as binary.
    """
    head = read_head(file)
    if isinstance(head, Skipped):
        yield head
    elif images is not None and kind_among_files(file.name, head.data) is not None:
        most = images.max_pixels
        large = file.stamp.size > _SAMPLED
        glance = partial(_samples, file) if large else None
        yield RawImage(file.name, file.path, lambda: open_file(file, max_pixels=most), partial(_content, file), glance)
    else:
        yield text_document(file, head)


def folder_image(folder: ImageFolder, stamp: Stamp, images: Images) -> RawImage:
    """A folder as one image, of which `folder_stamp` has told the stamp."""
    path = os.fsdecode(folder.path)
    return RawImage(
        folder.name,
        folder.path,
        lambda: open_image(path, max_pixels=images.max_pixels),
        partial(folder_digest, folder, stamp),
    )


def _content(file: RegularFile, between: Callable[[], object]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with reopened(file) as opened:
        opened.require_dense()
        for chunk in opened.chunks():
            between()
            digest.update(chunk)
    return digest.digest()


def _samples(file: RegularFile) -> bytes:
    """What a glance sees: of two files with the same, one was made so on purpose, or is a copy of the other."""
    stamp = file.stamp
    digest = hashlib.blake2b(repr(("samples", stamp.size, stamp.mtime_ns)).encode(), digest_size=_DIGEST_BYTES)
    with reopened(file) as opened:
        for at in range(_SAMPLES):
            digest.update(opened.read_at((stamp.size - _SAMPLE) * at // (_SAMPLES - 1), _SAMPLE))
        opened.confirm()
    return digest.digest()
