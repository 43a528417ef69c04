"""Files that are long and hold next to nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TERABYTE = 1 << 40


def lengthened(path: str | os.PathLike[str], size: int = TERABYTE) -> Path:
    """Give a file this size, by a hole at its end; skips the test where there are none."""
    try:
        os.truncate(path, size)
    except OSError as error:
        pytest.skip(f"the file system holds no file of this size: {error}")
    if os.stat(path).st_blocks > 1 << 20:
        pytest.skip("the file system knows no holes")
    return Path(path)
