"""Which numbers were met?  A set of document numbers at one bit each, in pages made where they are needed."""

from __future__ import annotations

__all__ = ["Numbers"]

_PAGE_BITS = 1 << 15


class Numbers:
    """A set of non-negative integers that lie close together."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        page, bit = divmod(number, _PAGE_BITS)
        bits = self._pages.get(page)
        return bits is not None and bool(bits[bit >> 3] >> (bit & 7) & 1)

    def add(self, number: int) -> bool:
        """Put a number in; False if it was there."""
        page, bit = divmod(number, _PAGE_BITS)
        bits = self._pages.get(page)
        if bits is None:
            bits = self._pages[page] = bytearray(_PAGE_BITS >> 3)
        place, mask = bit >> 3, 1 << (bit & 7)
        if bits[place] & mask:
            return False
        bits[place] |= mask
        self._count += 1
        return True
