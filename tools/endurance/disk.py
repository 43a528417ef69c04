"""What does a store take on disk?"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["disk_usage", "files"]


def files(path: Path) -> list[Path]:
    """All files of a store."""
    return [Path(folder, name) for folder, _, names in os.walk(path) for name in names]


def disk_usage(path: Path) -> int:
    """Bytes that the files of a store take on disk."""
    return sum(os.lstat(file).st_blocks * 512 for file in files(path))
