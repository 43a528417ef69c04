"""What stands in a field of a decoded record?  A value of the wanted type, or one clear error.

A store may come from a stranger: what its records hold is looked at here, once, and not somewhere inside the engine.
"""

from __future__ import annotations

from typing import Any, TypeVar

from mctree.errors import CorruptError
from mctree.format.values import unpack

__all__ = ["Fields"]

T = TypeVar("T")


class Fields:
    """Typed access to a record that is a map.

    Args:
        payload: its bytes.
        what: names it in errors.

    Raises:
        CorruptError: the payload is no map; so do the methods where a field is missing or of another type.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self.what = what
        self.map = unpack(payload, what)

    def get(self, name: str, kind: type[T]) -> T:
        """A field of exactly this type."""
        value = self.map.get(name)
        if type(value) is not kind:
            raise CorruptError(f"{self.what}: field {name!r} is missing or no {kind.__name__}")
        return value

    def count(self, name: str) -> int:
        """A field that is an unsigned integer of 64 bits."""
        value = self.get(name, int)
        if not 0 <= value < 1 << 64:
            raise CorruptError(f"{self.what}: field {name!r} is out of range")
        return value

    def counts(self, name: str, items: int, kind: type) -> dict[Any, tuple[int, ...]]:
        """A map of keys of a type to `items` counts each."""
        found: dict[Any, tuple[int, ...]] = {}
        for key, value in self.get(name, dict).items():
            if (
                type(key) is not kind
                or not isinstance(value, list)
                or len(value) != items
                or any(type(n) is not int or not 0 <= n < 1 << 64 for n in value)
            ):
                raise CorruptError(f"{self.what}: field {name!r} is damaged at {key!r:.40}")
            found[key] = tuple(value)
        return found
