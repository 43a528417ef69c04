"""How is gzip read as a stream?  Member after member, never more than a step of output at a time.

A small input can stand for any amount of output; what is held is one input chunk and one step, whatever it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

__all__ = ["GZIP_MARK", "inflated"]

GZIP_MARK = b"\x1f\x8b"
_STEP = 1 << 20
_GZIP_ONLY = 31


def inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes as they are, or decompressed if they begin as gzip does (no JSON text does).

    Raises:
        zlib.error: the stream is damaged or ends too early.
    """
    stream = iter(chunks)
    head = b""
    while len(head) < len(GZIP_MARK) and (chunk := next(stream, b"")):
        head += chunk
    whole = chain((head,) if head else (), stream)
    return _decompressed(whole) if head.startswith(GZIP_MARK) else whole


def _decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_ONLY)
    begun = False
    for chunk in chunks:
        data = chunk
        while data:
            if not begun:
                data = data.lstrip(b"\0")
                if not data:
                    break
                begun = True
            out = member.decompress(data, _STEP)
            if out:
                yield out
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data
                member = zlib.decompressobj(_GZIP_ONLY)
                begun = False
    if begun:
        raise zlib.error("the compressed stream ends too early")
