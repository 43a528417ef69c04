"""From which end does a folder of tiles count its rows?  From the top, as web maps do, unless it says otherwise.

A `metadata.json` beside the zooms may name a scheme, as TileJSON does: `xyz` counts from the top, `tms` from below.
Where it names none, a `tilemapresource.xml` means that rows are counted from below: the Tile Map Service has it so, and
gdal2tiles writes one only if it does.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from mctree.errors import SourceError
from mctree.sources.images.local import open_local
from mctree.sources.names import shown

__all__ = ["METADATA", "RESOURCE", "counts_from_below"]

METADATA, RESOURCE = b"metadata.json", b"tilemapresource.xml"

_MOST_BYTES = 1 << 20


def counts_from_below(path: bytes) -> bool:
    """Whether the rows of a folder of tiles are counted from below.

    Raises:
        SourceError: its metadata name a scheme that is neither `xyz` nor `tms`.
    """
    scheme = _named_scheme(path)
    if scheme is None:
        return os.path.isfile(os.path.join(path, RESOURCE))
    if scheme.lower() not in ("xyz", "tms"):
        name = shown(os.path.join(path, METADATA))
        raise SourceError(
            f"{name} names the scheme {scheme!r:.20}, and not xyz or tms: say where rows are counted from"
        )
    return scheme.lower() == "tms"


def _named_scheme(path: bytes) -> str | None:
    """What the metadata name, if there are any that can be read."""
    with (
        suppress(SourceError, ValueError, RecursionError),
        open_local(os.path.join(path, METADATA), follow=False) as file,
    ):
        if file.file.stamp.size <= _MOST_BYTES:
            said = json.loads(file.read(_MOST_BYTES))
            scheme = said.get("scheme") if isinstance(said, dict) else None
            return scheme if isinstance(scheme, str) else None
    return None
