"""Which tokenizer and which encoders does a tree have?  Those of the caller, and those that the store holds dumps of.

Nothing is made before somebody asks for it: tokens and gists can be read without, in a worker that wants arrays, and in
a store whose dumps are damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.encoders import Encoder, Tokenizer, load_encoder, load_tokenizer, load_visual_encoder
from mctree.encoders.visual import VisualEncoder
from mctree.errors import CorruptError, UsageError
from mctree.format.facts import GistSetRecord
from mctree.format.keys import Table
from mctree.format.values import unpack
from mctree.storage.store import Store
from mctree.tree.arguments import as_encoder
from mctree.tree.gists import check_encoder

__all__ = ["TOKENIZER", "Codecs", "decoded"]

TOKENIZER = b"tokenizer"
"""The setting that says how tokens are made."""


def decoded(tokenizer: Tokenizer, tokens: NDArray[np.generic]) -> bytes:
    """The bytes of stored tokens.

    Raises:
        CorruptError: one of them is none of the tokenizer's, so it is not what was stored.
    """
    ids = np.asarray(tokens, np.uint32)
    if len(ids) and int(ids.max()) >= tokenizer.vocabulary:
        raise CorruptError("some tokens are none that the store's tokenizer can have made; run `mctree verify`")
    return tokenizer.decode(ids)


class Codecs:
    """The tokenizer and the encoders of one tree.

    Threads may ask at once: two that are the first make the same thing twice, which does no harm, and no lock is held
    that a forked child would wait for.

    Args:
        store: gives the open store.
        encoders: the caller's own.
        tokenizer: the store's, if the caller has made it.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        encoders: Iterable[Encoder | VisualEncoder],
        tokenizer: Tokenizer | None,
    ) -> None:
        self._store = store
        own = map(as_encoder, encoders)
        self.encoders: dict[str, Encoder | VisualEncoder] = {encoder.fingerprint: encoder for encoder in own}
        self._setting: dict[str, Any] | None = None
        self._made = tokenizer is not None
        self._tokenizer = tokenizer

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are.

        Raises:
            CorruptError: the store's record of it is missing or damaged.
        """
        return int(self._fields()["vocabulary"])

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes tokens of text, or None for a store of bare tokens.

        Raises:
            CorruptError: its dump is missing or damaged.
            UsageError: it is of a kind that mctree does not know.
        """
        if not self._made:
            fields = self._fields()
            self._tokenizer = load_tokenizer(str(fields["kind"]), self._dump(fields)) if fields.get("kind") else None
            self._made = True
        return self._tokenizer

    def encoder(self, record: GistSetRecord, store: Store | None = None) -> Encoder:
        """The encoder of a gist set, read from a store that has it (the newest epoch if none is given).

        Raises:
            UsageError: it is one that mctree cannot make by itself, and it was not passed to `mctree.open`.
            CorruptError: its dump is missing or damaged.
        """
        if "text" not in record.modalities:
            raise UsageError(f"gist set {record.name!r} covers images only: it has no encoder of text")
        known = self.encoders.get(record.fingerprint)
        if known is None:
            made = load_encoder(record.kind, self._encoder_dump(record, store), self.tokenizer)
            check_encoder(record, made)
            self.encoders[record.fingerprint] = known = made
        if not isinstance(known, Encoder):
            raise UsageError(f"the encoder of gist set {record.name!r}, as it was passed, encodes no text")
        return known

    def _encoder_dump(self, record: GistSetRecord, store: Store | None) -> bytes:
        with (store or self._store()).reading() as index:
            dump = index.get(Table.BLOB + record.blob)
        if dump is None:
            raise CorruptError(f"the encoder of gist set {record.name!r} is missing; run `mctree verify`")
        return dump

    def visual_encoder(self, record: GistSetRecord, store: Store | None = None) -> VisualEncoder | None:
        """The encoder of a gist set for images; None if it covers none, or is the caller's own and was not passed.

        Raises:
            CorruptError: its dump is missing or damaged.
        """
        if "image" not in record.modalities:
            return None
        known: object = self.encoders.get(record.fingerprint)
        if known is None and "text" not in record.modalities:
            try:
                known = load_visual_encoder(record.kind, self._encoder_dump(record, store))
            except UsageError:
                return None
            check_encoder(record, known)
            self.encoders[record.fingerprint] = known
        return known if isinstance(known, VisualEncoder) else None

    def known_encoder(self, record: GistSetRecord) -> Encoder | None:
        """The encoder of a gist set, or None if it is the caller's own and was not passed."""
        try:
            return self.encoder(record)
        except UsageError:
            return None

    def add_encoder(self, encoder: Encoder | VisualEncoder) -> None:
        """Let gist sets of this encoder be made and asked.

        Raises:
            UsageError: it is no encoder.
        """
        self.encoders[as_encoder(encoder).fingerprint] = encoder

    def _fields(self) -> dict[str, Any]:
        if self._setting is None:
            store = self._store()
            with store.reading() as index:
                newest = index.commit()
                assert newest is not None, "a store has a commit from its creation on"
                payload = index.version(Table.SETTING, TOKENIZER, newest.number)
            fields = {} if payload is None else unpack(payload, "the tokenizer's record")
            if type(fields.get("vocabulary")) is not int:
                raise CorruptError(f"{store.path} does not say how its tokens are made; run `mctree verify`")
            self._setting = fields
        return self._setting

    def _dump(self, fields: dict[str, Any]) -> bytes:
        store, digest = self._store(), fields.get("blob")
        dump = None
        if isinstance(digest, bytes):
            with store.reading() as index:
                dump = index.get(Table.BLOB + digest)
        if dump is None:
            raise CorruptError(f"the tokenizer of {store.path} is missing; run `mctree verify`")
        return dump
