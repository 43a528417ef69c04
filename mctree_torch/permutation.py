"""In which order is everything seen once, without a list of it?  By a keyed permutation that is computed, not stored.

A permutation of [0, n) costs the same to make whatever n is, and any stretch of it can be computed without the rest,
so going on in the middle of an epoch needs no skipping.  It is a generalised Feistel network (J. Black and P. Rogaway,
"Ciphers with Arbitrary Finite Domains", CT-RSA 2002, section 5): a number is written as a pair of digits (x mod a,
x div a), and in each round one digit is shifted by a keyed hash of the other, which can be undone whatever the hash.
The pairs are a·b ≥ n of which fewer than a are too many; a number that lands among those is sent on until it lands
below n (their section 3, "cycle walking"), which is still a permutation.  The hash is the finaliser of SplitMix64
(G. Steele, D. Lea and C. Flood, OOPSLA 2014) with D. Stafford's constants.  Where there are so few numbers that digits
of them are too small to be mixed well, they are sorted by their hashes instead, which makes all orders equally likely.

This is a shuffle and no cipher: it is made to look random to a model, not to withstand an enemy.
"""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError

__all__ = ["MOST", "Permutation", "hashed"]

MOST = 1 << 62
"""Permutations are of at most so many numbers: each digit then has 32 bits at most."""

_ROUNDS = 6
"""Even, so that digits end on the side where they began; three suffice for the theorem if the hash were random."""

_FEW = 1024
"""So many numbers at most are sorted: that takes no longer than to work out as many places of a larger permutation."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


class Permutation:
    """A permutation of [0, n) that follows from a key.

    Args:
        n: of how many numbers, 1 to 2^62.
        key: whole numbers of 64 bits; the same ones give the same permutation for ever, on every machine.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(self, n: int, *key: int) -> None:
        if not 1 <= n <= MOST:
            raise UsageError(f"a permutation is of 1 to 2^62 numbers, not of {n}")
        try:
            packed = struct.pack(f"<{len(key)}Q", *key)
        except struct.error:
            raise UsageError(f"the key of a permutation is whole numbers from 0 to 2^64 - 1, not {key}") from None
        self.n = n
        a = math.isqrt(n - 1) + 1
        self._a = np.uint64(a)
        self._digits = (self._a, np.uint64(-(-n // a)))
        digest = hashlib.blake2b(packed, digest_size=8 * _ROUNDS, person=b"mctree order").digest()
        self._keys = np.frombuffer(digest, "<u8").astype(np.uint64)
        self._few: NDArray[np.int64] | None = None
        if n <= _FEW:
            order = hashed(hashed(np.arange(n, dtype=np.uint64) ^ self._keys[0]) ^ self._keys[1])
            self._few = np.argsort(order, kind="stable")

    def __call__(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands at each place.

        Args:
            index: places from 0 to n - 1, `int64 [k]`, in any order.

        Returns:
            `int64 [k]`, each from 0 to n - 1.
        """
        if self._few is not None:
            return self._few[index]
        found = self._pairs(np.asarray(index, np.int64).astype(np.uint64))
        n = np.uint64(self.n)
        far = np.flatnonzero(found >= n)
        while far.size:
            sent = self._pairs(found[far])
            found[far] = sent
            far = far[sent >= n]
        return found.view(np.int64)

    def _pairs(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The permutation of all pairs of digits."""
        right, left = np.divmod(x, self._a)
        for turn, key in enumerate(self._keys):
            size = self._digits[turn & 1]
            mixed = hashed(right ^ key)
            # The upper half, which is the better mixed one, as a fraction of the digit's size.
            mixed >>= _32
            mixed *= size
            mixed >>= _32
            mixed += left
            mixed -= size * (mixed >= size)
            left, right = right, mixed
        return right * self._a + left


def hashed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each number, which is free to change in place; different numbers have different hashes."""
    x ^= x >> _30
    x *= _FIRST
    x ^= x >> _27
    x *= _SECOND
    x ^= x >> _31
    return x
