"""An index by itself, without a store around it."""

from __future__ import annotations

import lmdb

__all__ = ["empty"]


def empty(txn: lmdb.Transaction) -> None:
    """Take everything out."""
    with txn.cursor() as cursor:
        while cursor.first():
            cursor.delete()
