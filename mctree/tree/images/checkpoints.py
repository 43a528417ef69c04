"""When is work on an image committed, and in which state?  Every so many blocks, all that stands above them made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mctree.tree.images.canvas import Canvas, Changed

__all__ = ["Checkpoints"]


@dataclass
class Checkpoints:
    """The commits on the way of one go at an image.

    Attributes:
        canvas: the image.
        every: blocks of pixels from one commit to the next; None: no commits.
        commit: commits.
        changed: nodes that were put down and above which nothing was made yet.
    """

    canvas: Canvas
    every: int | None
    commit: Callable[[], object]
    changed: Changed = field(default_factory=dict)
    _work: float = 0.0

    def passed(self, work: float) -> None:
        """So much was done, in blocks; commits if it is time to."""
        self._work += work
        if self.every is not None and self._work >= self.every:
            self.settle()
            self.commit()
            self._work = 0.0

    def settle(self) -> None:
        """Make what is above all that was put down."""
        if self.changed:
            self.canvas.raise_changed(self.changed)
            self.changed.clear()
            self.canvas.require_root()
