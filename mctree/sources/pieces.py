r"""Where is a stream of bytes cut?  At places that its bytes decide, never the reads that brought them.

While more than `limit` bytes remain, the next piece ends

1. after the last newline among the next `limit` bytes, if there is one;
2. else before the UTF-8 character that would straddle the limit;
3. else (no straddling character, or no UTF-8) at the limit.

What remains in the end is the last piece.  So the pieces do not depend on how the bytes arrived, and when bytes are
appended, all pieces but the last stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mctree.errors import UsageError

__all__ = ["PIECE", "cut_pieces", "cut_place"]

PIECE = 1 << 20


def cut_pieces(chunks: Iterable[bytes], limit: int = PIECE) -> Iterator[bytes]:
    """Regroup chunks of any sizes into pieces of 1 … `limit` bytes; no bytes give no piece.

    Holds at most `limit` bytes and one chunk.

    Raises:
        UsageError: `limit` is below 1.
    """
    if limit < 1:
        raise UsageError(f"a piece cannot have {limit} bytes: ask for 1 or more")
    return _pieces(chunks, limit)


def _pieces(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    held = bytearray()
    for chunk in chunks:
        held += chunk
        start = 0
        while len(held) - start > limit:
            stop = cut_place(held, start, limit)
            yield bytes(held[start:stop])
            start = stop
        del held[:start]
    if held:
        yield bytes(held)


def cut_place(data: bytes | bytearray, start: int, limit: int) -> int:
    """Where the piece ends that begins at `start`, given that more than `limit` bytes follow it."""
    stop = start + limit
    newline = data.rfind(b"\n", start, stop)
    if newline >= 0:
        return newline + 1
    for back in range(4):
        place = stop - back
        if place <= start:
            break
        byte = data[place]
        if byte & 0xC0 != 0x80:
            return place if _character_length(byte) > back else stop
    return stop


def _character_length(first: int) -> int:
    """Bytes of the UTF-8 character that begins with `first`."""
    if first < 0xC0:
        return 1
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4
