"""What does a tree hold before anything is added?  Its arrays, its tokenizer, and what it is to remember.

The same is made by whoever creates a tree and by a compaction, which begins the next epoch of one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from mctree.encoders import BytesTokenizer, HFTokenizer, Tokenizer, load_tokenizer
from mctree.errors import CorruptError, UsageError
from mctree.format.commits import Meta
from mctree.format.keys import Table, version_key
from mctree.format.values import pack
from mctree.storage.creation import FIRST_NUMBERS, create_store
from mctree.tree.arguments import as_tokenizer
from mctree.tree.codecs import TOKENIZER
from mctree.tree.text_arrays import text_arrays

__all__ = ["make_epoch", "storable_tokenizer"]


def make_epoch(
    path: str,
    meta: Meta,
    *,
    first: int,
    vocabulary: int,
    tokenizer: Tokenizer | None,
    settings: dict[bytes, bytes],
    numbers: Mapping[str, int] = FIRST_NUMBERS,
    alone: bool = False,
) -> None:
    """Make an empty store for text whose first commit is `first`, and which gives out `numbers` first."""
    facts: dict[bytes, bytes] = {}
    fields: dict[str, Any] = {"vocabulary": vocabulary}
    if tokenizer is not None:
        dump = tokenizer.dump()
        digest = hashlib.blake2b(dump, digest_size=32).digest()
        facts[Table.BLOB + digest] = dump
        fields |= {"kind": tokenizer.kind, "fingerprint": tokenizer.fingerprint, "blob": digest}
    facts[version_key(Table.SETTING, TOKENIZER, first)] = pack(fields)
    for name, payload in settings.items():
        facts[version_key(Table.SETTING, name, first)] = payload
    arrays = text_arrays(vocabulary, meta)
    create_store(
        path, meta, first=first, time_ns=time.time_ns(), arrays=arrays, facts=facts, numbers=numbers, alone=alone
    )


def storable_tokenizer(tokenizer: object) -> Tokenizer:
    """A tokenizer as it will be made again of what the store keeps.

    Raises:
        UsageError: it is none, or cannot be made again of what it dumps.
    """
    given = as_tokenizer(tokenizer)
    if type(given) in (BytesTokenizer, HFTokenizer):
        return given  # made of nothing but what it dumps
    try:
        made = load_tokenizer(given.kind, given.dump())
    except CorruptError as error:
        raise UsageError(f"the tokenizer's dump cannot be read back: {error}") from error
    if made.fingerprint != given.fingerprint:
        raise UsageError("the tokenizer's dump makes another one, with another fingerprint: mend its `dump`")
    return made
