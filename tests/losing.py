"""How does an index lose records?  They are taken out behind its back, or stand under another key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb

from mctree.format.keys import Table

__all__ = ["lose", "misplace"]


def lose(path: Path, table: Table, chosen: Callable[[bytes, bytes], bool]) -> None:
    """Take records of a table out of an index: those whose key, behind the tag, and value are chosen; one at least."""
    with lmdb.open(str(path / "index.lmdb"), map_size=1 << 30) as index, index.begin(write=True) as txn:
        records = [(bytes(key), bytes(value)) for key, value in txn.cursor()]
        lost = [key for key, value in records if key[:1] == table and chosen(key[1:], value)]
        assert lost
        for key in lost:
            txn.delete(key)


def misplace(path: Path, key: bytes, other: bytes) -> None:
    """Let a record of an index stand under another key, as if bits of it had flipped, with the checksum it had."""
    with lmdb.open(str(path / "index.lmdb"), map_size=1 << 30) as index, index.begin(write=True) as txn:
        value = txn.pop(key)
        assert value is not None
        txn.put(other, value)
