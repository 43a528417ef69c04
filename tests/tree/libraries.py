"""A store of documents that each have words of their own, among words that all of them share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mctree
from mctree.encoders import LexicalEncoder, train_bpe

__all__ = ["library"]

_LETTERS = list("abcdefghijklmnoprstuvz")
_SHARED, _LENGTH, _OWN = 300, 900, 0.05


def library(path: Path, documents: int, dim: int, own: int) -> None:
    """Make it.

    Args:
        path: of the store.
        documents: how many; each of a thousand tokens or so, named by one of its own words.
        dim: length of gists.
        own: how many words of its own a document has; every twentieth of its words is one of them.
    """
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(_LETTERS, 7)) for _ in range(_SHARED + documents * own)]
    texts = []
    for number in range(documents):
        theme = _SHARED + number * own + rng.integers(0, own, _LENGTH)
        drawn = np.where(rng.random(_LENGTH) < _OWN, theme, rng.integers(0, _SHARED, _LENGTH))
        texts.append(" ".join(words[i] for i in drawn).encode())
    tokenizer = train_bpe(texts, 3000)
    with mctree.create(path, tokenizer=tokenizer) as tree:
        tree.build_gists(LexicalEncoder.fit(tokenizer, texts, dim), "words")
        with tree.writer() as writer:
            for number, text in enumerate(texts):
                writer.add(words[_SHARED + number * own], text)
        tree.set_default_gists("words")
