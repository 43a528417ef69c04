"""What tests of datasets share: stores of known tokens, and what samples of them have to be, said with plain lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import mctree

VOCABULARY = 1000


def store(path: Path, documents: Mapping[str, Sequence[int]]) -> Path:
    """A store of closed documents of bare tokens."""
    with mctree.create(path, vocabulary=VOCABULARY, chunk_bytes=65536) as tree, tree.writer() as writer:
        for name, tokens in documents.items():
            document = writer.begin(name)
            document.extend(np.asarray(tokens, np.uint32))
            document.close()
        writer.commit()
    return path


def some_documents(lengths: Sequence[int], folder: str = "d") -> dict[str, list[int]]:
    """Documents of the given lengths, whose tokens are unlike."""
    rng = np.random.default_rng([len(folder), *folder.encode()])
    return {f"{folder}/{k}": rng.integers(0, VOCABULARY, n).tolist() for k, n in enumerate(lengths)}


def windows_of(
    documents: Sequence[tuple[int, Sequence[int]]], length: int, *, end: int | None, shifted: bool, fill: int = 0
) -> list[dict[str, list[int]]]:
    """The windows of one stream, in order: documents as (number, tokens), one after another."""
    stream = [
        (number, token)
        for number, tokens in documents
        for token in [*tokens, *([] if end is None else [end])]
        if len(tokens)
    ]
    found = []
    for start in range(0, len(stream) - 1, length):
        window = stream[start : start + length + 1]
        sample: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": [], "document_ids": []}
        for k in range(length):
            number, token = window[k] if k < len(window) else (-1, fill)
            first = k
            while number != -1 and first > 0 and window[first - 1][0] == number:
                first -= 1
            label = -100
            if shifted and k + 1 < len(window) and window[k + 1][0] == number:
                label = window[k + 1][1]
            if not shifted and number != -1 and first < k:
                label = token
            sample["input_ids"].append(token)
            sample["labels"].append(label)
            sample["position_ids"].append(k - first if number != -1 else 0)
            sample["document_ids"].append(number)
        found.append(sample)
    return found
