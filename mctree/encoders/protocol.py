"""What is an encoder, and what is a tokenizer?  The two protocols that the tree calls, and nothing else.

An *encoder* turns a node's children into the node's gist.  It is called with batches: at level 1 the children
are the tokens of a block, above it the gists of the level below.  A *tokenizer* turns bytes into token ids
and says, for each token, at which byte it ends.

Neither protocol assumes a model, a device, or a modality: a neural encoder satisfies the same methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoded", "Encoder", "SpanEncoder", "Tokenizer", "reads_children"]


@runtime_checkable
class Encoder(Protocol):
    """Makes gists: batched children and a mask in, vectors out."""

    @property
    def kind(self) -> str:
        """Which class reads the result of `dump` back: a key of `mctree.encoders.load_encoder`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digits over everything the gists depend on: it changes if and only if they would."""
        ...

    @property
    def dim(self) -> int:
        """Length of a gist, the same at every level."""
        ...

    @property
    def modalities(self) -> frozenset[str]:
        """What it can encode; a child of another modality is masked."""
        ...

    @property
    def span_level(self) -> int:
        """Up to this level (0: none) `encode` also wants the tokens of the node's whole span; see `SpanEncoder`."""
        ...

    def encode(
        self,
        level: int,
        children: NDArray[np.generic],
        mask: NDArray[np.bool_],
        span: tuple[NDArray[np.uint32], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float32]:
        """Encode a batch of `n` nodes of one level.

        Args:
            level: 1 for blocks, 2 and more for what stands above them.
            children: at level 1 the tokens, `uint32 [n, fanout]`; above, the children's gists as they are
                stored, `float32 [n, fanout, dim]`.  Masked entries hold anything.
            mask: `bool [n, fanout]`: which children exist.
            span: for levels 2 … `span_level`, the tokens of each node's span and their mask,
                `uint32 [n, positions]` and `bool [n, positions]`.

        Returns:
            `float32 [n, dim]`, finite, a function of each row alone (not of the batch it came in).
        """
        ...

    def encode_query(self, text: str, level: int = 1) -> NDArray[np.float32]:
        """Encode a question as `float32 [dim]`, to be compared with the gists of one level by dot product.

        Args:
            text: the question.
            level: the level of those gists, since an encoder need not keep all levels in one space.
        """
        ...

    def dump(self) -> bytes:
        """Everything needed to make this encoder again, without pickle; frozen corpus statistics included."""
        ...


@runtime_checkable
class SpanEncoder(Encoder, Protocol):
    """An encoder that may say that where it is given a span, it does not look at the children's gists.

    It is no part of the `Encoder` protocol: who does not say so is given both.
    """

    @property
    def span_alone(self) -> bool:
        """Whether, for levels 2 … `span_level`, children may be of no length: `float32 [n, fanout, 0]`."""
        ...


def reads_children(encoder: Encoder, level: int) -> bool:
    """Whether an encoder has to be given the children's gists of nodes of a level above 1."""
    return not (getattr(encoder, "span_alone", False) and level <= encoder.span_level)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one piece of bytes.

    Attributes:
        ids: `uint32 [n]`.
        stops: `int64 [n]`, never descending: the byte of the piece at which each token ends.  The last one is
            the length of the piece.
        exact: whether the bytes of the tokens, in a row, are the piece: then any run of them, `ids[i:j]`,
            decodes to the bytes of the piece from `stops[i - 1]` to `stops[j - 1]`.
    """

    ids: NDArray[np.uint32]
    stops: NDArray[np.int64]
    exact: bool


@runtime_checkable
class Tokenizer(Protocol):
    """Turns bytes into token ids and back."""

    @property
    def kind(self) -> str:
        """Which class reads the result of `dump` back: a key of `mctree.encoders.load_tokenizer`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digits over everything the ids depend on."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of ids; every id is below it."""
        ...

    def encode(self, pieces: list[bytes]) -> list[Encoded]:
        """Tokenize each piece by itself.  Any bytes are legal, also such as are no UTF-8.

        Safe to call from several threads at once, and releases the interpreter lock for most of its time.
        """
        ...

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes that the tokens stand for, the start or end of which may lie inside a character."""
        ...

    def dump(self) -> bytes:
        """Everything needed to make this tokenizer again, without pickle."""
        ...
