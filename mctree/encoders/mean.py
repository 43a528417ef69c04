"""What is the least that an encoder can be?

`MeanEncoder` needs no corpus and knows nothing: a token has random signs, a node the mean of what stands below it.  It
is the yardstick that any other encoder should beat, and the shortest example of the protocol.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.protocol import Tokenizer
from mctree.encoders.terms import signs
from mctree.errors import CorruptError, UsageError

__all__ = ["MeanEncoder"]

_MAX_DIM: Final = 1 << 13
_HEADER: Final = struct.Struct("<I32s")
# Token ids are spread over 64 bits, as neighbouring starts of the stream of signs overlap.
_SPREAD: Final = np.uint64(0xD6E8FEB86659FD93)


class MeanEncoder:
    """Means of random vectors, at every level."""

    kind: Final = "mean"
    modalities: Final = frozenset({"text"})
    span_level: Final = 0

    def __init__(self, tokenizer: Tokenizer, dim: int = 64) -> None:
        """Make one.

        Args:
            tokenizer: whose tokens are encoded, and who cuts questions into tokens.
            dim: length of a gist, 1 … 8192.

        Raises:
            UsageError: `dim` is out of range.
        """
        if not 1 <= dim <= _MAX_DIM:
            raise UsageError(f"a mean gist has 1 … {_MAX_DIM} dimensions, not {dim}")
        self.dim: Final = dim
        self._tokenizer = tokenizer
        self.fingerprint: Final = hashlib.sha256(self.kind.encode() + b"\0" + self.dump()).hexdigest()

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """The mean of each row's children that exist, 0 where there are none."""
        total = np.zeros((len(children), self.dim), np.float32)
        for position in range(children.shape[1]):
            child = children[:, position]
            vectors = self._vectors(np.where(mask[:, position], child, 0)) if level == 1 else child
            np.add(total, vectors, out=total, where=mask[:, position, None])
        means: NDArray[np.float32] = total / np.maximum(mask.sum(axis=1, dtype=np.float32), 1)[:, None]
        return means

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """The mean over the question's tokens, the same for every level."""
        ids = self._tokenizer.encode([text.encode("utf-8", "replace")])[0].ids[None]
        mean: NDArray[np.float32] = self.encode(1, ids, np.ones(ids.shape, np.bool_))[0]
        return mean

    def dump(self) -> bytes:
        """The dimension, and which tokenizer it is for."""
        return _HEADER.pack(self.dim, bytes.fromhex(self._tokenizer.fingerprint))

    @classmethod
    def load(cls, dump: bytes, tokenizer: Tokenizer) -> MeanEncoder:
        """Make an encoder again from what `dump` gave.

        Raises:
            CorruptError: the bytes are no dump of this encoder.
            UsageError: it is for another tokenizer.
        """
        if len(dump) != _HEADER.size or not 1 <= (dim := _HEADER.unpack(dump)[0]) <= _MAX_DIM:
            raise CorruptError("the stored bytes are no mean encoder that this release can read")
        if dump != (made := cls(tokenizer, dim)).dump():
            raise UsageError("the encoder was made for another tokenizer: give it that one")
        return made

    def _vectors(self, tokens: NDArray[np.generic]) -> NDArray[np.float32]:
        return signs(tokens.astype(np.uint64) * _SPREAD, self.dim).astype(np.float32)
