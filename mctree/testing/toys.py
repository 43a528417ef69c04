"""Which encoder is small, exact, and notices everything?  One that hashes what it is given.

A gist of `ToyEncoder` changes, in almost all of its numbers, with any token, with the order of children, with which
of them exist, with the level, and (where it is asked for) with any token of the span.  It computes in integers, and
every number it makes is exact in float16: so gists can be compared bit by bit, whatever batch they were made in.
What stands in masked children changes nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mctree.errors import UsageError

__all__ = ["ToyEncoder", "ToySight"]

_LEVELS = 1024
"""Gists are multiples of 1/1024 in [-1, 1), which float16 holds exactly."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MODULUS = 1 << 64


class ToyEncoder:
    """An encoder for tests.

    Args:
        dim: length of a gist.
        seed: encoders of other seeds make other gists.
        span_level: up to this level, gists depend on every token of the node's span.
    """

    kind: str = "toy"
    modalities: frozenset[str] = frozenset({"text"})

    def __init__(self, dim: int = 4, seed: int = 0, span_level: int = 0) -> None:
        self.dim = dim
        self.seed = seed
        self.span_level = span_level

    def __repr__(self) -> str:
        return f"ToyEncoder(dim={self.dim}, seed={self.seed}, span_level={self.span_level})"

    @property
    def fingerprint(self) -> str:
        """Hex digits over the three numbers that it consists of."""
        return hashlib.blake2b(self.kind.encode() + self.dump(), digest_size=16).hexdigest()

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """Hash a batch of nodes: see `mctree.encoders.Encoder.encode`.

        Raises:
            UsageError: the span's tokens were not given where they were declared to be needed, or the reverse.
        """
        if (span is not None) != (1 < level <= self.span_level):
            raise UsageError(f"level {level} was encoded {'without' if span is None else 'with'} its span")
        if level == 1:
            values = children.astype(np.uint64)
        else:
            steps = np.rint(np.where(mask[..., None], children, 0).astype(np.float64) * _LEVELS)
            values = _fold(steps.astype(np.int64).view(np.uint64), level)
        state = _fold(np.where(mask, _mixed(values), np.uint64(7)), self.seed + 1000 * level)
        if span is not None:
            tokens, real = span
            state = _mixed(state + _fold(np.where(real, _mixed(tokens.astype(np.uint64)), np.uint64(9)), 1))
        wide = _mixed(state[:, None] + np.arange(1, self.dim + 1, dtype=np.uint64) * _STEP)
        numbers = (wide >> np.uint64(53)).astype(np.float32) - _LEVELS
        return (numbers / _LEVELS).astype(np.float32)

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """The gist of a block that holds the text's first 32 bytes, whatever the level it is compared with."""
        data = np.frombuffer(text.encode("utf-8", "surrogatepass")[:32], np.uint8)
        block = np.zeros((1, 32), np.uint32)
        block[0, : len(data)] = data
        gist: NDArray[np.float32] = self.encode(1, block, np.arange(32)[None, :] < len(data))[0]
        return gist

    def dump(self) -> bytes:
        """The three numbers."""
        return f"{self.dim} {self.seed} {self.span_level}".encode()


class ToySight(ToyEncoder):
    """An encoder for tests of text and of images, whose gists change with any pixel, child, mask or weight.

    Args:
        dim: length of a gist.
        seed: encoders of other seeds make other gists.
        channels: of the pixels.
        text: whether it covers text too.
    """

    kind = "toy sight"

    def __init__(self, dim: int = 4, seed: int = 0, channels: int = 3, *, text: bool = True) -> None:
        super().__init__(dim, seed)
        self.channels = channels
        self.modalities = frozenset({"text", "image"} if text else {"image"})

    def encode_patches(self, pixels: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Hash a batch of patches: see `mctree.encoders.visual.VisualEncoder.encode_patches`."""
        values = np.where(mask[..., None], pixels.astype(np.uint64) + np.uint64(1), np.uint64(0))
        return self._numbers(_fold(values.reshape(len(values), -1), self.seed), np.logical_or.reduce(mask, axis=(1, 2)))

    def encode_tiles(
        self, level: int, children: NDArray[np.float32], mask: NDArray[np.bool_], weight: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Hash a batch of nodes: see `mctree.encoders.visual.VisualEncoder.encode_tiles`."""
        steps = np.rint(np.where(mask[..., None], children, 0).astype(np.float64) * _LEVELS)
        values = _fold(steps.astype(np.int64).view(np.uint64), level) + weight.astype(np.uint64)
        return self._numbers(
            _fold(np.where(mask, _mixed(values), np.uint64(7)), self.seed + level), np.logical_or.reduce(mask, axis=1)
        )

    def _numbers(self, state: NDArray[np.uint64], there: NDArray[np.bool_]) -> NDArray[np.float32]:
        wide = _mixed(state[:, None] + np.arange(1, self.dim + 1, dtype=np.uint64) * _STEP)
        numbers = (wide >> np.uint64(53)).astype(np.float32) - _LEVELS
        return np.where(there[:, None], numbers / _LEVELS, 0).astype(np.float32)

    def dump(self) -> bytes:
        """The numbers, and what it covers."""
        return f"{self.dim} {self.seed} {self.channels} {sorted(self.modalities)}".encode()


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = values + _STEP
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    return values ^ (values >> np.uint64(31))


def _fold(values: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """One number for each row of the last axis, which depends on the order in it."""
    weights = _mixed(
        np.arange(values.shape[-1], dtype=np.uint64) + np.uint64(seed * int(_STEP) % _MODULUS)
    ) | np.uint64(1)
    folded: NDArray[np.uint64] = _mixed((values * weights).sum(axis=-1, dtype=np.uint64))
    return folded
