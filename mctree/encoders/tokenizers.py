"""Which tokens does a piece of bytes hold, and at which byte does each of them end?

`BytesTokenizer` takes every byte as a token.  `HFTokenizer` runs any tokenizer that Hugging Face's
`tokenizers` can read from its JSON.  `load_tokenizer` makes either again from its dump.

Nothing here assumes that a piece is text.  Of a piece that is no UTF-8, the parts that are get tokenized as
text; each other byte becomes its own token where the vocabulary has one for it (as every byte-level
vocabulary does), and else is shown to the tokenizer as U+FFFD.  Nor is anything assumed of the tokenizer:
whether the tokens give the bytes back is found out for each piece, by putting them together and comparing.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mctree.encoders.alphabet import BYTE_LEVEL, byte_alphabet, bytes_of_token, spelling
from mctree.encoders.protocol import Encoded, Tokenizer
from mctree.errors import CorruptError, SourceError, UsageError

if TYPE_CHECKING:
    import tokenizers

__all__ = ["MAX_TOKENIZER_BYTES", "MAX_VOCABULARY", "BytesTokenizer", "HFTokenizer", "load_tokenizer"]

MAX_TOKENIZER_BYTES: Final = 1 << 27
"""The largest `tokenizer.json` that is read, in bytes; the largest published ones have about 2^25."""

MAX_VOCABULARY: Final = 1 << 22
"""The largest vocabulary accepted; the largest published ones have about 2^20 tokens."""

_WORDS_REMEMBERED: Final = 1000

# Bytes that are no UTF-8, as Python's "surrogateescape" shows them.
_STRAY: Final = re.compile("([\udc80-\udcff]+)")
_STRAY_TO_REPLACEMENT: Final = dict.fromkeys(range(0xDC80, 0xDD00), "\N{REPLACEMENT CHARACTER}")


class BytesTokenizer:
    """Every byte is a token: a vocabulary of 256, always exact."""

    kind = "bytes"
    vocabulary = 256

    @property
    def fingerprint(self) -> str:
        """Hex digits that name this way of making tokens."""
        return _fingerprint(self.kind, self.dump())

    def encode(self, pieces: Sequence[bytes]) -> list[Encoded]:
        """Tokenize each piece by itself."""
        return [
            Encoded(
                np.frombuffer(piece, np.uint8).astype(np.uint32),
                np.arange(1, len(piece) + 1, dtype=np.int64),
                True,
            )
            for piece in pieces
        ]

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes themselves.

        Raises:
            UsageError: an id is above 255.
        """
        ids = _checked_ids(ids, self.vocabulary)
        return ids.astype(np.uint8).tobytes()

    def dump(self) -> bytes:
        """Nothing: there is nothing to remember."""
        return b""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BytesTokenizer)

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        return "BytesTokenizer()"


class HFTokenizer:
    """Any tokenizer in the JSON format of Hugging Face's `tokenizers`.

    Source text is never taken as control: a special token that stands in it, such as "<|endoftext|>", is
    tokenized like any other text.  Post-processing, truncation and padding in the JSON are not used.  `exact`
    is true only where the bytes of the tokens in a row are the piece, so that any run of tokens decodes to
    the bytes between its stops; a tokenizer that drops or changes characters is never exact on a piece in
    which it did.

    An object may be used from several threads at once and after a fork, and can be pickled.
    """

    kind = "hf"

    def __init__(self, dump: bytes) -> None:
        """Read a tokenizer.

        Args:
            dump: the bytes of a `tokenizer.json`.

        Raises:
            SourceError: they hold no tokenizer that can be used here; the message says why.
        """
        if len(dump) > MAX_TOKENIZER_BYTES:
            raise SourceError(
                f"the tokenizer JSON has {len(dump)} bytes, and at most {MAX_TOKENIZER_BYTES} are read: "
                "is it the right file?"
            )
        self._dump = bytes(dump)
        self._engine, description = _read(self._dump)
        vocabulary = self._engine.get_vocab(with_added_tokens=True)
        self.vocabulary: int = max(vocabulary.values(), default=-1) + 1
        if not 0 < self.vocabulary <= MAX_VOCABULARY:
            raise SourceError(
                f"the tokenizer has {self.vocabulary} ids, not 1 … {MAX_VOCABULARY}: is it the right file?"
            )
        self.fingerprint: str = _fingerprint(self.kind, self._dump)
        self._bytes: NDArray[np.object_] | None = None
        self._byte_ids: NDArray[np.uint32] | None = None
        how = spelling(description)
        if how is not None:
            spelled = [b""] * self.vocabulary
            for token, index in vocabulary.items():
                spelled[index] = bytes_of_token(token, how)
            for index, added in self._engine.get_added_tokens_decoder().items():
                spelled[index] = added.content.encode("utf-8", "replace")
            self._lengths = np.array([len(token) for token in spelled], np.int64)
            # Objects, taken many at a time in half the time that a list needs for it one by one.
            self._bytes = np.array(spelled, np.object_)
        if how == BYTE_LEVEL and all(character in vocabulary for character in byte_alphabet()):
            self._byte_ids = np.array([vocabulary[character] for character in byte_alphabet()], np.uint32)

    def encode(self, pieces: Sequence[bytes]) -> list[Encoded]:
        """Tokenize each piece by itself.

        Each piece is one call of the library, which leaves the interpreter lock meanwhile: threads of the
        caller run side by side, and no thread pool is started behind its back.  Memory is about 100 bytes per
        token of one piece, so cut long documents into pieces of some 100 kB.

        Args:
            pieces: any bytes.

        Returns:
            One `Encoded` per piece.

        Raises:
            UsageError: the tokenizer has no token for something in a piece, and none for "unknown" either.
        """
        return [self._encode(piece) for piece in pieces]

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes that the tokens stand for, the start or end of which may lie inside a character.

        Raises:
            UsageError: an id is not below `vocabulary`.
        """
        wanted = _checked_ids(ids, self.vocabulary)
        if self._bytes is not None:
            return b"".join(self._bytes.take(wanted).tolist())
        return self._engine.decode(wanted.tolist(), skip_special_tokens=False).encode("utf-8", "replace")

    def dump(self) -> bytes:
        """The JSON, byte for byte as it was given."""
        return self._dump

    def __reduce__(self) -> tuple[type[HFTokenizer], tuple[bytes]]:
        return HFTokenizer, (self._dump,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HFTokenizer) and other._dump == self._dump

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"HFTokenizer(vocabulary={self.vocabulary}, fingerprint={self.fingerprint[:12]})"

    def _encode(self, piece: bytes) -> Encoded:
        if not piece:
            return Encoded(np.zeros(0, np.uint32), np.zeros(0, np.int64), True)
        try:
            text, strays = piece.decode("utf-8"), False
        except UnicodeDecodeError:
            text, strays = piece.decode("utf-8", "surrogateescape"), True
        if self._bytes is not None and not (strays and self._byte_ids is None):
            ids = self._ids_with_strays(text) if strays else self._checked(self._call([text])[0].ids)
            if b"".join(self._bytes.take(ids).tolist()) == piece:
                return Encoded(ids, np.cumsum(self._lengths[ids]), True)
        return self._by_offsets(text, len(piece))

    def _ids_with_strays(self, text: str) -> NDArray[np.uint32]:
        """The ids of a text in which the bytes that are no UTF-8 stand as surrogates, by `_byte_ids`."""
        assert self._byte_ids is not None
        parts = _STRAY.split(text)
        found: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)] * len(parts)
        for position in range(1, len(parts), 2):
            stray = np.frombuffer(parts[position].encode("utf-8", "surrogateescape"), np.uint8)
            found[position] = self._byte_ids[stray]
        for position, encoding in zip(range(0, len(parts), 2), self._call(parts[::2]), strict=True):
            found[position] = self._checked(encoding.ids)
        return np.concatenate(found)

    def _by_offsets(self, text: str, length: int) -> Encoded:
        """Tokens whose bytes in a row are not the piece, stopping where the library says."""
        shown = text.translate(_STRAY_TO_REPLACEMENT)
        encoding = self._call([shown], offsets=True)[0]
        ids = self._checked(encoding.ids)
        if not ids.size:
            return Encoded(ids, np.zeros(0, np.int64), False)
        byte_ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(_widths(text))])
        character_ends = np.array(encoding.offsets, np.int64).reshape(-1, 2)[:, 1]
        stops = np.maximum.accumulate(byte_ends[character_ends])
        stops[-1] = length
        return Encoded(ids, stops, False)

    def _call(self, texts: list[str], offsets: bool = False) -> list[tokenizers.Encoding]:
        encode = self._engine.encode_batch if offsets else self._engine.encode_batch_fast
        try:
            return encode(texts, add_special_tokens=False)
        except BaseException as error:
            if not _is_of_the_library(error):
                raise
            raise UsageError(
                f"the tokenizer {self.fingerprint[:12]} cannot encode this piece ({_one_line(error)}): "
                "use one that has a token for what it does not know"
            ) from error

    def _checked(self, numbers: list[int]) -> NDArray[np.uint32]:
        ids = np.frombuffer(array("I", numbers), np.uint32)
        if ids.size and int(ids.max()) >= self.vocabulary:
            raise UsageError(f"the tokenizer {self.fingerprint[:12]} gave an id that is not in its vocabulary")
        return ids


def load_tokenizer(kind: str, dump: bytes) -> Tokenizer:
    """Make a tokenizer again from what its `dump` gave.

    Args:
        kind: the tokenizer's `kind`.
        dump: the bytes.

    Returns:
        A tokenizer with the same fingerprint.

    Raises:
        UsageError: no tokenizer of this kind is known.
        CorruptError: the bytes are not a dump of this kind.
    """
    if kind == BytesTokenizer.kind:
        if dump:
            raise CorruptError(f"a dump of the tokenizer 'bytes' is empty, this one has {len(dump)} bytes")
        return BytesTokenizer()
    if kind == HFTokenizer.kind:
        try:
            return HFTokenizer(dump)
        except SourceError as error:
            raise CorruptError(f"the stored tokenizer cannot be read: {error}") from error
    raise UsageError(f"no tokenizer of the kind {kind[:40]!r} is known: load it with the code that made it")


def _read(dump: bytes) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    import tokenizers  # noqa: PLC0415 - a store of raw bytes works without it

    try:
        engine = tokenizers.Tokenizer.from_buffer(dump)
        # What else stands in the JSON may be anything, and would take many times its bytes: only this part is needed.
        decoder = None if engine.decoder is None else json.loads(engine.decoder.__getstate__())
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True
        if isinstance(engine.model, tokenizers.models.BPE):
            _remember_few_words(engine.model)
    except BaseException as error:
        if not _is_of_the_library(error):
            raise
        raise SourceError(f"this is no tokenizer.json ({_one_line(error)})") from error
    return engine, {"decoder": decoder}


def _remember_few_words(model: tokenizers.models.BPE) -> None:
    """Have the library keep the tokens of few words only: of those that come first, among them the commonest.

    It would keep ten thousand, and to look those up takes longer than to merge the rare ones again where a processor's
    own cache is too small for them: 6 … 11 % of the time for source code, none for prose.  No token depends on it, so
    a release of the library that cannot be told so is left alone.
    """
    with suppress(AttributeError, TypeError):  # no part of the library's interface
        model._resize_cache(_WORDS_REMEMBERED)


def _is_of_the_library(error: BaseException) -> bool:
    """Whether this is a failure of the work asked for; a panic of the library derives from BaseException."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "".join(character for character in text if character.isprintable())[:200] or type(error).__name__


def _widths(text: str) -> NDArray[np.int64]:
    """The bytes that each character took in the piece; a stray byte, shown as a surrogate, took one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    return np.where((codes >= 0xDC80) & (codes < 0xDD00), 1, widths)


def _checked_ids(ids: NDArray[np.uint32], vocabulary: int) -> NDArray[np.uint32]:
    flat = np.asarray(ids).reshape(-1)
    kind = flat.dtype.kind
    if flat.size and not (kind in "ui" and (kind == "u" or int(flat.min()) >= 0) and int(flat.max()) < vocabulary):
        raise UsageError(f"token ids are integers from 0 to {vocabulary - 1}: were they made by this tokenizer?")
    return flat.astype(np.uint32, copy=False)


def _fingerprint(kind: str, dump: bytes) -> str:
    return hashlib.sha256(kind.encode() + b"\0" + dump).hexdigest()
