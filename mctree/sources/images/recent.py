"""Which pieces were decoded last?  As many as fit a number of bytes, so that neighbours need not decode them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

__all__ = ["RECENT_BYTES", "Recent"]

RECENT_BYTES = 1 << 24


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Key = TypeVar("Key", bound=Hashable)
Piece = TypeVar("Piece", bound=_Sized)


class Recent(Generic[Key, Piece]):
    """Pieces by their keys; those used longest ago are forgotten first.

    Args:
        limit: bytes of all pieces together; a piece that is larger is not kept.
    """

    def __init__(self, limit: int = RECENT_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._pieces: OrderedDict[Key, Piece] = OrderedDict()

    def get(self, key: Key) -> Piece | None:
        """The piece, which the caller must not change; None if it is not held."""
        piece = self._pieces.get(key)
        if piece is not None:
            self._pieces.move_to_end(key)
        return piece

    def put(self, key: Key, piece: Piece) -> None:
        """Hold a piece."""
        if piece.nbytes > self._limit:
            return
        before = self._pieces.pop(key, None)
        self._held += piece.nbytes - (0 if before is None else before.nbytes)
        self._pieces[key] = piece
        while self._held > self._limit:
            self._held -= self._pieces.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget all."""
        self._pieces.clear()
        self._held = 0
