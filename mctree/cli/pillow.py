"""Who writes pictures?  Pillow, which is an extra, and slow to import: loaded when the first picture is drawn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mctree.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["pillow", "require_format"]


def pillow() -> ModuleType:
    """The module `PIL.Image`.

    Raises:
        UsageError: Pillow is not installed.
    """
    try:
        from PIL import Image  # noqa: PLC0415  # an extra, and slow to import
    except ImportError:
        raise UsageError("drawing needs Pillow: install mctree with the extra `picture`") from None
    return Image


def require_format(path: str) -> None:
    """Make sure that a picture can be written to a path, whose ending says in which format.

    Raises:
        UsageError: Pillow is not installed, or knows no such format.
    """
    if os.path.splitext(path)[1].lower() not in pillow().registered_extensions():
        raise UsageError(f"no image format has names like {os.path.basename(path)!r}: try .png")
