"""How large do JPEG and WebP streams say that they are?  So much is asked before a decoder believes them.

The walk through a JPEG stream is strict: what a tolerant decoder would skip in search of another header is refused, so
that both see the same one.
"""

from __future__ import annotations

import struct

__all__ = ["check_jpeg_tables", "jpeg_size", "webp_size"]

_START, _END = 0xD8, 0xD9
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3))
_PASSED = frozenset((0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
"""Tables, the restart interval, comments, and segments of applications."""


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height (ITU-T T.81, B.2).

    Raises:
        ValueError: it does not say them, or not before anything else than tables and comments.
    """
    place, marker = _passed(data)
    if marker not in _FRAMES or place + 9 > len(data):
        raise ValueError("a JPEG stream does not begin with a header")
    height, width = struct.unpack_from(">HH", data, place + 5)
    if not height or not width:
        raise ValueError("a JPEG stream does not say its size")
    return width, height


def check_jpeg_tables(data: bytes) -> None:
    """Make sure that a stream which should hold tables for others holds nothing else.

    Raises:
        ValueError: it does.
    """
    if _passed(data)[1] != _END:
        raise ValueError("tables for JPEG streams hold something else")


def webp_size(head: bytes) -> tuple[int, int]:
    """Width and height of the canvas, from the first 30 bytes (RFC 9649, sections 2.5 to 2.7).

    Raises:
        ValueError: they are fewer.
    """
    if len(head) < 30:
        raise ValueError("it ends in its header")
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
        return width, height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _passed(data: bytes) -> tuple[int, int]:
    """Where the first marker stands that is not passed over, and which it is."""
    if data[:2] != bytes((0xFF, _START)):
        raise ValueError("a JPEG stream does not begin as one")
    place = 2
    while place + 2 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker not in _PASSED or place + 4 > len(data):
            return place, marker
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise ValueError("a JPEG stream is damaged in its header")
