"""Encoders and tokenizers: what makes tokens of bytes, vectors of pixels, and a node's gist of its children."""

from __future__ import annotations

from mctree.encoders.cosine import CosineEncoder
from mctree.encoders.lexical import LexicalEncoder
from mctree.encoders.lexicon import Lexicon, shares
from mctree.encoders.loading import load_encoder, load_visual_encoder
from mctree.encoders.mean import MeanEncoder
from mctree.encoders.protocol import Encoded, Encoder, SpanEncoder, Tokenizer
from mctree.encoders.tokenizers import BytesTokenizer, HFTokenizer, load_tokenizer
from mctree.encoders.training import train_bpe
from mctree.encoders.visual import VisualEncoder

__all__ = [
    "BytesTokenizer",
    "CosineEncoder",
    "Encoded",
    "Encoder",
    "HFTokenizer",
    "LexicalEncoder",
    "Lexicon",
    "MeanEncoder",
    "SpanEncoder",
    "Tokenizer",
    "VisualEncoder",
    "load_encoder",
    "load_tokenizer",
    "load_visual_encoder",
    "shares",
    "train_bpe",
]
