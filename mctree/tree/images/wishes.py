"""What does a caller want of an image that is to be added?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mctree.sources.images import Box
from mctree.tree.images.makers import Workers

__all__ = ["Wishes"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How an image is to be added.

    Attributes:
        sets: names of the gist sets that are to have gists of it; None: all that can.
        keep: bytes of pixels up to which they are kept.
        commit_every: blocks from one commit to the next; None: all in the next commit.
        workers: who makes rows of blocks.
        region: the part that is read; None: all of it.
        finest: the level down to which nodes are made; 0: down to patches.
        before_commit: called before each commit on the way, by the thread that adds the image.
    """

    sets: Sequence[str] | None
    keep: int
    commit_every: int | None
    workers: Workers
    region: Box | None
    finest: int = 0
    before_commit: Callable[[], object] = lambda: None
