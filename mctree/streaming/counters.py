"""How well does streaming do?  Everything is counted, for the timeline and for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

__all__ = ["Counters", "Counts"]


@dataclass(slots=True)
class Counts:
    """What has happened so far to the nodes of one modality.

    Attributes:
        hits: entries that were resident when they entered a working context.
        misses: entries that were not.
        fallbacks: entries that were shown by an ancestor, once for each time that a context was looked at.
        absent: entries that have no row at all, such as gists that were not made yet, when they entered.
        requested: rows that were asked for and had to be read; each time once, however many have asked.
        read: rows that were read.
        runs: stretches of neighbouring rows that these were read in.
        bytes: of rows that were copied to the device.
        evictions: rows that were evicted.
        cancelled: rows that nobody wanted any more before they were read.
        shed: rows that were given up because too many waited.
        refused: rows that were read and found no slot.
        failures: rows that could not be read.
        stalls: how often somebody waited for rows.
        stall_s: for how long, in seconds.
    """

    hits: int = 0
    misses: int = 0
    fallbacks: int = 0
    absent: int = 0
    requested: int = 0
    read: int = 0
    runs: int = 0
    bytes: int = 0
    evictions: int = 0
    cancelled: int = 0
    shed: int = 0
    refused: int = 0
    failures: int = 0
    stalls: int = 0
    stall_s: float = 0.0

    @property
    def hit_rate(self) -> float:
        """The part of the entries that were resident when they entered; 1 if none has."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 1.0

    def as_dict(self) -> dict[str, float]:
        """All of it by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"hit_rate": self.hit_rate}


class _Row(Protocol):
    @property
    def image(self) -> bool: ...


@dataclass(slots=True)
class Counters:
    """What has happened so far.

    Attributes:
        text: to what lies on the timeline, with the blocks that images take.
        image: to what lies in images.
    """

    text: Counts = field(default_factory=Counts)
    image: Counts = field(default_factory=Counts)

    def of(self, image: bool) -> Counts:
        """Those of one modality."""
        return self.image if image else self.text

    def count(self, what: str, rows: Sequence[_Row], each: int = 1) -> None:
        """Add to a count, for each of some rows."""
        images = sum([row.image for row in rows])
        for counts, number in ((self.image, images), (self.text, len(rows) - images)):
            if number:
                setattr(counts, what, getattr(counts, what) + each * number)

    @property
    def total(self) -> Counts:
        """Both together."""
        return Counts(*(getattr(self.text, one.name) + getattr(self.image, one.name) for one in fields(Counts)))
