"""How is the machine cut to fit an encoder, a tokenizer or a source of one's own?

TestMine = tree_machine(encoder=MyEncoder()).TestCase
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mctree.encoders import BytesTokenizer, Encoder, Tokenizer
from mctree.sources.protocol import RawDocument, Skipped, Source
from mctree.testing.machine import TreeMachine

__all__ = ["tree_machine"]


def tree_machine(
    *,
    encoder: Encoder | None = None,
    tokenizer: Tokenizer | None = None,
    vocabulary: int | None = None,
    chunk_bytes: int = 1 << 16,
    keep: int = 3,
    tolerance: float = 0.0,
    extends: bool = True,
    source: Source | None = None,
    documents: int = 50,
) -> type[TreeMachine]:
    """A machine for an encoder, a tokenizer or a source of one's own.

    Args:
        encoder: makes the gists of one of the sets; the others are made by `ToyEncoder`.
        tokenizer: the store's tokenizer; bytes are tokens if neither this nor a vocabulary is given.
        vocabulary: for a store of bare tokens, which have no text: how many different ones there are.
        chunk_bytes: wished size of chunk files; the smaller, the more of them.
        keep: how many commits the store keeps at first.
        tolerance: by how much numbers of a gist may differ when it is made in another batch: 0 for an encoder that
            keeps its promise to the last bit.
        extends: whether to append tokens one by one, which wants a tokenizer that decodes them one by one.
        source: documents to add, beside those made up.
        documents: how many of the source's documents to take.

    Returns:
        A class whose `TestCase` is a test.
    """
    inputs = [] if source is None else list(islice(_inputs(source), documents))
    toys = TreeMachine.encoders
    attributes: dict[str, Any] = {
        "tokenizer": tokenizer or (BytesTokenizer() if vocabulary is None else None),
        "vocabulary": vocabulary,
        "encoders": toys if encoder is None else (toys[0], encoder, toys[2]),
        "chunk_bytes": chunk_bytes,
        "keep": keep,
        "tolerance": tolerance,
        "extends": extends,
        "inputs": inputs,
    }
    return type("TreeMachineOfOnesOwn", (TreeMachine,), attributes)


def _inputs(source: Source) -> Iterator[tuple[bytes, tuple[bytes, ...], dict[str, int | str]]]:
    for item in source:
        for document in () if isinstance(item, Skipped) else item.documents():
            if isinstance(document, RawDocument):
                yield document.name, tuple(document.read()), document.locator
