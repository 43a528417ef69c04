"""What does the store know of an input?  Its stamp, and the document of its name, in one look-up.

All of it is as of one commit, the newest when the run began: the run has the writer's lock, so nobody else adds to it.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

from mctree.format.facts import Stamp
from mctree.ingest.plan import Known, marker_name
from mctree.tree import Snapshot

__all__ = ["Memory"]


class Memory:
    """A store as it was before a run.

    Args:
        base: the store.
        held: a block that looks into it runs in this.
    """

    def __init__(self, base: Snapshot, held: AbstractContextManager[None]) -> None:
        self._base = base
        self._held = held
        self._empty = base.documents_count == 0

    def recall(self, name: bytes) -> tuple[Stamp | None, Known | None]:
        """The stamp of an input, and the live document of its name."""
        if self._empty:
            return None, None
        with self._held:
            stamp, number, record = self._base.recall(name)
            if record is None:
                return stamp, None
            if record.media == "image":
                image = self._base.gallery.record(number)
                looked_at = image.region == (0, 0, image.width, image.height)
                whole = looked_at and not self._base.gallery.is_coarse(number)
                return stamp, Known.of_image(number, image, whole=whole)
            if not record.open:
                return stamp, Known.closed(number, record)
            size, marker = self._base.document(number).size, self._base.stamp(marker_name(name))
            return stamp, Known.open(number, record, size, marker)

    def has_image(self, name: bytes) -> bool:
        """Whether there is an image of this name; may be asked by any thread."""
        if self._empty:
            return False
        with self._held if threading.current_thread() is threading.main_thread() else nullcontext():
            record = self._base.recall(name)[2]
        return record is not None and record.media == "image"

    def is_foreign(self, name: bytes) -> bool:
        """Whether the document of this name is being written to by somebody else."""
        known = self.recall(name)[1]
        return known is not None and known.foreign
