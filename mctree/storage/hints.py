"""What does a writer leave for others beside a commit?  The newest commit's number, and shapes for other Zarr readers.

Both are hints: the commit is durable before they are written, nothing of the store depends on them, and neither is
synced.  So neither may ever be worth less than what stood there before: both are overwritten in place, by as many bytes
as before, within one sector.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from mctree.errors import CorruptError
from mctree.format.commits import Commit
from mctree.format.values import crc32c
from mctree.storage.chunks import ArrayWriter
from mctree.storage.creation import write_array_rows
from mctree.storage.files import open_file, pwrite_all
from mctree.storage.store import HEAD_NAME

__all__ = ["Hints"]

_EVERY = 16
"""Commits from one time that shapes are shown to the next."""


class Hints:
    """Leaves hints of one session's commits.

    Args:
        at: descriptor of the store's directory.
    """

    def __init__(self, at: int) -> None:
        self._at = at
        self._head: int | None = None
        self._shown: dict[int, int] = {}
        self._commits = 0

    def leave(self, newest: Commit, grown: Mapping[int, ArrayWriter], *, every: bool = False) -> None:
        """Say what the newest commit is, and now and then what it holds; a hint that cannot be written is no failure.

        Args:
            newest: the commit, durable.
            grown: what has appended to arrays, by number.
            every: also what this commit holds, whatever was shown of those before it.
        """
        self._commits += 1
        # The number of each, so that an index put back by even one commit is noticed, also after a killed writer.
        with suppress(OSError, CorruptError):
            self._leave_head(newest.number)
        if every or self._commits >= _EVERY:
            self._commits = 0
            for number, writer in grown.items():
                with suppress(OSError, CorruptError):
                    self._leave_shape(newest, number, writer)

    def close(self) -> None:
        """Close files."""
        head, self._head = self._head, None
        if head is not None:
            os.close(head)

    def _leave_head(self, number: int) -> None:
        if self._head is None:
            self._head = open_file(HEAD_NAME, os.O_WRONLY | os.O_CREAT, self._at)
        body = number.to_bytes(8, "little")
        pwrite_all(self._head, body + crc32c(body).to_bytes(4, "little"), 0)

    def _leave_shape(self, newest: Commit, number: int, writer: ArrayWriter) -> None:
        rows = newest.arrays[number].rows if number in newest.arrays else 0
        if self._shown.get(number) != rows:
            write_array_rows(self._at, writer.layout, rows)
            self._shown[number] = rows
