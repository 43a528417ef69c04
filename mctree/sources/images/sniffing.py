"""What kind of image do bytes hold?  Their beginning says it.

Among other files one has to look more closely: text may begin with what marks some kinds, and SQLite files may hold
anything.  An MBTiles file says so in its header (its application's number), or else in its name, which counts for
nothing otherwise.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["SNIFFED", "Kind", "kind_among_files", "kind_of_bytes"]

Kind = Literal["png", "jpeg", "webp", "gif", "bmp", "tiff", "pmtiles", "sqlite"]

SNIFFED = 32
"""Bytes from the start of a file that are enough to tell."""

_MARKS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II\x2a\0", "tiff"),
    (b"MM\0\x2a", "tiff"),
    (b"II\x2b\0\x08\0\0\0", "tiff"),
    (b"MM\0\x2b\0\x08\0\0", "tiff"),
    (b"PMTiles", "pmtiles"),
    (b"SQLite format 3\0", "sqlite"),
)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_MAY_BE_TEXT = frozenset(("gif", "webp", "bmp", "pmtiles"))
"""Kinds whose marks are letters; what follows them always holds a zero byte, which text does not."""
_MBTILES_NUMBER = slice(68, 72), b"MPBX"
"""Where SQLite keeps the number of the application that a file belongs to, and that of MBTiles (version 1.3)."""
_MBTILES_ENDING = b".mbtiles"


def kind_of_bytes(head: bytes) -> Kind | None:
    """The kind that the first `SNIFFED` bytes tell, None if they tell none.

    What they tell is what the whole ought to be; whether it is, only reading it shows.  An SQLite file may hold other
    things than images.
    """
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    # Two letters would be too little: text may begin with them.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    return None


def kind_among_files(name: bytes, head: bytes) -> Kind | None:
    """The kind that a file is to be taken for where it might hold anything else, None if it is to be taken for none.

    Args:
        name: of the file.
        head: its first bytes, some thousands if it has so many.
    """
    kind = kind_of_bytes(head)
    if kind == "sqlite":
        place, number = _MBTILES_NUMBER
        return kind if head[place] == number or name.lower().endswith(_MBTILES_ENDING) else None
    return None if kind in _MAY_BE_TEXT and b"\0" not in head else kind
