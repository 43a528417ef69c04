"""What does a check say?  One finding, and what of the tree it hits."""

from __future__ import annotations

from dataclasses import dataclass

from mctree.geometry import Address

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was committed.

    Attributes:
        where: the file, record, node or document.
        what: what is wrong with it.
        kind: `page`, `record`, `table`, `chunk`, `metadata`, `tokens`, `count`, `gist`, `image`, `pixels`, `run`,
            `document`, `commit`, `limit` or `unreadable`.
        node: the node that is hit, if it is one.
        source: the name of the source that is hit, if it is one.
        start: first byte of the source that is hit.
        stop: byte of the source after the last that is hit.
    """

    where: str
    what: str
    kind: str
    node: Address | None = None
    source: bytes | None = None
    start: int = 0
    stop: int = 0
