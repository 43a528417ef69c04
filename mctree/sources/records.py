"""What is read of each record of a container?  Its text, and its id if one is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from mctree.sources.names import shown

__all__ = ["Fields", "key_fault", "shown_text"]

_LONGEST_KEY = 4096


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a JSON object, or the columns of a table.

    Attributes:
        text: the one that holds the text.
        id: the one that holds the id; None names documents by their place.
        max_bytes: documents larger than this are skipped; None takes all.
    """

    text: str = "text"
    id: str | None = None
    max_bytes: int | None = None


def key_fault(key: str | bytes | int) -> str | None:
    """Why a document cannot be called by this id, or None if it can."""
    if not isinstance(key, int) and not key:
        return "is empty"
    if not isinstance(key, int) and len(key) > _LONGEST_KEY:
        return f"is longer than {_LONGEST_KEY}"
    return None


def shown_text(value: object) -> str:
    """Text from outside as one line of printable text."""
    return shown(str(value).encode("utf-8", "surrogatepass"))
