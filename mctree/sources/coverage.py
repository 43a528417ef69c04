"""Does a document's absence mean that it is gone?  Only where everything was looked at to the end.

Notes are taken while a source is iterated: which roots were walked to their end, which names are in doubt (a folder
that could not be listed, a file that could not be read, and all that may lie under them), and which containers were
met but not read to their end.
"""

from __future__ import annotations

from enum import Enum

from mctree.sources.names import ancestors

__all__ = ["Coverage", "Extent"]


class Extent(Enum):
    """Which names a root answers for: all below it, itself, or itself and the documents in it."""

    FOLDER = "folder"
    FILE = "file"
    CONTAINER = "container"

    def holds(self, root: bytes, name: bytes) -> bool:
        """Whether `name` is such a name."""
        if self is Extent.FOLDER:
            return name.startswith(root + b"/")
        return name == root or (self is Extent.CONTAINER and name.startswith(root + b"#"))


class Coverage:
    """The notes of one iteration; memory grows with what is in doubt and with containers left unread."""

    def __init__(self) -> None:
        self._walked: list[tuple[bytes, Extent]] = []
        self._doubted: set[bytes] = set()
        self._unread: set[bytes] = set()

    def walked(self, root: bytes, extent: Extent) -> None:
        """The root was enumerated to its end, but for what is in doubt."""
        self._walked.append((root, extent))

    def doubt(self, name: bytes) -> None:
        """What lies at, below or in `name` is not known."""
        self._doubted.add(name)

    def met(self, container: bytes) -> None:
        """The container exists, and its documents are not known yet."""
        self._unread.add(container)

    def read(self, container: bytes) -> None:
        """All documents of the container were handed over."""
        self._unread.discard(container)

    def covers(self, name: bytes) -> bool:
        """Whether `name` was looked for wherever it could have been."""
        if not any(extent.holds(root, name) for root, extent in self._walked):
            return False
        return not any(above in self._doubted or above in self._unread for above in ancestors(name))
