"""Who says what deserves detail?  A lens: it looks at the entries of a working context and scores each of them.

Scores are wishes: 1 for as much more detail as can be had, -1 for as much less, 0 for leaving things as they are.
Whether and when a wish comes true is for the allocator to decide, so a lens need not know about budgets.  What it is
shown is a `Look`: the entries as they are, and for lenses that were learned the same as an array of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mctree.focus.entries import IMAGE_MODALITY, Entries
from mctree.focus.history import History
from mctree.geometry import World

__all__ = ["FEATURES", "Lens", "Look"]

FEATURES = (
    "level",  # level of detail: 0, 1, 2 …
    "width",  # log2 of the LOD0 positions that it spans
    "cost",  # log2 (1 + cost)
    "growth",  # log2 (1 + what expanding it would add to the cost)
    "age",  # log2 (1 + positions from its own position to the end of the timeline)
    "sigma",  # log2 (1 + sigma)
    "place",  # from 0 for the first entry to 1 for the last
    "heat",  # the last score
    "stay",  # log2 (1 + steps since it came to be an entry)
    "edit",  # 1: its parent was expanded, -1: its children were collapsed, 0: neither
    "full",  # cost of the whole context / budget
    "image",  # 1 for what lies in an image, and for an image
    "x",  # log2 (1 + mean column), 0 for text
    "y",  # log2 (1 + mean row), 0 for text
    "sigma_x",  # log2 (1 + sigma_x), 0 for text
    "sigma_y",  # log2 (1 + sigma_y), 0 for text
)
"""The columns of `Look.features`."""


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """What a lens is shown of a working context.

    Attributes:
        entries: its rows.
        history: what happened to them.
        budget: what they may cost together.
        step: the number of the step.
        world: what exists of the timeline.
    """

    entries: Entries
    history: History
    budget: int
    step: int
    world: World

    @property
    def end(self) -> int:
        """The position behind all that was placed on the timeline."""
        return self.world.positions

    def features(self) -> NDArray[np.float32]:
        """The columns that `FEATURES` names, for each entry: `float32 [n, 16]`; finite, and small whatever the tree."""
        entries, history, n = self.entries, self.history, len(self.entries)
        table = np.empty((n, len(FEATURES)), np.float32)
        columns = (
            entries.level,
            np.log2(entries.stop - entries.start),
            np.log2(1 + entries.cost),
            np.log2(1 + np.maximum(entries.growth, 0)),
            np.log2(1 + np.maximum(self.end - entries.position, 0)),
            np.log2(1 + entries.sigma),
            np.arange(n) / max(n - 1, 1),
            history.heat,
            np.log2(1 + self.step - history.born),
            history.edit,
            np.full(n, entries.cost.sum() / max(self.budget, 1)),
            entries.modality == IMAGE_MODALITY,
            *(np.log2(1 + column) for column in (entries.x, entries.y, entries.sigma_x, entries.sigma_y)),
        )
        for i, column in enumerate(columns):
            table[:, i] = column
        return table


@runtime_checkable
class Lens(Protocol):
    """Scores entries.  Whatever has this one method is a lens, with weights or without."""

    def score(self, look: Look) -> NDArray[np.floating[Any]]:
        """A wish for each entry.

        Args:
            look: what it is shown: `look.entries` as they are, `look.features()` as `float32 [n, 16]`.

        Returns:
            `[n]`, from -1 (less detail) to 1 (more).  What lies outside is clipped, and NaN counts as 0.
        """
        ...
