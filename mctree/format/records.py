"""What do the packed records of the index look like?  One dtype or struct each, and the arithmetic of their pages.

These are the records of which there are many: one per block, per run of blocks, per death, per unfinished tail.  All
integers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mctree.errors import CorruptError

__all__ = [
    "BLOCK",
    "BLOCKS_PER_PAGE",
    "BLOCK_DTYPE",
    "DEATH_DTYPE",
    "SUMS_PER_PAGE",
    "Original",
    "Run",
    "Tail",
    "decode_blocks",
    "decode_deaths",
    "decode_sums",
    "encode_death",
]

BLOCK = 32
"""LOD0 positions in a block."""

BLOCK_DTYPE = np.dtype([("document", "<u8"), ("start", "<u8"), ("stop", "<u8"), ("sum", "<u4"), ("count", "<u4")])
"""One block: its document, the bytes [start, stop) of the source that it covers, the crc32c of its LOD0 row as stored,
and how many of its positions hold real tokens."""

BLOCKS_PER_PAGE = 127
"""Block records in one index value: 127 × 32 bytes and the checksum fit one 4096-byte overflow page of LMDB."""

SUMS_PER_PAGE = 1016
"""Row checksums (4 bytes each) in one index value, for the same reason."""

DEATH_DTYPE = np.dtype([("commit", "<u8"), ("start", "<u8"), ("stop", "<u8"), ("tokens", "<u8")])
"""One run of blocks [start, stop) that died in a commit, and the real tokens in it."""

_RUN = Struct("<QQ")
_TAIL = Struct("<QI")
_ORIGINAL = Struct("<QQQ")
_DEATH = Struct("<QQ")


class Run(NamedTuple):
    """Consecutive blocks of one document: `blocks` of them from `block` on."""

    block: int
    blocks: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _RUN.pack(self.block, self.blocks)

    @classmethod
    def decode(cls, payload: bytes) -> Run:
        """The record of these bytes."""
        if len(payload) != _RUN.size:
            raise CorruptError(f"a run record has {len(payload)} bytes, not {_RUN.size}")
        return cls(*_RUN.unpack(payload))


def encode_death(stop: int, tokens: int) -> bytes:
    """The value of a death: the block after the run, and the real tokens in it."""
    return _DEATH.pack(stop, tokens)


def decode_deaths(keys: NDArray[np.uint8], payloads: NDArray[np.uint8]) -> NDArray[np.void]:
    """Deaths from the 16 bytes of each key behind its tag and the 16 of each payload: `DEATH_DTYPE [n]`."""
    runs = np.empty(len(keys), DEATH_DTYPE)
    found, said = np.ascontiguousarray(keys).view(">u8"), np.ascontiguousarray(payloads).view("<u8")
    runs["commit"], runs["start"] = found[:, 0], found[:, 1]
    runs["stop"], runs["tokens"] = said[:, 0], said[:, 1]
    return runs


@dataclass(frozen=True, slots=True)
class Tail:
    """The unfinished block of an open document.

    Attributes:
        start: the source byte at which its first token starts.
        tokens: `uint32 [n]`, n < 32.
        stops: `uint64 [n]`: the source byte at which each token ends.
    """

    start: int
    tokens: NDArray[np.uint32]
    stops: NDArray[np.uint64]

    @property
    def stop(self) -> int:
        """The source byte after the last token."""
        return int(self.stops[-1]) if len(self.stops) else self.start

    def encode(self) -> bytes:
        """The record's bytes."""
        return (
            _TAIL.pack(self.start, len(self.tokens))
            + self.tokens.astype("<u4").tobytes()
            + self.stops.astype("<u8").tobytes()
        )

    @classmethod
    def decode(cls, payload: bytes) -> Tail:
        """The record of these bytes."""
        if len(payload) < _TAIL.size:
            raise CorruptError(f"a tail record has only {len(payload)} bytes")
        start, n = _TAIL.unpack_from(payload)
        if n >= BLOCK or len(payload) != _TAIL.size + 12 * n:
            raise CorruptError(f"a tail record of {n} tokens has {len(payload)} bytes")
        return cls(
            start,
            np.frombuffer(payload, "<u4", n, _TAIL.size),
            np.frombuffer(payload, "<u8", n, _TAIL.size + 4 * n),
        )


@dataclass(frozen=True, slots=True)
class Original:
    """Source bytes that decoding the tokens would not give back.

    Attributes:
        stop: the source byte after them (the record's key says where they start).
        token: how many tokens of the document come before them.
        tokens: how many tokens stand for them.
        packed: the bytes, compressed with zlib.
    """

    HEAD: ClassVar[int] = _ORIGINAL.size
    """Bytes of the record before the packed ones."""

    stop: int
    token: int
    tokens: int
    packed: bytes

    def encode(self) -> bytes:
        """The record's bytes."""
        return _ORIGINAL.pack(self.stop, self.token, self.tokens) + self.packed

    @classmethod
    def decode(cls, payload: bytes) -> Original:
        """The record of these bytes."""
        if len(payload) < _ORIGINAL.size:
            raise CorruptError(f"a record of original bytes has only {len(payload)} bytes")
        stop, token, tokens = _ORIGINAL.unpack_from(payload)
        return cls(stop, token, tokens, payload[_ORIGINAL.size :])


def decode_blocks(payload: bytes) -> NDArray[np.void]:
    """A page of block records as a structured array of `BLOCK_DTYPE`."""
    if not 0 < len(payload) <= BLOCKS_PER_PAGE * BLOCK_DTYPE.itemsize or len(payload) % BLOCK_DTYPE.itemsize:
        raise CorruptError(f"a page of block records has {len(payload)} bytes")
    return np.frombuffer(payload, BLOCK_DTYPE)


def decode_sums(payload: bytes) -> NDArray[np.uint32]:
    """A page of row checksums as `uint32 [n]`."""
    if not 0 < len(payload) <= SUMS_PER_PAGE * 4 or len(payload) % 4:
        raise CorruptError(f"a page of row checksums has {len(payload)} bytes")
    return np.frombuffer(payload, "<u4")
