"""What did a run do?  Counts, and a bounded number of the inputs that were skipped, with reasons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mctree.errors import MctreeError
from mctree.sources import Skipped
from mctree.sources.images.uris import file_uri
from mctree.sources.names import shown

__all__ = ["TAKEN", "Report", "Tally", "failed"]

TAKEN = "another document of this run has the same name"
"""Why the second of two documents is skipped."""

_MOST_SKIPPED = 100
_MOST_REASONS = 50
_OTHER = "other reasons"
_PLACES = re.compile(r"^(line|row) \d+: | at byte \d+ of the line$| at column \d+$| \(\d+\)$")
"""What tells where in an input, or of what size, and nothing of the kind of reason."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    Attributes:
        added: documents that are new.
        superseded: documents that changed: there is a new version, and the old one's blocks are dead.
        extended: documents that only grew: their blocks are kept, and new ones follow; and images of which more came.
        removed: documents whose input is gone.
        unchanged: documents that were found to be what they were.
        bytes_read: bytes of texts that were read, those only compared included, and of the files of images; of an image
            of which a part is read, as large a part of its bytes.
        tokens: tokens written.
        images: how many of the added and superseded documents are images.
        pixels: that were read of images.
        skipped: the first 100 of the inputs that gave nothing, each with its reason.
        skipped_count: how many there were.
        skipped_reasons: how many of each kind, the most frequent first: reasons without line, row, column and size;
            what differs too much is counted together.
        raw: the first 100 of the documents written in this run that are no UTF-8, and are kept byte for byte.
        raw_count: how many there were.
        seconds: how long it took.
        preparing_seconds: how much of that went before the first input was read: training and its sample,
            opening.
        commit_before: the newest commit when the run began; None if it made the store.
        commit_after: the newest commit when it ended; the same as before if nothing had changed.
    """

    added: int
    superseded: int
    extended: int
    removed: int
    unchanged: int
    bytes_read: int
    tokens: int
    images: int
    pixels: int
    skipped: tuple[Skipped, ...]
    skipped_count: int
    skipped_reasons: Mapping[str, int]
    raw: tuple[bytes, ...]
    raw_count: int
    seconds: float
    preparing_seconds: float
    commit_before: int | None
    commit_after: int

    @property
    def changed(self) -> bool:
        """Whether the store holds anything else than before."""
        return self.commit_before != self.commit_after


class Tally:
    """The counts while the run goes on; the attributes are those of `Report`."""

    def __init__(self) -> None:
        self.added = 0
        self.superseded = 0
        self.extended = 0
        self.removed = 0
        self.unchanged = 0
        self.bytes_read = 0
        self.tokens = 0
        self.images = 0
        self.pixels = 0
        self._skipped: list[Skipped] = []
        self._reasons: Counter[str] = Counter()
        self._raw: list[bytes] = []
        self._raw_count = 0

    @property
    def documents(self) -> int:
        """Documents dealt with."""
        return self.added + self.superseded + self.extended + self.removed + self.unchanged

    def skip(self, found: Skipped) -> None:
        """Count something that gives no document."""
        if len(self._skipped) < _MOST_SKIPPED:
            self._skipped.append(found)
        kind = _PLACES.sub("", found.reason).strip() or _OTHER
        self._reasons[kind if kind in self._reasons or len(self._reasons) < _MOST_REASONS else _OTHER] += 1

    def keep_raw(self, name: bytes) -> None:
        """Count a document that is no UTF-8."""
        self._raw_count += 1
        if len(self._raw) < _MOST_SKIPPED:
            self._raw.append(name)

    def report(
        self, seconds: float, commit_before: int | None, commit_after: int, *, preparing_seconds: float = 0.0
    ) -> Report:
        """What the run did."""
        return Report(
            added=self.added,
            superseded=self.superseded,
            extended=self.extended,
            removed=self.removed,
            unchanged=self.unchanged,
            bytes_read=self.bytes_read,
            tokens=self.tokens,
            images=self.images,
            pixels=self.pixels,
            skipped=tuple(self._skipped),
            skipped_count=self._reasons.total(),
            skipped_reasons=dict(self._reasons.most_common()),
            raw=tuple(self._raw),
            raw_count=self._raw_count,
            seconds=seconds,
            preparing_seconds=preparing_seconds,
            commit_before=commit_before,
            commit_after=commit_after,
        )


def failed(name: bytes, error: MctreeError, path: bytes = b"") -> Skipped:
    """What could not be read, and why; the name or the path, with which most such errors begin, is not said twice."""
    reason = str(error)
    for known in (file_uri(path, {}), shown(path), shown(name)) if path else (shown(name),):
        reason = reason.removeprefix(known).lstrip(": ")
    return Skipped(name, reason, certain=False)
