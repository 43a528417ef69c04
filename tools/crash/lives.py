"""Which lives do disks fail, and powers go, in?  All that there are."""

from __future__ import annotations

from typing import Final

from tools.crash import pictures, scenario
from tools.crash.life import Life

__all__ = ["LIVES"]

LIVES: Final[tuple[Life, ...]] = (scenario.LIFE, pictures.LIFE)
