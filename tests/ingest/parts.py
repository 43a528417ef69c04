"""One large image in a file, and how parts of it are taken."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mctree.ingest import Report, ingest
from tests.ingest.pictures import OPTIONS, pixels

HEIGHT, WIDTH = 1100, 2300
FULL = pixels(HEIGHT, WIDTH)


def save(path: str, values: NDArray[np.uint8] = FULL, *, times: int | None = None) -> None:
    """Write it as a TIFF with smaller sizes.

    Args:
        path: of the file.
        values: its pixels.
        times: of modification, nanoseconds; a file of as many pixels has as many bytes.
    """
    tile = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 2, 4, 8):
            writer.write(values[::factor, ::factor], subfiletype=int(factor > 1), **tile)
    if times is not None:
        os.utime(path, ns=(times, times))


def take(path: str | os.PathLike[str], store: str, **options: Any) -> Report:
    """Ingest one path, by one worker."""
    fresh = {} if os.path.exists(store) else OPTIONS
    return ingest([path], store, **{"workers": 1, **fresh, **options})


def counts(report: Report) -> tuple[int, int, int, int]:
    """How many were added, extended, superseded and unchanged; none may be skipped or removed."""
    assert not report.skipped_count and not report.removed, report
    return report.added, report.extended, report.superseded, report.unchanged
