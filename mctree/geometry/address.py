"""What is a node called?  By its space, level and index: as three numbers, as one `uint64`, and as text.

Space 0 is the text timeline, spaces 1 … are arenas.  Within a space, the level takes the top 6 bits of a code and the
index the low 58, so codes ascend by level and then along the timeline.  Text is `LEVEL:INDEX` on the timeline
(`2:17`) and `aSPACE/LEVEL:INDEX` in an arena (`a1/2:17`), in plain decimal digits: one text per address.

Nothing is assumed about shapes or worlds: an address may name a node that no tree has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError
from mctree.geometry.integers import Level, whole

__all__ = ["INDEX_LIMIT", "LEVEL_LIMIT", "SPACE_LIMIT", "Address", "pack", "unpack"]

_INDEX_BITS = 58
INDEX_LIMIT = 1 << _INDEX_BITS
LEVEL_LIMIT = 1 << 64 - _INDEX_BITS
SPACE_LIMIT = 1 << 32

_NUMBER = "(0|[1-9][0-9]{0,17})"  # 2**58 has 18 digits
_TEXT = re.compile(rf"(?:a{_NUMBER}/)?{_NUMBER}:{_NUMBER}", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """The name of one node, ordered by space, level and index.

    Attributes:
        space: 0 for the text timeline, 1 … for arenas; below 2**32.
        level: below 64.
        index: below 2**58.

    Raises:
        UsageError: a number is out of bounds.
    """

    space: int
    level: int
    index: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", whole(self.space, "the space of an address", SPACE_LIMIT))
        object.__setattr__(self, "level", whole(self.level, "the level of an address", LEVEL_LIMIT))
        object.__setattr__(self, "index", whole(self.index, "the index of an address", INDEX_LIMIT))

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that `text` names; the inverse of `str`.

        Raises:
            UsageError: `text` is no address.
        """
        match = _TEXT.fullmatch(text)
        if match is None or match[1] == "0":
            shown = ascii(text)
            shown = shown if len(shown) <= 60 else f"{shown[:56]}...'"
            raise UsageError(f"{shown} is no address: write LEVEL:INDEX, or aSPACE/LEVEL:INDEX from space 1 on")
        space, level, index = (int(digits or 0) for digits in match.groups())
        return cls(space, level, index)

    def __str__(self) -> str:
        return f"a{self.space}/{self.level}:{self.index}" if self.space else f"{self.level}:{self.index}"


@overload
def pack(level: int, index: int) -> int: ...
@overload
def pack(level: Level, index: NDArray[np.integer[Any]]) -> NDArray[np.uint64]: ...
@overload
def pack(level: NDArray[np.integer[Any]], index: int) -> NDArray[np.uint64]: ...
def pack(level: Level, index: Level) -> int | NDArray[np.uint64]:
    """Level and index as one code: `uint64` where either is an array.

    Raises:
        UsageError: a level is not below 64, or an index not below 2**58.
    """
    levels = whole(level, "the level of an address", LEVEL_LIMIT)
    indices = whole(index, "the index of an address", INDEX_LIMIT)
    if isinstance(levels, int) and isinstance(indices, int):
        return levels << _INDEX_BITS | indices
    shifted = np.asarray(levels).astype(np.uint64) << np.uint64(_INDEX_BITS)
    return cast("NDArray[np.uint64]", shifted | np.asarray(indices).astype(np.uint64))


@overload
def unpack(code: int) -> tuple[int, int]: ...
@overload
def unpack(code: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]: ...
def unpack(code: int | NDArray[np.uint64]) -> tuple[int, int] | tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Level and index of a code, the inverse of `pack`: `uint8` and `int64` for an array.

    Raises:
        UsageError: an array is not `uint64`, or an integer is not from 0 to 2**64 - 1.
    """
    if isinstance(code, np.ndarray):
        if code.dtype != np.uint64:
            raise UsageError(f"codes of addresses must be uint64, not {code.dtype}")
        levels = code >> np.uint64(_INDEX_BITS)
        return levels.astype(np.uint8), (code & np.uint64(INDEX_LIMIT - 1)).astype(np.int64)
    number = int(whole(code, "the code of an address", LEVEL_LIMIT * INDEX_LIMIT))
    return number >> _INDEX_BITS, number & INDEX_LIMIT - 1
