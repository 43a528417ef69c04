"""How is a file on disk an image, from when it is opened until it is closed?  As long as it is what was opened.

Each read is followed by a look at the file's `stat`: bytes that were torn between two states do not become pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from mctree.errors import MctreeError, SourceError
from mctree.sources.files import OpenFile, RegularFile, kind_of
from mctree.sources.images.bounded import Bounded
from mctree.sources.images.protocol import Access, ImageSource
from mctree.sources.images.uris import file_uri
from mctree.sources.names import failure, shown
from mctree.sources.protocol import Skipped
from mctree.sources.records import shown_text

__all__ = ["FileSource", "FileStream", "damage_named", "digest_of", "open_local", "reopening"]


def open_local(path: bytes, *, follow: bool = True) -> OpenFile:
    """Open a regular file; a link as the last part of its path is followed or refused.

    Raises:
        SourceError: there is none, it cannot be opened, or it is changing.
    """
    try:
        status = os.stat(path, follow_symlinks=follow)
    except (OSError, ValueError) as error:
        why = failure(error) if isinstance(error, OSError) else "its name is none"
        raise SourceError(f"{shown(path)} cannot be opened: {why}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{shown(path)} is {kind_of(status)} and no file of pixels")
    opened = RegularFile.seen(path, path, status, linked=follow).open()
    if isinstance(opened, Skipped):
        raise SourceError(f"{shown(path)} {opened.reason}")
    return opened


def digest_of(*facts: object) -> str:
    """A fingerprint of facts that have one `repr`."""
    return hashlib.blake2b(repr(facts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@contextmanager
def damage_named(name: str, what: str) -> Iterator[None]:
    """Let whatever a library raises over bytes that it cannot read surface as one kind of error.

    Args:
        name: of the input, printable.
        what: it should be.

    Raises:
        SourceError: the library raised anything.
    """
    try:
        yield
    except (MctreeError, GeneratorExit):
        raise
    except Exception as error:  # decoders let damage surface as any kind of error
        why = shown_text(error) or type(error).__name__
        raise SourceError(f"{name} is no readable {what}: {why}") from error


class FileStream(io.RawIOBase):
    """A file for a library that reads by itself; whose place in it is its own, and which has nothing to close.

    Args:
        opened: the file.
    """

    def __init__(self, opened: OpenFile) -> None:
        self._opened = opened
        self._place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file goes."""
        view = memoryview(buffer).cast("B")
        data = self._opened.read_at(self._place, len(view))
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which may lie beyond the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._opened.file.stamp.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning of a file")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place


class FileSource(Bounded):
    """An image that is one file, or in one.

    Args:
        opened: the file; it is closed with the source.
        options: that it was opened with; part of the URI.
        height: see `Bounded`, as what follows.
        width: in pixels.
        channels: values of each pixel.
        dtype: of the values.
        levels: see `ImageSource`.
        access: see `ImageSource`.
        max_pixels: the most that one read gives.

    Attributes:
        name: the path, printable.
    """

    def __init__(
        self,
        opened: OpenFile,
        options: Mapping[str, str | int | None],
        height: int,
        width: int,
        channels: int,
        dtype: np.dtype[Any],
        *,
        levels: tuple[int, ...] = (1,),
        access: Access = "random",
        max_pixels: int,
    ) -> None:
        uri = file_uri(opened.file.path, options)
        super().__init__(uri, height, width, channels, dtype, levels=levels, access=access, max_pixels=max_pixels)
        self.name = shown(opened.file.path)
        self._opened = opened

    @property
    def fingerprint(self) -> str:
        """Of the file's size, when it was modified last, and what of it the image is."""
        stamp = self._opened.file.stamp
        return digest_of(stamp.size, stamp.mtime_ns, self.uri.partition("#")[2])

    def _bytes(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes of the file from `offset` on.

        Raises:
            SourceError: the file ends before, or changed since it was opened.
        """
        data = self._opened.read_at(offset, size)
        self._opened.confirm()
        if len(data) != size:
            raise SourceError(f"{self.name} is cut short: {size} bytes from byte {offset} on are not in it")
        return data

    def _close(self) -> None:
        self._opened.close()

    def __reduce__(self) -> tuple[object, ...]:
        return reopening(self, self.max_pixels, self.fingerprint)


def reopening(source: ImageSource, max_pixels: int, fingerprint: str | None) -> tuple[object, ...]:
    """What a source is pickled as: how it is opened again.

    Args:
        source: which.
        max_pixels: that it was opened with.
        fingerprint: None if that takes a look at all of its files, which would take longer than the work.
    """
    return _reopened, (source.uri, max_pixels, fingerprint, _form(source))


def _form(source: ImageSource) -> tuple[object, ...]:
    return source.height, source.width, source.channels, source.dtype.str, source.levels


def _reopened(uri: str, max_pixels: int, fingerprint: str | None, form: tuple[object, ...]) -> ImageSource:
    """What an image becomes in another process: the same one, opened there.

    Raises:
        SourceError: it has another fingerprint than the one given, or another size or type of pixels.
    """
    opening = import_module(
        "mctree.sources.images.opening"
    )  # which knows the kinds, some of which are made of this one
    source: ImageSource = opening.open_image(uri, max_pixels=max_pixels)
    if (fingerprint is not None and source.fingerprint != fingerprint) or _form(source) != form:
        source.close()
        raise SourceError(f"{uri} changed since it was opened: run again when it is at rest")
    return source
