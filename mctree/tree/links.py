"""Which spans belong together?  Links such as captions and OCR, found from both ends.

A link joins two spans.  It is entered under every node of the smallest cover of each of its spans, so that the links
that meet a range are found by one range scan per level, without looking at all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mctree.errors import CorruptError, NotFoundError, UsageError
from mctree.format.commits import Meta
from mctree.format.facts import LinkRecord
from mctree.format.keys import Table, link_node_key, u64
from mctree.format.values import checked_text
from mctree.geometry import IMAGE, TEXT, Shape, World, cover
from mctree.geometry.address import SPACE_LIMIT
from mctree.geometry.integers import LIMIT, whole
from mctree.storage.index import Reading, Writing

__all__ = ["Link", "all_links", "checked_link", "end_link", "has_link", "links_in", "put_link"]

_END = LIMIT // TEXT.block * TEXT.block
"""The position behind the last that a block can have."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two spans, each (space, start, stop) in LOD0 positions.

    Attributes:
        id: its number in the store.
        source: the span it leads from.
        target: the span it leads to.
        kind: what it says, such as `caption`.
        score: how sure it is, in [0, 1].
    """

    id: int
    source: tuple[int, int, int]
    target: tuple[int, int, int]
    kind: str
    score: float

    def meets(self, space: int, start: int, stop: int) -> Literal["source", "target", ""]:
        """Which of its ends meets a range (`source` if both do), or nothing."""
        for end, span in (("source", self.source), ("target", self.target)):
            if span[0] == space and span[1] < stop and start < span[2]:
                return "source" if end == "source" else "target"
        return ""


def checked_link(
    source: tuple[int, int], target: tuple[int, int], kind: str, score: float, spaces: tuple[int, int]
) -> LinkRecord:
    """The record of a link between two spans [start, stop).

    Raises:
        UsageError: a span is empty or out of range, the score is no number in [0, 1], or the kind is no text.
    """
    spans = []
    ends = (_pair(source, "the source of a link"), _pair(target, "the target of a link"))
    for space, (start, stop) in zip(_pair(spaces, "the spaces of a link"), ends, strict=True):
        first, last = int(whole(start, "the start of a link", _END)), int(whole(stop, "the stop of a link", _END + 1))
        if first >= last:
            raise UsageError(f"a link needs spans of at least one position, not {first}..{last}")
        spans.append((int(whole(space, "the space of a link", SPACE_LIMIT)), first, last))
    if not isinstance(score, int | float | np.integer | np.floating) or not 0.0 <= score <= 1.0:
        raise UsageError(f"a link's score is a number in 0..1; {score!r} is not")
    return LinkRecord(spans[0], spans[1], checked_text(kind, "the kind of a link"), float(score))


def _pair(value: object, what: str) -> tuple[object, object]:
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes) or len(value) != 2:
        raise UsageError(f"{what} must be two integers, not {value!r:.60}")
    return value[0], value[1]


def put_link(index: Writing, number: int, record: LinkRecord) -> None:
    """Enter a link."""
    index.put_version(Table.LINK, u64.pack(number), record.encode())
    for key in _node_keys(index, number, record):
        index.put_version(Table.LINK_NODE, key, b"\x01")


def has_link(index: Reading, number: int, commit: int) -> bool:
    """Whether there is a link at a commit."""
    return 0 < number < 1 << 64 and index.version(Table.LINK, u64.pack(number), commit) is not None


def end_link(index: Writing, number: int) -> None:
    """Let a link hold no longer.

    Raises:
        NotFoundError: there is no such link.
    """
    payload = index.version(Table.LINK, u64.pack(number), index.number)
    if payload is None:
        raise NotFoundError(f"there is no link {number}")
    index.end_version(Table.LINK, u64.pack(number))
    for key in _node_keys(index, number, LinkRecord.decode(payload)):
        index.end_version(Table.LINK_NODE, key)


def links_in(index: Reading, commit: int, space: int, start: int, stop: int) -> list[Link]:
    """The links of which an end meets [start, stop), in order of their numbers.

    Raises:
        UsageError: a bound or the space is out of range.
    """
    start, stop = int(whole(start, "the start of a range")), int(whole(stop, "the stop of a range"))
    space = int(whole(space, "a space", SPACE_LIMIT))
    numbers: set[int] = set()
    if start < stop:
        shape = _shape(index, space)
        for level in range(shape.max_level + 1):
            width = int(shape.width(level))
            first, last = start // width, (stop - 1) // width
            prefix = link_node_key(space, level, 0, 0)[:5]
            low, high = u64.pack(first), u64.pack(last + 1)
            for key, payload in index.scan(Table.LINK_NODE + prefix, low, high):
                if payload and u64.unpack(key[16:])[0] <= commit:
                    numbers.add(u64.unpack(key[8:16])[0])
    found = []
    for number in sorted(numbers):
        link = _read(index, number, commit)
        if link is not None and link.meets(space, start, stop):
            found.append(link)
    return found


def all_links(index: Reading, commit: int) -> list[Link]:
    """All links at a commit, in order of their numbers."""
    records = (
        (u64.unpack(key)[0], LinkRecord.decode(payload)) for key, _, payload in index.versions(Table.LINK, commit)
    )
    return [Link(number, r.source, r.target, r.kind, r.score) for number, r in records]


def _read(index: Reading, number: int, commit: int) -> Link | None:
    payload = index.version(Table.LINK, u64.pack(number), commit)
    if payload is None:
        return None
    record = LinkRecord.decode(payload)
    return Link(number, record.source, record.target, record.kind, record.score)


def _shape(index: Reading, space: int) -> Shape:
    """The tree by whose nodes links of a space are found: of an arena's, but in stores that hold no images yet."""
    payload = index.get(Table.META) if space else None
    return TEXT if payload is None or Meta.decode(payload).format < 2 else IMAGE


def _node_keys(index: Reading, number: int, record: LinkRecord) -> set[bytes]:
    keys: set[bytes] = set()
    for space, start, stop in (record.source, record.target):
        shape = _shape(index, space)
        width = int(shape.width(1))
        # Geometry alone decides where a link is entered: nodes need not exist for it.
        world = World(positions=-(-stop // width) * width)
        cut = cover(shape, start, stop, world=world)
        for level, at in zip(cut.level.tolist(), cut.index.tolist(), strict=True):
            keys.add(link_node_key(space, level, at, number))
    if not keys:
        raise CorruptError(f"link {number} has no span")
    return keys
