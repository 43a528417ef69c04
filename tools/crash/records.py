"""Which records does an index hold, and how is one of them damaged?  A bit of it flips, or it is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import lmdb

from tools.crash.damage import Damage
from tools.crash.index_bytes import IndexBytes
from tools.crash.naming import INDEX

__all__ = ["bit_of", "in_records", "lose"]

_SEED = 31
_NODE_BYTES = 8
"""Of a record in a page of an index, those before its key."""
_CHECKSUM_BYTES = 4
_MAP = 1 << 30


def in_records(store: str) -> Iterator[tuple[bytes, list[Damage]]]:
    """Of each record of a store's index its key, and bits: three of the key, the tag's first, and some behind it."""
    rng = random.Random(_SEED)
    data = Path(store, INDEX).read_bytes()
    spots = IndexBytes(data).spots
    for at, spot in sorted(spots.items(), key=itemgetter(0)):
        key = spot.key
        if key is None or data[at + _NODE_BYTES : at + _NODE_BYTES + len(key)] != key:
            continue
        start = at + _NODE_BYTES
        payload = start + len(key)
        places = [start, start + rng.randrange(1, len(key)) if len(key) > 1 else start, start + len(key) - 1]
        if spot.leads is None:
            places += [payload + rng.randrange(_CHECKSUM_BYTES)]
            places += [payload + _CHECKSUM_BYTES] if spots.get(payload + _CHECKSUM_BYTES) == spot else []
        yield key, [bit_of(place, rng) for place in places]


def bit_of(at: int, rng: random.Random) -> Damage:
    """A bit of a byte of the index."""
    return Damage(INDEX, at, bytes([1 << rng.randrange(8)]))


def lose(key: bytes, path: str) -> None:
    """Take a record out of the index of the store at a path, whose pages stay in order."""
    folder = str(Path(path, INDEX).parent)
    with lmdb.open(folder, map_size=_MAP) as index, index.begin(write=True) as transaction:
        assert transaction.delete(key), "it is a record"
