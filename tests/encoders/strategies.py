"""What the tests of this room draw from: awkward bytes, and tokenizers of every spelling."""

from __future__ import annotations

import json
from functools import cache

import tokenizers
from hypothesis import strategies as st

from mctree.encoders import BytesTokenizer, HFTokenizer, train_bpe

PROSE = b"""The reader maps every chunk file of a level into one region, so that a gather is one call.
def gather(self, rows, out=None):
    return self._region.take(rows, axis=0, out=out)  # HTTPServer, parse_date, 1234 and tokens
Some words come again and again: reader, chunk, level, gather, region, file, tokens, server, date.\r\n
"""

AWKWARD = (
    b"\r\n",
    b"\0",
    b"\xed\xa0\x80",  # a lone surrogate, written as if it were a character
    b"\xff\xfe",
    b"\xe2\x80",  # cut short
    b"\x80",
    "😀".encode(),
    "e\u0301".encode(),  # a combining accent
    "\u00a0\u2028\ufeff".encode(),
    "ﬁ ½ Å".encode(),  # changed by compatibility forms
    "你好，世界".encode(),
    b"<|endoftext|>",
    b"<unk>",
    b"[UNK] [SEP]",
    b"   \t\n  x",
    "▁<0x0A>".encode(),
)


def pieces() -> st.SearchStrategy[bytes]:
    """Bytes: anything, text, prose, and what breaks tokenizers, in any order."""
    part = st.one_of(
        st.binary(max_size=12),
        st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from(AWKWARD),
        st.integers(0, len(PROSE) - 40).map(lambda start: PROSE[start : start + 40]),
    )
    return st.lists(part, max_size=6).map(b"".join)


@cache
def bpe() -> HFTokenizer:
    """A tokenizer trained by this room."""
    return train_bpe([PROSE * 4], 2000)


@cache
def with_specials() -> HFTokenizer:
    """The same, with a special token, an added one that eats the space before it, and truncation."""
    engine = tokenizers.Tokenizer.from_str(bpe().dump().decode())
    engine.add_special_tokens(["<|endoftext|>"])
    engine.add_tokens([tokenizers.AddedToken("tokens", lstrip=True)])
    engine.enable_truncation(5)
    engine.enable_padding(length=50)
    return HFTokenizer(engine.to_str().encode())


@cache
def prefixing() -> HFTokenizer:
    """A byte-level tokenizer that puts a space before everything, as RoBERTa's does, and composes characters."""
    engine = tokenizers.Tokenizer.from_str(bpe().dump().decode())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    engine.normalizer = tokenizers.normalizers.NFC()
    return HFTokenizer(engine.to_str().encode())


@cache
def wordpiece() -> HFTokenizer:
    """A tokenizer like BERT's: small letters, no accents, no white space."""
    words = {"[UNK]": 0, "[SEP]": 1, "the": 2, "reader": 3, "chunk": 4, "##s": 5, "a": 6, "e": 7, "##er": 8, "level": 9}
    engine = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    engine.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    engine.decoder = tokenizers.decoders.WordPiece()
    return HFTokenizer(engine.to_str().encode())


@cache
def metaspace() -> HFTokenizer:
    """A tokenizer like Gemma's: "▁" for a space, and bytes for what is not in the vocabulary."""
    characters = sorted(set(PROSE.decode()) - {" "} | {"▁"})
    spelled = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters, "th", "re", "▁th"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(spelled))}
    model = tokenizers.models.BPE(
        vocab=vocabulary, merges=[("t", "h"), ("r", "e"), ("▁", "th")], unk_token="<unk>", byte_fallback=True
    )
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    engine.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
        ]
    )
    return HFTokenizer(engine.to_str().encode())


@cache
def gappy() -> HFTokenizer:
    """A byte-level tokenizer that lacks most bytes: what it does not know it drops."""
    description = json.loads(bpe().dump())
    kept = {token: number for token, number in description["model"]["vocab"].items() if token.isascii()}
    description["model"]["vocab"] = kept
    description["model"]["merges"] = []
    return HFTokenizer(json.dumps(description).encode())


EXACT = {"bytes": BytesTokenizer, "bpe": bpe}
ALL = {
    **EXACT,
    "specials": with_specials,
    "prefixing": prefixing,
    "wordpiece": wordpiece,
    "metaspace": metaspace,
    "gappy": gappy,
}
