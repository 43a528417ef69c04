"""How is a value framed so that a flipped bit, or a value under a wrong key, is noticed?

Every value is `crc32c(key + payload)` (4 bytes, little-endian) and then the payload.  Payloads are MessagePack maps
where few are read, and packed structs or NumPy records where many are.  MessagePack from a store is decoded within
bounds, and its ext types are refused.
"""

from __future__ import annotations

from typing import Any, cast

import msgpack
from google_crc32c import extend as crc32c_extend
from google_crc32c import value as crc32c

from mctree.errors import CorruptError, UsageError

__all__ = ["checked_text", "crc32c", "crc32c_extend", "frame", "pack", "unframe", "unpack"]

_CRC_BYTES = 4


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


def describe(key: bytes) -> str:
    """A short printable form of a key, for messages."""
    return f"{key[:1].decode('latin-1')!r} {key[1:].hex()[:48]}"


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
    """Encode a map as MessagePack."""
    return cast(bytes, msgpack.packb(value, use_bin_type=True))


def unpack(payload: bytes, what: str) -> dict[str, Any]:
    """Decode a MessagePack map from a store that is not trusted.

    Args:
        payload: the bytes; nothing in them may be longer than they are.
        what: names the record in the error.

    Raises:
        CorruptError: it is not one MessagePack map with string keys.
    """
    n = len(payload)
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
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise CorruptError(f"{what} is not readable: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise CorruptError(f"{what} is not a map")
    return value
