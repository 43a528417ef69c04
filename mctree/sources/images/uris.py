"""How is an image on this machine's disk named so that a store can open it again?  By a `file:` URI with options.

    file:///scans/page.tif#page=3
    file:///maps/world.pmtiles#channels=4

The path is absolute and its bytes are percent-encoded where a URI needs that, so a path of any bytes has one URI.  What
follows `#` says which image of the file is meant, and how it is to be read; which options there are is known to whoever
reads that kind of file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

from mctree.errors import UsageError
from mctree.sources.names import shown

__all__ = ["Path", "file_uri", "parsed", "require_nameable"]

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""What names a file."""

_SCHEME = "file://"
_KEPT = "/-_.~,:"
_LONGEST = 1 << 16


def file_uri(path: bytes, options: Mapping[str, str | int | None]) -> str:
    """The URI of an absolute path, with those options that are given."""
    given = [
        f"{key}={quote(str(value), safe=_KEPT, errors='surrogateescape')}"
        for key, value in sorted(options.items())
        if value is not None
    ]
    return _SCHEME + quote_from_bytes(path, safe=_KEPT) + ("#" + "&".join(given) if given else "")


def require_nameable(text: str) -> None:
    """Make sure that all characters of a path, or of a part of one, stand for bytes.

    Raises:
        UsageError: they do not.
    """
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise UsageError(f"{text!a:.200} holds characters that no name of a file can") from None


def parsed(path_or_uri: Path) -> tuple[bytes, dict[str, str]]:
    """The absolute path, and the options, of a `file:` URI or of a path, which has none.

    Raises:
        UsageError: it is neither, a URI of another kind, or makes no sense.
    """
    try:
        text = os.fsdecode(path_or_uri)
    except TypeError:
        raise UsageError(f"an image is named by its path or its URI, not by {type(path_or_uri).__name__}") from None
    require_nameable(text)
    if not isinstance(path_or_uri, str) or not path_or_uri.startswith("file:"):
        scheme = text.partition("://")[0] if "://" in text else ""
        if scheme.isalnum() and not os.path.lexists(text):
            raise UsageError(f"{_printed(text)} is not on this machine's disk: download it, and name the file")
        return os.path.abspath(os.fsencode(text)), {}
    place, _, fragment = path_or_uri.partition("#")
    path = unquote_to_bytes(os.fsencode(place.removeprefix(_SCHEME).removeprefix("localhost")))
    if len(path_or_uri) > _LONGEST or not place.startswith(_SCHEME) or not path.startswith(b"/") or b"\0" in path:
        raise UsageError(f"{_printed(path_or_uri)} names no file: write file:///and/the/absolute/path")
    options: dict[str, str] = {}
    for option in fragment.split("&") if fragment else ():
        key, equals, value = option.partition("=")
        if not equals or key in options:
            raise UsageError(f"{_printed(path_or_uri)}: '{_printed(option)}' is no option: write #key=value&key=value")
        options[key] = unquote(value, errors="surrogateescape")
    return path, options


def _printed(text: str) -> str:
    return shown(text.encode("utf-8", "surrogateescape"))
