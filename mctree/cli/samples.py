"""Which bytes of a store does an encoder learn from?  A bounded sample that every document has a chance to be in."""

from __future__ import annotations

import random
from collections.abc import Iterator

from mctree import Snapshot

__all__ = ["sample"]

_LEAST_OF_A_DOCUMENT = 1 << 14


def sample(snapshot: Snapshot, size: int) -> Iterator[bytes]:
    """About so many bytes: beginnings of documents in an order that is random and always the same.

    Args:
        snapshot: where from.
        size: bytes; with few documents, an equal part of each.
    """
    numbers = [number for _, number, _ in snapshot.sources()]
    random.Random(0).shuffle(numbers)
    share = max(size // max(len(numbers), 1), _LEAST_OF_A_DOCUMENT)
    left = size
    for number in numbers:
        if left <= 0:
            return
        taken = 0
        for part in snapshot.document(number).stream():
            yield part[: share - taken]
            taken += len(part)
            if taken >= share:
                break
        left -= min(taken, share)
