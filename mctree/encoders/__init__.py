"""Encoders and tokenizers: what turns bytes into tokens, and the children of a node into its gist."""

from __future__ import annotations

from mctree.encoders.lexical import LexicalEncoder
from mctree.encoders.lexicon import Lexicon, shares
from mctree.encoders.loading import load_encoder
from mctree.encoders.mean import MeanEncoder
from mctree.encoders.protocol import Encoded, Encoder, Tokenizer
from mctree.encoders.tokenizers import BytesTokenizer, HFTokenizer, load_tokenizer
from mctree.encoders.training import train_bpe

__all__ = [
    "BytesTokenizer",
    "Encoded",
    "Encoder",
    "HFTokenizer",
    "LexicalEncoder",
    "Lexicon",
    "MeanEncoder",
    "Tokenizer",
    "load_encoder",
    "load_tokenizer",
    "shares",
    "train_bpe",
]
