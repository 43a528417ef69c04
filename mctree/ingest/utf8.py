"""Are bytes UTF-8?  Told piece by piece, whatever the pieces cut through."""

from __future__ import annotations

import codecs
import re

__all__ = ["Utf8"]

_CONTINUATION = re.compile(rb"\A[\x80-\xbf]{1,3}")


class Utf8:
    """Whether bytes that come in pieces are UTF-8.

    Args:
        within: they may begin within a character, the start of which came before.
    """

    def __init__(self, *, within: bool = False) -> None:
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
        self._within = within

    def update(self, piece: bytes, *, last: bool = False) -> None:
        """Take the next piece."""
        if self._within and piece:
            piece, self._within = _CONTINUATION.sub(b"", piece, count=1), False
        if self._decoder is not None:
            try:
                self._decoder.decode(piece, last)
            except UnicodeDecodeError:
                self._decoder = None

    def ended(self) -> bool:
        """Whether all of it was, and no character is left unfinished."""
        self.update(b"", last=True)
        return self._decoder is not None
