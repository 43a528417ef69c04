"""How is a TIFF file looked through before a library reads it?  Once, counting what its directories claim.

A TIFF file is a chain of directories, one for each image in it, of which each may point at others for its smaller sizes
(TIFF 6.0, section 2; BigTIFF has the same with longer numbers).  A directory is a list of tags, and a tag may have any
number of values; a library takes memory for them as they say.  So: no more directories than `MOST_DIRECTORIES`, none
twice, all tags of one together no longer than `LONGEST_TAGS`, and all values inside the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["LONGEST_TAGS", "MOST_DIRECTORIES", "main_directories"]

MOST_DIRECTORIES = 1 << 12
LONGEST_TAGS = 1 << 25
"""Bytes of all values of a directory: enough for two million tiles."""

_MOST_TAGS = 1 << 12
_SUB_DIRECTORIES = 330
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class _Form:
    """How numbers stand in a file: whether they are swapped, and how long they are.

    Attributes:
        order: of `struct`.
        many: how many tags there are.
        tag: code, type, count, and the value or where it is.
        place: of a directory.
        first: where the place of the first directory stands.
    """

    order: str
    many: str
    tag: str
    place: str
    first: int

    def unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + form, data)

    def size(self, form: str) -> int:
        return struct.calcsize(self.order + form)


def main_directories(read: Callable[[int, int], bytes], size: int) -> int:
    """How many directories a file's chain has; the others, that these point at, are looked at and not counted.

    Args:
        read: gives the bytes from a place on, so many.
        size: of the file.

    Raises:
        ValueError: it is damaged, or claims more than any image needs.
    """
    head = read(0, 16)
    form = _form(head)
    wanted = form.size(form.place)
    (place,) = form.unpack(form.place, head[form.first : form.first + wanted])
    seen: set[int] = set()
    main = 0
    while place:
        main += 1
        subs, place = _directory(read, size, form, place, seen)
        while subs:
            more, _ = _directory(read, size, form, subs.pop(), seen)
            subs += more
    if not main:
        raise ValueError("it holds no image")
    return main


def _form(head: bytes) -> _Form:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        raise ValueError("it ends in its header")
    (version,) = struct.unpack(f"{order}H", head[2:4])
    return _Form(order, "H", "HHI4s", "I", 4) if version == 42 else _Form(order, "Q", "HHQ8s", "Q", 8)


def _directory(
    read: Callable[[int, int], bytes], size: int, form: _Form, place: int, seen: set[int]
) -> tuple[list[int], int]:
    """The directories that one points at, and the one that follows it, 0 if none does."""
    if place in seen or len(seen) >= MOST_DIRECTORIES:
        why = "leads back to itself" if place in seen else f"has more than {MOST_DIRECTORIES} parts"
        raise ValueError(f"its chain of directories {why}")
    seen.add(place)
    (many,) = form.unpack(form.many, read(place, form.size(form.many)))
    if many > _MOST_TAGS:
        raise ValueError(f"a directory says that it has {many} tags")
    place += form.size(form.many)
    length = form.size(form.tag)
    tags = read(place, many * length)
    total = 0
    subs: list[int] = []
    for start in range(0, many * length, length):
        code, kind, count, value = struct.unpack(form.order + form.tag, tags[start : start + length])
        held = count * _TYPE_BYTES.get(kind, 1)
        total += held
        if total > LONGEST_TAGS:
            raise ValueError(f"the tags of a directory say that they have more than {LONGEST_TAGS} bytes")
        if held > len(value):
            (where,) = form.unpack(form.place, value)
            if where + held > size:
                raise ValueError(f"tag {code} lies beyond the end of the file")
            value = read(where, held) if code == _SUB_DIRECTORIES else b""
        if code == _SUB_DIRECTORIES and kind in (4, 13, 16, 18) and count <= MOST_DIRECTORIES:
            number = {4: "I", 8: "Q"}[_TYPE_BYTES[kind]]
            subs += [sub for sub in form.unpack(f"{count}{number}", value[:held]) if sub]
    (after,) = form.unpack(form.place, read(place + many * length, form.size(form.place)))
    return subs, after
