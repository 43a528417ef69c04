"""How are facts looked up and put down?  Checked reads, versioned writes, and the sums that a commit carries.

`Reading` and `Writing` wrap one LMDB transaction each.  Whatever they return was checked against its checksum and
copied out of the map, so it outlives the transaction.  `Writing` keeps, for each table, the number of its records and
the sum of their checksums, which the commit it writes will carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice, takewhile
from typing import cast

import lmdb
import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError
from mctree.format.commits import ArrayState, Commit
from mctree.format.keys import (
    GROWING,
    VERSIONED,
    Table,
    checked_key,
    commit_key,
    grave_key,
    split_version,
    u64,
    version_key,
)
from mctree.format.values import describe, frame, unframe, unframe_fixed

__all__ = ["SUMMED", "Reading", "Writing", "table_sums", "whole_table"]

SUMMED = VERSIONED | GROWING | {Table.META}
"""Tables whose records a commit counts and sums: all that a committed read depends on."""

_SUMMED_TAGS = {table[0]: table.decode("ascii") for table in SUMMED}
_SUM_BITS = (1 << 64) - 1

_NOTHING = 0, 0
_NO_ARRAYS: Mapping[int, ArrayState] = {}
_RECORDS_AT_ONCE = 1 << 16
_LAST = b"\xff" * 64


class Reading:
    """Checked lookups in one transaction."""

    def __init__(self, txn: lmdb.Transaction) -> None:
        self._txn = txn

    def get(self, key: bytes) -> bytes | None:
        """The payload under `key`, or None."""
        value = _bytes(self._txn.get(key))
        return None if value is None else _payload(key, value)

    def scan(self, prefix: bytes, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Records whose keys begin with `prefix`, in order.

        Args:
            prefix: what all keys begin with.
            start: skip keys below `prefix + start`.
            stop: end at keys from `prefix + stop` on.

        Yields:
            The rest of the key after the prefix, and the payload.
        """
        n = len(prefix)
        with self._txn.cursor() as cursor:
            found = cursor.set_range(prefix + start)
            while found:
                key, value = bytes(cursor.key()), bytes(cursor.value())
                if key[:n] != prefix or (stop is not None and key[n:] >= stop):
                    return
                yield key[n:], _payload(key, value)
                found = cursor.next()

    def fixed(
        self, prefix: bytes, key_bytes: int, payload_bytes: int, start: bytes, stop: bytes
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Records of one size whose keys begin with `prefix`, many at a time, in order.

        Args:
            prefix: what all keys begin with.
            key_bytes: how long the rest of each key is.
            payload_bytes: how long each payload is.
            start: skip keys below `prefix + start`.
            stop: end at keys from `prefix + stop` on.

        Yields:
            The rests of the keys, `uint8 [n, key_bytes]`, and the payloads, `uint8 [n, payload_bytes]`.

        Raises:
            CorruptError: one has another size, or fails its checksum.
        """
        end = prefix + stop
        with self._txn.cursor() as cursor:
            # Without `buffers` a transaction gives copies.
            found = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext() if cursor.set_range(prefix + start) else ())
            records = takewhile(lambda record: record[0] < end, found)
            while batch := list(islice(records, _RECORDS_AT_ONCE)):
                yield unframe_fixed(batch, len(prefix), key_bytes, payload_bytes)

    def raw(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, and its value, as they are, unchecked, in order."""
        with self._txn.cursor() as cursor:
            found = cursor.set_range(prefix) if prefix else cursor.first()
            while found and (key := bytes(cursor.key())).startswith(prefix):
                yield key, bytes(cursor.value())
                found = cursor.next()

    def floor(self, prefix: bytes, suffix: bytes) -> tuple[bytes, bytes] | None:
        """The last record with `prefix` whose key is not above `prefix + suffix`: (rest of key, payload), or None."""
        wanted = prefix + suffix
        with self._txn.cursor() as cursor:
            # Step onto the first key at or above the wanted one, or past the end, and back if that is above it.
            found = cursor.set_range(wanted)
            if not found or cursor.key() != wanted:
                found = cursor.prev() if found else cursor.last()
            if not found or bytes(cursor.key())[: len(prefix)] != prefix:
                return None
            key, value = bytes(cursor.key()), bytes(cursor.value())
            return key[len(prefix) :], _payload(key, value)

    def last(self, table: Table) -> tuple[bytes, bytes] | None:
        """The last record of a table: (key after the tag, payload), or None."""
        return self.floor(table, _LAST)

    def newest(self) -> int:
        """The number of the newest commit, without reading its record (0: none)."""
        with self._txn.cursor() as cursor:
            found = cursor.prev() if cursor.set_range(Table.COMMIT + _LAST) else cursor.last()
            key = bytes(cursor.key()) if found else b""
        return int(u64.unpack(_sound(key)[1:])[0]) if key[:1] == Table.COMMIT else 0

    def version(self, table: Table, key: bytes, commit: int) -> bytes | None:
        """What the versioned fact `key` says at `commit`; None if it did not hold."""
        found = self.floor(table + key, u64.pack(commit))
        # A longer key with the same beginning is another fact.
        return found[1] or None if found and len(found[0]) == 8 else None

    def versions(
        self, table: Table, commit: int, prefix: bytes = b"", start: bytes = b""
    ) -> Iterator[tuple[bytes, int, bytes]]:
        """What each versioned fact of a table says at `commit`: (key, the commit since which, payload)."""
        pending: tuple[bytes, int, bytes] | None = None
        for rest, payload in self.scan(table + prefix, start):
            key, since = split_version(table + prefix + rest)
            if pending is not None and pending[0] != key:
                if pending[2]:
                    yield pending
                pending = None
            if since <= commit:
                pending = (key, since, payload)
        if pending is not None and pending[2]:
            yield pending

    def commit(self, number: int | None = None) -> Commit | None:
        """The record of a commit that may be opened (the newest if no number is given), or None."""
        if number is None:
            newest = self.last(Table.COMMIT)
            return None if newest is None else Commit.decode(u64.unpack(newest[0])[0], newest[1])
        payload = self.get(commit_key(Table.COMMIT, number)) if 0 <= number < 1 << 64 else None
        return None if payload is None else Commit.decode(number, payload)

    def holds(self, number: int) -> bool:
        """Whether what a commit needs is still there: it may be opened, or is condemned but not freed."""
        return any(self.get(commit_key(table, number)) is not None for table in (Table.COMMIT, Table.CONDEMNED))

    def commit_numbers(self, table: Table = Table.COMMIT) -> list[int]:
        """The numbers of all commits of a table, ascending, without reading their records."""
        with self._txn.cursor() as cursor:
            # Without `buffers` a transaction gives copies.
            found = cast("Iterator[bytes]", cursor.iternext(values=False) if cursor.set_range(table) else ())
            return [u64.unpack(_sound(key)[1:])[0] for key in takewhile(lambda key: key[:1] == table, found)]


class Writing(Reading):
    """Changes within one write transaction, which becomes commit `number` if all goes well.

    Args:
        txn: an LMDB write transaction.
        number: the commit that this transaction makes.
        tables: the sums of the commit before, by table tag.
        arrays: what that commit sees of each array.

    Attributes:
        number: the same.
        tables: for each table, the number of records and the sum of their checksums modulo 2^64, as of now.
        arrays: what the commit will see of each array, as far as it was put.
    """

    def __init__(
        self,
        txn: lmdb.Transaction,
        number: int,
        tables: Mapping[str, tuple[int, int]],
        arrays: Mapping[int, ArrayState] = _NO_ARRAYS,
    ) -> None:
        self._txn = txn
        self.number = number
        self.tables = dict(tables)
        self.arrays = dict(arrays)

    def put(self, key: bytes, payload: bytes) -> None:
        """Put a record, in place of the one under the same key if there is one.

        Raises:
            CorruptError: that one is of a table that is summed up, and is damaged.
        """
        value = frame(key, payload)
        tag = _SUMMED_TAGS.get(key[0])
        if tag is None:
            self._txn.put(key, value)
            return
        count, total = self.tables.get(tag, _NOTHING)
        total += int.from_bytes(value[:4], "little")
        old = self._txn.replace(key, value)
        if old is None:
            count += 1
        else:
            total -= _checksum(key, bytes(old))
        self.tables[tag] = count, total & _SUM_BITS

    def delete(self, key: bytes) -> bool:
        """Take a record out; False if there was none.

        Raises:
            CorruptError: it is of a table that is summed up, and is damaged.
        """
        old = self._txn.pop(key)
        if old is None:
            return False
        tag = _SUMMED_TAGS.get(key[0])
        if tag is not None:
            count, total = self.tables.get(tag, _NOTHING)
            self.tables[tag] = count - 1, (total - _checksum(key, bytes(old))) & _SUM_BITS
        return True

    def put_version(self, table: Table, key: bytes, payload: bytes) -> None:
        """Let a versioned fact say `payload` from this commit on (nothing: end it, unless it has ended)."""
        before = self.floor(table + key, u64.pack(self.number))
        if before is not None and len(before[0]) == 8:
            since = u64.unpack(before[0])[0]
            if since != self.number:
                if not payload and not before[1]:
                    return
                self.put(grave_key(self.number, version_key(table, key, since)), b"")
            elif not payload and self._take_back(table, key):
                return
        elif not payload:
            return
        self.put(version_key(table, key, self.number), payload)

    def _take_back(self, table: Table, key: bytes) -> bool:
        """Take back what this commit has said of a versioned fact that did not hold before; False if it did."""
        before = self.floor(table + key, u64.pack(self.number - 1))
        if before is not None and len(before[0]) == 8:
            if before[1]:
                return False
            self.delete(grave_key(self.number, version_key(table, key, u64.unpack(before[0])[0])))
        self.delete(version_key(table, key, self.number))
        return True

    def end_version(self, table: Table, key: bytes) -> None:
        """Let a versioned fact hold no longer from this commit on."""
        self.put_version(table, key, b"")


def table_sums(reading: Reading) -> Iterator[tuple[str, int, int]]:
    """Count and sum every summed table anew: (tag, records, sum of checksums); damaged records are left out."""
    for table in sorted(SUMMED):
        count = total = 0
        for _, checksum in _sound_records(reading, table):
            count, total = count + 1, total + checksum
        yield table.decode("ascii"), count, total & _SUM_BITS


def whole_table(reading: Reading, table: Table, tables: Mapping[str, tuple[int, int]]) -> set[bytes] | None:
    """The keys of a summed table behind its tag; None if its records are not those that were counted (`tables`).

    Read one after the other, and not looked up: where a key is damaged, or one that leads the way, a look-up would
    say of what is there that it is not.
    """
    keys, total = set[bytes](), 0
    for key, checksum in _sound_records(reading, table):
        keys.add(key[1:])
        total += checksum
    return keys if (len(keys), total & _SUM_BITS) == tables.get(table.decode("ascii"), _NOTHING) else None


def _sound_records(reading: Reading, table: Table) -> Iterator[tuple[bytes, int]]:
    """The keys of a table's records that are not damaged, and their checksums."""
    for key, value in reading.raw(table):
        with suppress(CorruptError):
            yield key, _checksum(key, value)


def _checksum(key: bytes, value: bytes) -> int:
    """The checksum of a record, which it fits.

    Raises:
        CorruptError: it does not.  One that is taken out of the sums of its table has to, for else these could fit
            although what it had been is lost.
    """
    unframe(key, value)
    return int.from_bytes(value[:4], "little")


def _payload(key: bytes, value: bytes) -> bytes:
    """The payload of a record, if it is whole and its key is one of its table."""
    return unframe(_sound(key), value)


def _sound(key: bytes) -> bytes:
    """A key that is one of its table.

    Raises:
        CorruptError: it is none, whatever its checksum says: a stranger has put it there.
    """
    if not checked_key(key):
        raise CorruptError(f"index record {describe(key)} has a key that its table cannot have; run `mctree verify`")
    return key


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    """A value as LMDB gives it to transactions without `buffers`: a copy."""
    return None if value is None else bytes(value)
