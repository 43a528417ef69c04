"""What do several walks of one run know of folders together?  Which are images of tiles, and what was seen of these.

To tell, and to see at a glance whether it is what it was, takes a look at every name in a folder of tiles: that is
minutes, where there are millions.  A run walks its inputs up to four times (to make sure of them, for a sample, for
their sizes, and to read them), in two threads.  Each folder is told once, and stamped once if it is at rest.

It does not assume that a folder stays what it was: whoever reads it compares it with its stamp, and a folder that is
another one by its device and inode is told anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from mctree.sources.folders import ImageFolder, folder_stamp
from mctree.sources.images.telling import speaks_against
from mctree.sources.protocol import Stamp

__all__ = ["AT_REST_NS", "Told"]

AT_REST_NS = 2_000_000_000
"""What has changed more recently than this is stamped anew by each walk: time stamps may be as coarse."""

_MOST = 1 << 16
"""Folders that are remembered."""


class Told:
    """What is known of folders beyond one walk.

    Args:
        is_image: whether a store has an image of this name; a folder of numbered folders that was one and does not look
            like one any more is reported, and not entered.
    """

    def __init__(self, is_image: Callable[[bytes], bool] = lambda name: False) -> None:
        self.is_image = is_image
        self._against: dict[tuple[bytes, tuple[int, int]], str | None] = {}
        self._stamps: dict[tuple[bytes, tuple[int, int]], Stamp] = {}
        self._lock = threading.Lock()

    def beside(self, is_image: Callable[[bytes], bool]) -> Self:
        """The same knowledge for a walk beside a store."""
        other = type(self)(is_image)
        other._against, other._stamps, other._lock = self._against, self._stamps, self._lock
        return other

    def against(self, path: bytes, identity: tuple[int, int]) -> str | None:
        """What speaks against a folder being one image of tiles; see `speaks_against`."""
        with self._lock:
            key = path, identity
            if key not in self._against:
                if len(self._against) >= _MOST:
                    self._against.clear()
                self._against[key] = speaks_against(path)
            return self._against[key]

    def stamp(self, folder: ImageFolder) -> Stamp:
        """What is seen of a folder that is an image; see `folder_stamp`.

        Raises:
            SourceError: it, or something in it, cannot be looked at.
        """
        with self._lock:
            key = folder.path, folder.identity
            found = self._stamps.get(key)
            if found is None:
                began = time.time_ns()
                found = folder_stamp(folder)
                if began - max(found.mtime_ns, found.ctime_ns) >= AT_REST_NS and len(self._stamps) < _MOST:
                    self._stamps[key] = found
            return found
