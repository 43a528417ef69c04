"""Encoders and tokenizers: what turns bytes into tokens, and the children of a node into its gist."""

from __future__ import annotations

from mctree.encoders.protocol import Encoded, Encoder, Tokenizer
from mctree.encoders.tokenizers import BytesTokenizer, HFTokenizer, load_tokenizer
from mctree.encoders.training import train_bpe

__all__ = [
    "BytesTokenizer",
    "Encoded",
    "Encoder",
    "HFTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "train_bpe",
]
