"""What is in a file that is no container, or in a folder that a walk does not enter?  A text, an image, or neither.

The first bytes of a file say whether it is an image (`kind_among_files`); whether it can be read, and by what, is found
out when it is opened.  A folder is an image if it holds Zarr's metadata, or tiles and nothing else (`directory` tells):
then it is one thing, and its files are none.
What a folder is like at a glance, and whether it is what it was, follows from the sizes and times of all that is in it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mctree.errors import SourceError
from mctree.sources.directory import ImageFolder
from mctree.sources.files import RegularFile, read_head, reopen, text_document
from mctree.sources.images.opening import open_file, open_image
from mctree.sources.images.sniffing import kind_among_files
from mctree.sources.names import failure, joined, shown
from mctree.sources.protocol import RawDocument, RawImage, Skipped, Stamp

__all__ = ["Images", "folder_image", "folder_stamp", "plain_documents"]

_DIGEST_BYTES = 32


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
        yield RawImage(file.name, file.path, lambda: open_file(file, max_pixels=most), partial(_content, file))
    else:
        yield text_document(file, head)


def folder_image(folder: ImageFolder, stamp: Stamp, images: Images) -> RawImage:
    """A folder as one image, of which `folder_stamp` has told the stamp."""
    path = os.fsdecode(folder.path)
    return RawImage(
        folder.name,
        folder.path,
        lambda: open_image(path, max_pixels=images.max_pixels),
        partial(_listing, folder, stamp),
    )


def folder_stamp(folder: ImageFolder) -> Stamp:
    """What is seen of a folder at a glance.

    Whatever is written, made, moved or removed in it leaves a later time of change in it, or in a folder in it.

    Raises:
        SourceError: it, or something in it, cannot be looked at.
    """
    top = _status(folder.path)
    size, modified, changed = 0, top.st_mtime_ns, top.st_ctime_ns
    for _, status in _entries(folder.path):
        modified, changed = max(modified, status.st_mtime_ns), max(changed, status.st_ctime_ns)
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
    return Stamp(size, modified, top.st_ino, changed)


def _content(file: RegularFile, between: Callable[[], object]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for chunk in reopen(file):
        between()
        digest.update(chunk)
    return digest.digest()


def _listing(folder: ImageFolder, stamp: Stamp, between: Callable[[], object]) -> bytes:
    """Of the names, sizes and times of modification of what a folder holds, whatever order the system lists them in."""
    total, above = 0, len(folder.path)
    for name, status in _entries(folder.path):
        between()
        if not stat.S_ISDIR(status.st_mode):
            facts = name[above:], status.st_size, status.st_mtime_ns, stat.S_IFMT(status.st_mode)
            one = hashlib.blake2b(repr(facts).encode(), digest_size=_DIGEST_BYTES).digest()
            total += int.from_bytes(one, "big")
    if folder_stamp(folder) != stamp:
        raise SourceError(f"{shown(folder.path)} changed while it was being read: run again when it is at rest")
    return (total % (1 << 8 * _DIGEST_BYTES)).to_bytes(_DIGEST_BYTES, "big")


def _entries(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """The path and the `stat` of everything below a folder; links are not followed."""
    folders = [path]
    while folders:
        above = folders.pop()
        try:
            with os.scandir(above) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    yield joined(above, entry.name), status
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
        except OSError as error:
            raise SourceError(f"{shown(above)} cannot be listed: {failure(error)}") from error


def _status(path: bytes) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise SourceError(f"{shown(path)} cannot be examined: {failure(error)}") from error
