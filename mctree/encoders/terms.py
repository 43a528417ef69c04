"""Which terms does a text hold, and which vector stands for a term?

A *term* is what is left of a word when case, identifier style and the commonest English endings are taken off:
"HTTPServers", "http_server" and "Serving http" share terms.  A term is known by a hash of its spelling, and its vector
follows from that hash alone: dense random signs, so that the vectors of two terms are nearly orthogonal, whatever
other terms there are.  No vocabulary, no state, no random generator whose stream a library may change.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["hash_of_term", "signs", "split", "terms_of"]

# Runs of capitals that end before a capitalised word ("HTTPServer"), words, and numbers.
_PARTS: Final = re.compile(r"[^\W\d_]+|\d+")
_HUMPS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ENDINGS: Final = ("ations", "ation", "ingly", "ings", "ing", "edly", "ers", "er", "ies", "ed", "es", "ly", "s", "e")
_SHORTEST_STEM: Final = 3
_LONGEST_TERM: Final = 32


def split(text: str) -> list[str]:
    """The words of a text, in order, with identifiers taken apart: "parse_HTTPDate2" is parse, HTTP, Date, 2."""
    return [word for part in _PARTS.findall(text) for word in _HUMPS.split(part) if word]


def terms_of(text: str) -> list[str]:
    """The terms of a text, in order, repeated as often as they stand in it."""
    return [_stem(word.casefold()[:_LONGEST_TERM]) for word in split(text)]


def hash_of_term(term: str) -> int:
    """64 bits that stand for a term: the first eight bytes of its BLAKE2b digest, little-endian."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def signs(hashes: NDArray[np.uint64], dim: int) -> NDArray[np.int8]:
    """The vectors of terms: each element is +1 or −1, by one bit of a keyed stream.

    The stream is SplitMix64 (Steele, Lea, Flood 2014) started at the hash, 64 elements from each output, the lowest
    bit first.

    Args:
        hashes: `uint64 [n]`.
        dim: length of the vectors.

    Returns:
        `int8 [n, dim]`.
    """
    words = -(-dim // 64)
    steps = np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = hashes.astype(np.uint64)[:, None] + steps
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    bits = np.unpackbits(state.astype("<u8").view(np.uint8), axis=1, bitorder="little")[:, :dim]
    return bits.astype(np.int8) * np.int8(2) - np.int8(1)


def _stem(word: str) -> str:
    for ending in _ENDINGS if word.endswith(_ENDINGS) else ():
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word[: -len(ending)]
    return word
