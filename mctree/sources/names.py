"""What is an input called?  Names are bytes, exactly as the file system has them, joined by `/` and `#`.

A file's name is `root/relative/path`, a document inside a container is `container#id`.  Nothing is decoded, folded
or escaped: two files that differ in one byte have two names.  Only `shown` makes text of a name, for messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["ancestors", "failure", "inside", "joined", "shown"]

_SHOWN_CHARACTERS = 300


def joined(folder: bytes, entry: bytes) -> bytes:
    """The name of `entry` in `folder`; an empty folder adds nothing."""
    return folder + b"/" + entry if folder else entry


def inside(container: bytes, key: str | int) -> bytes:
    """The name of the document `key` of a container; lone surrogates in `key` keep their three bytes."""
    return container + b"#" + str(key).encode("utf-8", "surrogatepass")


def ancestors(name: bytes) -> Iterator[bytes]:
    """Every name under which `name` may lie, as a folder or as a container, from the shortest to `name` itself."""
    for position, byte in enumerate(name):
        if byte in b"/#":
            yield name[:position]
    yield name


def shown(name: bytes) -> str:
    """The name as one line of printable text for a message; what is not printable is escaped, what is long cut."""
    text = name.decode("utf-8", "backslashreplace")
    safe = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
    if len(safe) <= _SHOWN_CHARACTERS:
        return safe
    half = _SHOWN_CHARACTERS // 2
    return f"{safe[:half]} … {safe[-half:]}"


def failure(error: OSError) -> str:
    """Why the operating system refused, in its words and without the path."""
    return error.strerror or (os.strerror(error.errno) if error.errno else type(error).__name__)
