"""Which encoder does a stored dump become?  A table from the kind that a store names to the class that reads it."""

from __future__ import annotations

from mctree.encoders.cosine import CosineEncoder
from mctree.encoders.lexical import LexicalEncoder
from mctree.encoders.mean import MeanEncoder
from mctree.encoders.protocol import Encoder, Tokenizer
from mctree.encoders.visual import VisualEncoder
from mctree.errors import UsageError

__all__ = ["load_encoder", "load_visual_encoder"]


def load_encoder(kind: str, dump: bytes, tokenizer: Tokenizer | None) -> Encoder:
    """Make an encoder again from what its `dump` gave.

    Args:
        kind: the encoder's `kind`.
        dump: what it dumped.
        tokenizer: the store's tokenizer, which some encoders read tokens by.

    Raises:
        UsageError: mctree has no encoder of this kind, or it needs another tokenizer.
        CorruptError: the bytes are not a dump of this kind.
    """
    made_here: dict[str, type[LexicalEncoder] | type[MeanEncoder]] = {
        LexicalEncoder.kind: LexicalEncoder,
        MeanEncoder.kind: MeanEncoder,
    }
    if kind in made_here and tokenizer is not None:
        return made_here[kind].load(dump, tokenizer)
    raise UsageError(f"mctree has no encoder of kind {kind[:40]!r}; pass yours to `mctree.open(…, encoders=[…])`")


def load_visual_encoder(kind: str, dump: bytes) -> VisualEncoder:
    """Make an encoder of images again from what its `dump` gave.

    Args:
        kind: the encoder's `kind`.
        dump: what it dumped.

    Raises:
        UsageError: mctree has no encoder of images of this kind.
        CorruptError: the bytes are not a dump of this kind.
    """
    if kind == CosineEncoder.kind:
        return CosineEncoder.load(dump)
    raise UsageError(
        f"mctree has no encoder of images of kind {kind[:40]!r}; pass yours to `mctree.open(…, encoders=[…])`"
    )
