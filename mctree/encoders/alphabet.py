"""How do the tokens of a published tokenizer spell bytes?

Vocabularies are written as JSON strings, so bytes that are no text must be spelled somehow.  Two spellings
are in use: the *byte-level* one, in which each byte is one printable character (GPT-2's table), and the
*metaspace* one of SentencePiece, in which a space is "▁" and a byte that is no character is "<0x0A>".  This
module turns a token's spelling into its bytes.  It does not assume that a tokenizer uses either: `spelling`
says which one, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["BYTE_LEVEL", "METASPACE", "byte_alphabet", "bytes_of_token", "spelling"]

BYTE_LEVEL: Final = "byte-level"
METASPACE: Final = "metaspace"

_BYTE_FALLBACK: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_alphabet() -> tuple[str, ...]:
    """The character that stands for each of the 256 bytes in byte-level vocabularies.

    The printable characters of Latin-1 stand for themselves; the other 68 bytes take the code points from 256
    on, in order.  Source: the encoder of OpenAI's GPT-2, which all byte-level vocabularies follow.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


_BYTE_OF: Final[Mapping[str, int]] = {character: byte for byte, character in enumerate(byte_alphabet())}


def spelling(description: Mapping[str, Any]) -> str | None:
    """Which spelling the vocabulary of a tokenizer uses, told from the decoder in its JSON description.

    Args:
        description: the object that a `tokenizer.json` holds.

    Returns:
        `BYTE_LEVEL`, `METASPACE`, or `None` where the bytes of a text are not the bytes of its tokens in a
        row (as with WordPiece, which drops white space).
    """
    decoder = description.get("decoder")
    if not isinstance(decoder, dict):
        return None
    steps = decoder.get("decoders") if decoder.get("type") == "Sequence" else [decoder]
    if not isinstance(steps, list):
        return None
    kinds = {step.get("type") for step in steps if isinstance(step, dict)}
    if "ByteLevel" in kinds:
        return BYTE_LEVEL
    if kinds & {"Metaspace", "ByteFallback"}:
        return METASPACE
    return None


def bytes_of_token(token: str, how: str) -> bytes:
    """The bytes for which one token of a vocabulary stands.

    Args:
        token: the token as the vocabulary spells it.
        how: `BYTE_LEVEL` or `METASPACE`.

    Returns:
        Its bytes.  A token that the spelling cannot have made (an added one) stands for its own text.
    """
    if how == BYTE_LEVEL:
        try:
            return bytes([_BYTE_OF[character] for character in token])
        except KeyError:
            return token.encode("utf-8", "replace")
    if match := _BYTE_FALLBACK.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode("utf-8", "replace")
