"""How is a tokenizer for a new corpus made, where none is given?

`train_bpe` trains a byte-level byte-pair vocabulary on a bounded sample.  The text is first cut into words by
the classes of its bytes alone (letters and everything beyond ASCII, digits, other signs, white space), with
one space before a word belonging to it: no rule depends on a version of the Unicode tables, and no byte is
dropped, added or changed, so that every piece of bytes comes back exactly.  There are no special tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from mctree.encoders.tokenizers import MAX_VOCABULARY, HFTokenizer
from mctree.errors import UsageError

if TYPE_CHECKING:
    import tokenizers

__all__ = ["WORDS", "train_bpe"]

WORDS: Final = (
    r" ?[A-Za-z\x{80}-\x{10FFFF}]+"
    r"| ?[0-9]+"
    r"| ?[^\t-\r A-Za-z0-9\x{80}-\x{10FFFF}]+"
    r"|[\t-\r ]+"
)
"""The words that byte pairs are merged within, in the order in which they are tried."""

_LONGEST_TOKEN: Final = 32

_LONGEST_WORD: Final = 256
"""Characters of a word that is trained on; what is longer counts as several.

For each merge the library closes the gap that it leaves in the word, so a word costs the square of its length: a
megabyte without a break, such as a genome or a book in Chinese on one line, would take hours.
"""


def train_bpe(samples: Iterable[bytes], vocabulary: int = 16384, sample_bytes: int = 16 * 1024 * 1024) -> HFTokenizer:
    """Train a byte-level tokenizer.

    The same samples give the same tokenizer, byte for byte.

    Args:
        samples: pieces of the corpus; what in them is no UTF-8 is left out of the counts.  Read until
            `sample_bytes` are had, so an endless iterator is fine.  About 1 second per 4 MB; ten times as long where
            no spaces stand between words.
        vocabulary: the number of tokens wanted, 256 for the bytes included; a small sample gives fewer.
        sample_bytes: how much of the samples to use.

    Returns:
        The tokenizer; it is exact on any bytes.

    Raises:
        UsageError: `vocabulary` is not in 256 … `MAX_VOCABULARY`.
    """
    import tokenizers  # noqa: PLC0415 - a store of raw bytes works without it

    if not 256 <= vocabulary <= MAX_VOCABULARY:
        raise UsageError(f"a vocabulary has 256 … {MAX_VOCABULARY} tokens, not {vocabulary}")
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = _cut_by(WORDS.replace("]+", f"]{{1,{_LONGEST_WORD}}}"))
    engine.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=_LONGEST_TOKEN,
        show_progress=False,
    )
    engine.train_from_iterator(_texts(samples, sample_bytes), trainer)
    engine.pre_tokenizer = _cut_by(WORDS)
    return HFTokenizer(engine.to_str().encode())


def _cut_by(words: str) -> tokenizers.pre_tokenizers.PreTokenizer:
    import tokenizers  # noqa: PLC0415 - a store of raw bytes works without it

    return tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(words), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _texts(samples: Iterable[bytes], limit: int) -> Iterator[str]:
    left = limit
    for sample in samples:
        if left <= 0:
            return
        yield sample[:left].decode("utf-8", "ignore")
        left -= len(sample)
