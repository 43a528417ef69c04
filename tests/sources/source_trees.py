"""Small trees of files for the tests of this room, and what a naive reader makes of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hypothesis import strategies as st

from mctree.sources import Item, Skipped, Source


def write(root: bytes | str | os.PathLike[str], files: Mapping[bytes | str, bytes]) -> None:
    """Write files by their relative paths, making the folders they need."""
    for name, content in files.items():
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


@contextmanager
def tree(files: Mapping[bytes | str, bytes], name: str = "t") -> Iterator[str]:
    """A folder called `name` that holds these files."""
    with tempfile.TemporaryDirectory() as above:
        root = os.path.join(above, name)
        os.mkdir(root)
        write(root, files)
        yield root


def items(source: Source) -> list[Item]:
    return [found for found in source if isinstance(found, Item)]


def names(source: Source) -> list[bytes]:
    return [found.name for found in source if isinstance(found, Item)]


def reasons(source: Source) -> dict[bytes, str]:
    return {found.name: found.reason for found in source if isinstance(found, Skipped)}


def contents(source: Source, piece: int = 1 << 20) -> dict[bytes, bytes | str]:
    """Every document's bytes, and the reason of what was skipped."""
    found_contents: dict[bytes, bytes | str] = {}
    for found in source:
        if isinstance(found, Skipped):
            found_contents[found.name] = found.reason
            continue
        for document in found.documents():
            if isinstance(document, Skipped):
                found_contents[document.name] = document.reason
            else:
                found_contents[document.name] = b"".join(document.read(piece))
    return found_contents


_LETTERS = [bytes([byte]) for byte in (*b"aAb.-_# \n\x1b\x01~", 0x80, 0xC3, 0xFF)]
entry_names = (
    st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=4)
    .map(b"".join)
    .filter(lambda name: name not in (b".", b".."))
)


@st.composite
def file_trees(draw: st.DrawFn) -> dict[bytes, bytes]:
    """Relative paths and contents; no path is a folder of another."""
    found: dict[bytes, bytes] = {}
    for parts in draw(st.lists(st.lists(entry_names, min_size=1, max_size=4), max_size=12)):
        path = b"/".join(parts)
        above = {b"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if not above & found.keys() and not any(other.startswith(path + b"/") for other in found):
            found[path] = draw(st.binary(max_size=6).filter(lambda content: b"\0" not in content))
    return found
