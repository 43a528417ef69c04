r"""How does a name that came from outside stand on a terminal, and how is it read back?

A name is bytes of any kind: it may hold escape sequences, line breaks, overrides of the writing direction, or bytes
that are no UTF-8.  `escape` writes it as one piece of printable text, the same in tables, messages and JSON, and
`unescape` reads that back to the same bytes:

* what is printable stands as it is, but for the backslash, which is doubled;
* what is not is written as `\xNN`, `\uNNNN` or `\UNNNNNNNN`, and a byte that is no UTF-8 as `\udcNN`, as in Python;
* so are a `-` or `#` in front, and a space at either end: what is shown can be given to a command as it is.

`unescape` also reads names in which more is escaped than need be, such as those of a terminal that is no UTF-8.

`visible` is for text that need not be read back, such as an excerpt or a message: it keeps the spaces and joiners that
scripts need, and escapes whatever could move the cursor or turn the text around.
"""

from __future__ import annotations

import re
import unicodedata

from mctree.errors import UsageError

__all__ = ["escape", "one_line", "unescape", "visible"]

_ESCAPE = re.compile(r"\\(?:(\\)|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)")
_JOINERS = "\u200c\u200d"


def escape(name: bytes) -> str:
    r"""A name as printable text without line breaks; no two names give the same text."""
    text = name.decode("utf-8", "surrogateescape")
    last = len(text) - 1
    return "".join(
        _code(letter)
        if not letter.isprintable() or (i == 0 and letter in "-#") or (i in (0, last) and letter == " ")
        else ("\\\\" if letter == "\\" else letter)
        for i, letter in enumerate(text)
    )


def unescape(text: str) -> bytes:
    r"""The name that `escape` wrote as `text`.

    Raises:
        UsageError: it holds a backslash that begins no escape, or an escape that is no character.
    """

    def replace(match: re.Match[str]) -> str:
        digits = match[2] or match[3] or match[4]
        if match[1]:
            return "\\"
        if digits and int(digits, 16) < 0x110000:
            return chr(int(digits, 16))
        raise UsageError(f"{visible(text)!r} holds a backslash that begins no escape: double it")

    try:
        return _ESCAPE.sub(replace, text).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"{visible(text)!r} holds an escape that is no character") from None


def visible(text: str) -> str:
    """Text of any kind for a terminal: line breaks and tabs stay, other control characters are escaped."""
    return "".join(letter if _harmless(letter) else _code(letter) for letter in text)


def one_line(text: str) -> str:
    """Text of any kind as one printable line, for messages."""
    return "".join(letter if letter.isprintable() else _code(letter) for letter in text)


def _harmless(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\t" or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def _code(letter: str) -> str:
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
