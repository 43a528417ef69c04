"""How is a value framed so that a flipped bit, or a value under a wrong key, is noticed?

Every value is `crc32c(key + payload)` (4 bytes, little-endian) and then the payload.  Payloads are MessagePack maps
where few are read, and packed structs or NumPy records where many are.  MessagePack from a store is decoded within
bounds, and its ext types are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from google_crc32c import extend as crc32c_extend
from google_crc32c import value as crc32c
from numpy.typing import NDArray

from mctree.errors import CorruptError, UsageError

__all__ = ["checked_text", "crc32c", "crc32c_extend", "frame", "number", "pack", "unframe", "unframe_fixed", "unpack"]

_CRC_BYTES = 4
_MOST_MAP_BYTES = 1 << 24
"""A map is held in memory as a whole, and that takes many times its bytes."""


def frame(key: bytes, payload: bytes) -> bytes:
    """The value to be stored under `key` for `payload`."""
    checksum: int = crc32c(key + payload)
    return checksum.to_bytes(_CRC_BYTES, "little") + payload


def unframe(key: bytes, value: bytes) -> bytes:
    """The payload of a value found under `key`.

    Raises:
        CorruptError: the checksum does not fit: the value was damaged, or belongs to another key.
    """
    payload = value[_CRC_BYTES:]
    if len(value) < _CRC_BYTES or crc32c(key + payload) != int.from_bytes(value[:_CRC_BYTES], "little"):
        raise CorruptError(f"index record {describe(key)} fails its checksum; restore the store from a copy")
    return payload


def unframe_fixed(
    records: Sequence[tuple[bytes, bytes]], prefix: int, key_bytes: int, payload_bytes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The keys and payloads of many records of one size, checked all at once.

    Args:
        records: keys and values as they were found.
        prefix: how many bytes to leave off each key.
        key_bytes: how many each key has behind them.
        payload_bytes: how many each payload has.

    Returns:
        `uint8 [n, key_bytes]` and `uint8 [n, payload_bytes]`, read-only.

    Raises:
        CorruptError: one has another size, or a checksum that does not fit; the message names the first.
    """
    n, key_size, value_size = len(records), prefix + key_bytes, _CRC_BYTES + payload_bytes
    for key, value in records:
        if len(key) != key_size or len(value) != value_size:
            raise CorruptError(f"index record {describe(key)} has {len(value)} bytes, not {value_size}")
    keys = np.frombuffer(b"".join([key for key, _ in records]), np.uint8).reshape(n, key_size)
    values = np.frombuffer(b"".join([value for _, value in records]), np.uint8).reshape(n, value_size)
    stored = np.ascontiguousarray(values[:, :_CRC_BYTES]).view("<u4").reshape(n)
    wrong = np.flatnonzero(_crc32c_rows(np.concatenate([keys, values[:, _CRC_BYTES:]], axis=1)) != stored)
    if len(wrong):
        unframe(*records[int(wrong[0])])
    return keys[:, prefix:], values[:, _CRC_BYTES:]


def _crc32c_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The crc32c of each row: `uint32 [n]`, a byte of all rows at a time."""
    sums = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in np.ascontiguousarray(rows.T):
        sums = _CRC_STEPS[(sums ^ column) & np.uint32(0xFF)] ^ (sums >> np.uint32(8))
    return ~sums


def _crc_steps() -> NDArray[np.uint32]:
    """What each byte does to a crc32c: `uint32 [256]`, of the reversed Castagnoli polynomial."""
    steps = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        steps = (steps >> np.uint32(1)) ^ (steps & np.uint32(1)) * np.uint32(0x82F63B78)
    return steps


_CRC_STEPS = _crc_steps()


def describe(key: bytes) -> str:
    """A short printable form of a key, for messages."""
    return f"{key[:1].decode('latin-1')!r} {key[1:].hex()[:64]}"


def checked_text(value: object, what: str) -> str:
    """Text that can be stored.

    Args:
        value: what is to be stored.
        what: names it in the error.

    Raises:
        UsageError: it is no string, or one that UTF-8 cannot hold.
    """
    if not isinstance(value, str):
        raise UsageError(f"{what} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} holds characters that cannot be stored: {ascii(value)[:80]}") from None
    return str(value)


def pack(value: dict[str, Any]) -> bytes:
    """Encode a map as MessagePack.

    Raises:
        UsageError: it takes more bytes than are ever read back.
    """
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    if len(packed) > _MOST_MAP_BYTES:
        raise UsageError(f"a record of {len(packed)} bytes is too large: names and locators may take {_MOST_MAP_BYTES}")
    return packed


def number(payload: bytes, width: int, what: str) -> int:
    """The one big-endian number that a payload of `width` bytes is.

    Args:
        payload: the bytes.
        width: how many there must be.
        what: names the record in the error.

    Raises:
        CorruptError: there are more or fewer.
    """
    if len(payload) != width:
        raise CorruptError(f"{what} has {len(payload)} bytes, not {width}; run `mctree verify`")
    return int.from_bytes(payload, "big")


def unpack(payload: bytes, what: str) -> dict[str, Any]:
    """Decode a MessagePack map from a store that is not trusted.

    Args:
        payload: the bytes; nothing in them may be longer than they are.
        what: names the record in the error.

    Raises:
        CorruptError: it is not one MessagePack map, or larger than one can be.
    """
    n = len(payload)
    if n > _MOST_MAP_BYTES:
        raise CorruptError(f"{what} has {n} bytes, where at most {_MOST_MAP_BYTES} can be")
    try:
        value = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=False,
            max_str_len=n,
            max_bin_len=n,
            max_array_len=n,
            max_map_len=n,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise CorruptError(f"{what} is not readable: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise CorruptError(f"{what} is not a map")
    return value
