"""What can begin before it is known what is to be done?  The processes that paint a large image.

A process takes as long to begin as this one takes to load what it needs: both at once, and the first blocks of an image
are painted by all.  So this module loads little, and whoever calls it loads the rest only then.

It goes by the names and sizes of files alone, and may be wrong: then processes were begun for nothing, or later, when
the image was looked at.  What is made of the input does not depend on it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mctree.processes import Processes

__all__ = ["painters_for"]

_LARGE = 16 << 20
"""Bytes of an image that is worth it: a second or more is spent on it."""
_ENDINGS = (".tif", ".tiff", ".btf", ".png", ".jpg", ".jpeg", ".webp", ".pmtiles", ".mbtiles")
_MODULE = "mctree.ingest"
"""What it takes to paint blocks, and to read them from a copy of an image."""


@contextmanager
def painters_for(paths: Sequence[str], store: str, workers: int) -> Iterator[Processes | bool]:
    """Processes that paint, for a `with` block, begun now if they will have something to do.

    Args:
        paths: of what is to be read.
        store: what it is to be written to.  If there is one, it may hold all of that already.
        workers: how many cores to use, one of which is for this process.

    Returns:
        What `ingest` takes for its `processes`.
    """
    if workers < 2 or os.path.lexists(store) or not any(map(_is_large_image, paths)):
        yield True
        return
    with Processes(workers - 1, spare=0, modules=[_MODULE]) as begun:
        begun.expect(1)
        yield begun


def _is_large_image(path: str) -> bool:
    """Whether a path seems to be that of one."""
    if not path.lower().endswith(_ENDINGS):
        return False
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # what cannot be looked at is refused by whoever reads it
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size >= _LARGE
